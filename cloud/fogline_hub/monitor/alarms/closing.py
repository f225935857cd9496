"""What follows when blocks and windows close; pure."""

from dataclasses import dataclass

from fogline.errors import InvalidInput
from fogline.summaries import Reference
from fogline_hub.automation import Watch
from fogline_hub.monitor import (
    AccuracyBlock,
    AccuracySettings,
    AccuracyState,
    WindowReport,
    WindowSettings,
    judge_window,
    run_accuracy,
    start_accuracy,
)
from fogline_hub.monitor.alarms.change import change_block
from fogline_hub.monitor.alarms.records import Evidence
from fogline_hub.monitor.alarms.traffic import VersionTraffic

MAX_BLOCKS_PER_SEASON = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An alarm that the closed blocks raised."""

    raised_us: int
    change_us: int
    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """Blocks and windows that closed, and what they say."""

    blocks: tuple[AccuracyBlock, ...]
    accuracy: AccuracyState | None
    reports: tuple[tuple[int, WindowReport], ...]
    """Each with the start of its window on the grid."""
    raised: Raised | None


def start(reference: Reference, watch: Watch) -> AccuracyState:
    """The accuracy process of a new version.

    Raises:
        InvalidInput: the reference holds too few held-out outcomes to fall from.
    """
    per_season = round(reference.season_s / watch.block_s) if reference.season_s else 1
    if per_season > MAX_BLOCKS_PER_SEASON:
        raise InvalidInput(
            f"blocks of {watch.block_s:g} s make {per_season} a season, at most "
            f"{MAX_BLOCKS_PER_SEASON} are followed; choose a longer block_s"
        )
    settings = AccuracySettings(
        alpha=watch.alarm_alpha, min_effect=watch.alarm_min_effect, block_s=watch.block_s
    )
    if reference.season_s:
        settings = AccuracySettings(
            alpha=watch.alarm_alpha,
            min_effect=watch.alarm_min_effect,
            blocks_per_season=max(1, per_season),
        )
    return start_accuracy(reference, settings)


def close(
    traffic: VersionTraffic,
    accuracy: AccuracyState | None,
    before: tuple[AccuracyBlock, ...],
    *,
    reference: Reference,
    watch: Watch,
    until_us: int,
) -> Closing:
    """Judges what ended by `until_us`; changes nothing.

    Args:
        traffic: What was received.
        accuracy: The process after the blocks `before`; None where it is not followed.
        before: Blocks that closed earlier, in order, to date a change by.
        reference: Of the version.
        watch: How windows are judged.
        until_us: Event time, with the allowed lateness taken off.
    """
    # Without a process that fixes their length, blocks are not kept: an operator may change it.
    blocks = () if accuracy is None else traffic.closed_blocks(until_us)
    after = None if accuracy is None else run_accuracy(accuracy, blocks)
    raised = None
    if accuracy is not None and after is not None and after.is_alarmed and not accuracy.is_alarmed:
        raised = _raised(after, (*before, *blocks), traffic.block_us)
    settings = WindowSettings(
        alpha=watch.alpha, min_effect=watch.min_effect, min_accuracy_effect=watch.min_effect
    )
    reports = tuple(
        (start_us, judge_window(reference, parts, settings))
        for start_us, parts in traffic.closed_windows(until_us).items()
    )
    return Closing(blocks=blocks, accuracy=after, reports=reports, raised=raised)


def _raised(state: AccuracyState, blocks: tuple[AccuracyBlock, ...], block_us: int) -> Raised:
    seen = [b for b in blocks if b.index <= state.alarm_index]
    tail = seen[change_block(seen, state.bound + state.settings.min_effect) :]
    return Raised(
        raised_us=(state.alarm_index + 1) * block_us,
        change_us=tail[0].index * block_us,
        evidence=Evidence(
            e_value=state.evidence,
            threshold=state.threshold,
            guarantee=state.guarantee,
            reference_error_bound=state.bound,
            rows=sum(b.rows for b in tail),
            errors=sum(b.errors for b in tail),
        ),
    )
