"""The alarm that accuracy has verifiably fallen.

One process a model version. It takes blocks (confusion counts of all labelled traffic of all
devices in equal stretches of event time) in their order, and holds an e-process against

    H0: given the past, the expected error rate of a block is at most
        the reference's (its upper confidence bound) + min_effect + the season's usual deviation.

While H0 holds, P(it ever alarms) <= alpha: the reference's bound fails with probability alpha / 2,
and by Ville's inequality the e-process exceeds 2 / alpha with probability alpha / 2. A block's
error rate counts as one observation, whatever its rows: rows that resemble their neighbours change
nothing as long as blocks are longer than that resemblance.

What a season usually does is learned from whole seasons before the present one, as deviations that
add up to zero over the season, so that a slow rise of the level never becomes "usual". In the first
season, when nothing is known of it, `first_season_slack` is allowed on top.

Pure: `update(state, block)` returns the next state, a record that is stored as it is.
"""

from collections.abc import Iterable
from typing import Annotated

import numpy as np
from msgspec import Meta
from msgspec.structs import replace
from numpy.typing import NDArray

from fogline.errors import InvalidInput
from fogline.records import Record
from fogline.summaries import Reference, accuracy_counts
from fogline_hub.statistics.betting import SleepingBets
from fogline_hub.statistics.intervals import clopper_pearson_upper

PHASES = 12
"""Parts of a season whose usual deviations are learned."""
Share = Annotated[float, Meta(gt=0, lt=1)]


class AccuracySettings(Record, frozen=True, kw_only=True):
    """How the alarm judges; fixed when a version starts to serve.

    Attributes:
        alpha: P(ever a false alarm) in the version's life.
        min_effect: A rise of the error rate, beyond the reference's bound, that is put up with.
        blocks_per_season: Blocks that a season is cut into.
        block_s: Block length in seconds where no season is declared.
        seasons_to_fall: Seasons until a fall is to be expected; the alarm is quickest for falls
            around it.
        profile_spread: Standard deviation of a season's usual deviations, before any were seen.
        first_season_slack: Error rate allowed on top in the first season.
        min_reference_rows: Held-out rows below which there is no reference to fall from.
    """

    alpha: Share = 0.05
    min_effect: Annotated[float, Meta(ge=0, lt=1)] = 0.01
    blocks_per_season: Annotated[int, Meta(ge=1, le=1000)] = 73
    block_s: Annotated[float, Meta(gt=0)] = 86_400.0
    seasons_to_fall: Annotated[float, Meta(gt=0)] = 30.0
    profile_spread: Annotated[float, Meta(ge=0, lt=1)] = 0.05
    first_season_slack: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    min_reference_rows: Annotated[int, Meta(ge=1)] = 100


class AccuracyBlock(Record, frozen=True, kw_only=True):
    """Labelled rows of one stretch of event time.

    Attributes:
        index: Which stretch: floor(event time / block length).
        errors: Rows predicted wrongly.
        rows: Rows with an outcome.
    """

    index: int
    errors: Annotated[int, Meta(ge=0)]
    rows: Annotated[int, Meta(ge=0)]

    @staticmethod
    def of_confusion(index: int, counts: NDArray[np.int64] | tuple[int, ...]) -> "AccuracyBlock":
        correct, rows = accuracy_counts(counts)
        return AccuracyBlock(index=index, errors=rows - correct, rows=rows)


class AccuracyState(Record, frozen=True, kw_only=True):
    """All that the process remembers: a few numbers, whatever the traffic.

    Attributes:
        settings: As started.
        block_s: Length of a block, seconds.
        season_blocks: Blocks of a season; 0 without seasons.
        bound: Upper confidence bound of the reference's error rate.
        first_index: The first block seen; -1 before it.
        last_index: The last one; blocks up to it are ignored, so giving one twice does nothing.
        asleep: Wealth not yet bet.
        awake: Wealth by boldness of the bet.
        profile: Usual deviations in force, by phase of the season.
        seen_errors: Errors by phase in the whole seasons so far; `pending_errors` in the present.
        alarm_index: The block at which the alarm was raised; -1: none yet.
    """

    settings: AccuracySettings
    block_s: float
    season_blocks: int
    bound: float
    first_index: int = -1
    last_index: int = -1
    asleep: float = 1.0
    awake: tuple[float, ...] = SleepingBets().awake
    profile: tuple[float, ...] = ()
    seen_errors: tuple[int, ...] = (0,) * PHASES
    seen_rows: tuple[int, ...] = (0,) * PHASES
    pending_errors: tuple[int, ...] = (0,) * PHASES
    pending_rows: tuple[int, ...] = (0,) * PHASES
    alarm_index: int = -1

    @property
    def evidence(self) -> float:
        """The e-value against H0."""
        return self.asleep + sum(self.awake)

    @property
    def threshold(self) -> float:
        return 2 / self.settings.alpha

    @property
    def is_alarmed(self) -> bool:
        return self.alarm_index >= 0

    @property
    def guarantee(self) -> str:
        return (
            f"P(ever a false alarm) <= {self.settings.alpha:g} while the expected error rate of a "
            f"block stays at most {self.bound + self.settings.min_effect:.3f} plus the season's "
            "usual deviation"
        )


def start_accuracy(reference: Reference, settings: AccuracySettings | None = None) -> AccuracyState:
    """The state before any block.

    Raises:
        InvalidInput: the reference holds no confusion counts, or too few rows.
    """
    chosen = settings or AccuracySettings()
    correct, rows = accuracy_counts(reference.confusion) if reference.confusion else (0, 0)
    if rows < chosen.min_reference_rows:
        raise InvalidInput(
            f"the reference holds {rows} held-out labelled rows, an alarm on accuracy needs "
            f"{chosen.min_reference_rows}; build the bundle with held-out outcomes"
        )
    seasonal = reference.season_s > 0
    return AccuracyState(
        settings=chosen,
        block_s=reference.season_s / chosen.blocks_per_season if seasonal else chosen.block_s,
        season_blocks=chosen.blocks_per_season if seasonal else 0,
        bound=clopper_pearson_upper(rows - correct, rows, chosen.alpha / 2),
        profile=(0.0,) * PHASES,
    )


def block_index(state: AccuracyState, event_us: int) -> int:
    """The block that an event time (Unix microseconds) falls into."""
    return int(event_us // round(state.block_s * 1e6))


def allowed_error(state: AccuracyState, index: int) -> float:
    """The largest expected error rate of a block under H0."""
    allowed = state.bound + state.settings.min_effect
    if state.season_blocks:
        allowed += state.profile[_phase(state, index)]
        if _season(state, index) <= 0:
            allowed += state.settings.first_season_slack
    return min(1.0, max(allowed, 1e-3))


def update(state: AccuracyState, block: AccuracyBlock) -> AccuracyState:
    """The state after one block; blocks that are not after the last one change nothing.

    Raises:
        InvalidInput: more errors than rows.
    """
    if block.errors > block.rows:
        raise InvalidInput(f"block {block.index}: {block.errors} errors in {block.rows} rows")
    if state.first_index >= 0 and block.index <= state.last_index:
        return state
    state = _enter(state, block.index)
    if block.rows == 0:
        return state
    settings = state.settings
    per_season = state.season_blocks or settings.blocks_per_season
    bets = SleepingBets(state.asleep, state.awake).observe(
        block.errors / block.rows,
        allowed_error(state, block.index),
        1 / (settings.seasons_to_fall * per_season),
    )
    state = replace(state, asleep=bets.asleep, awake=bets.awake)
    if not state.is_alarmed and state.evidence >= state.threshold:
        state = replace(state, alarm_index=block.index)
    return _remember(state, block)


def run_accuracy(state: AccuracyState, blocks: Iterable[AccuracyBlock]) -> AccuracyState:
    for block in blocks:
        state = update(state, block)
    return state


def _phase(state: AccuracyState, index: int) -> int:
    return (index % state.season_blocks) * PHASES // state.season_blocks


def _season(state: AccuracyState, index: int) -> int:
    """Whole seasons since the first block."""
    return (index - state.first_index) // state.season_blocks


def _enter(state: AccuracyState, index: int) -> AccuracyState:
    """Moves on to block `index`; at the end of a season, what was seen becomes usual."""
    if state.first_index < 0:
        return replace(state, first_index=index, last_index=index)
    moved = replace(state, last_index=index)
    if not state.season_blocks or _season(state, index) == _season(state, state.last_index):
        return moved
    errors = tuple(np.add(state.seen_errors, state.pending_errors).tolist())
    rows = tuple(np.add(state.seen_rows, state.pending_rows).tolist())
    return replace(
        moved,
        seen_errors=errors,
        seen_rows=rows,
        pending_errors=(0,) * PHASES,
        pending_rows=(0,) * PHASES,
        profile=season_profile(errors, rows, state.settings.profile_spread),
    )


def _remember(state: AccuracyState, block: AccuracyBlock) -> AccuracyState:
    if not state.season_blocks:
        return state
    phase = _phase(state, block.index)
    errors, rows = list(state.pending_errors), list(state.pending_rows)
    errors[phase] += block.errors
    rows[phase] += block.rows
    return replace(state, pending_errors=tuple(errors), pending_rows=tuple(rows))


def season_profile(
    errors: tuple[int, ...], rows: tuple[int, ...], spread: float
) -> tuple[float, ...]:
    """Usual deviations of the error rate by phase: shrunk, smoothed, adding up to zero.

    Each phase's excess over the mean is shrunk towards zero by its sampling variance against
    `spread` squared (empirical Bayes; C. N. Morris, JASA 78, 1983) and smoothed over its
    neighbours with weights 1/4, 1/2, 1/4.

    >>> round(season_profile((30,) * 6 + (10,) * 6, (100,) * 12, 0.05)[2], 6)
    0.060976
    """
    e, n = np.array(errors, dtype=np.float64), np.array(rows, dtype=np.float64)
    if n.sum() == 0 or spread <= 0:
        return (0.0,) * len(errors)
    mean = e.sum() / n.sum()
    prior_rows = max(mean * (1 - mean), 1e-9) / spread**2
    excess = (e - n * mean) / (n + prior_rows)
    smooth = (np.roll(excess, 1) + 2 * excess + np.roll(excess, -1)) / 4
    return tuple((smooth - smooth.mean()).tolist())
