"""Rules without statistics that pass or stop a wave; pure.

A device of the wave counts as failed when it says that it rejected the version, when it was active
and fell silent, or when the wave's time is over and it has not said that the version is active. A
wave that lacks its share of active devices by then stops, however many failures are allowed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from msgspec import Meta

from fogline.records import Record


class Outcome(Enum):
    """What a device of a wave has come to."""

    WAITING = "waiting"
    ACTIVE = "active"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOutcome:
    device: str
    outcome: Outcome
    reason: str = ""
    silent_s: float = 0.0
    """Seconds since the device was last heard of."""


class WavePolicy(Record, frozen=True, kw_only=True):
    max_failures: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Failed devices, of all that were moved so far, that do not stop the rollout yet."""
    advance_share: Annotated[float, Meta(gt=0, le=1)] = 0.9
    """A wave passes when this share of the devices moved so far is active ..."""
    soak_s: Annotated[float, Meta(ge=0, le=604_800)] = 0.0
    """... and has been for this long, seconds."""
    silence_s: Annotated[float, Meta(gt=0, le=604_800)] = 180.0
    """An active device that is silent for longer has failed, seconds."""
    wave_timeout_s: Annotated[float, Meta(gt=0, le=2_592_000)] = 600.0
    """A device that is not active by then has failed, seconds since the wave began."""


class Verdict(Enum):
    WAIT = "wait"
    ADVANCE = "advance"
    TRIP = "trip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    verdict: Verdict
    reason: str = ""


def judge_wave(
    outcomes: Sequence[DeviceOutcome], policy: WavePolicy, *, elapsed_s: float, active_s: float
) -> Judgement:
    """Decides on a wave from what its devices said.

    Args:
        outcomes: One a device that was moved so far; none at all pass.
        policy: The bounds.
        elapsed_s: Seconds since the wave began.
        active_s: Seconds since the share of active devices was first reached; 0 when it is not.
    """
    failed = [o for o in outcomes if _has_failed(o, policy, elapsed_s)]
    if len(failed) > policy.max_failures:
        worst = failed[0]
        return Judgement(
            verdict=Verdict.TRIP,
            reason=f"{len(failed)} of {len(outcomes)} devices failed, at most "
            f"{policy.max_failures} may; {worst.device}: {_why(worst, policy)}",
        )
    if is_share_active(outcomes, policy):
        is_soaked = active_s >= policy.soak_s
        return Judgement(verdict=Verdict.ADVANCE if is_soaked else Verdict.WAIT)
    if elapsed_s > policy.wave_timeout_s:
        return Judgement(
            verdict=Verdict.TRIP,
            reason=f"{_active(outcomes, policy)} of {len(outcomes)} devices are active after "
            f"{policy.wave_timeout_s:.0f} s, {policy.advance_share:.0%} of them must be",
        )
    return Judgement(verdict=Verdict.WAIT)


def is_share_active(outcomes: Sequence[DeviceOutcome], policy: WavePolicy) -> bool:
    # A little less, because 0.14 * 50 is more than 7.
    return _active(outcomes, policy) >= policy.advance_share * len(outcomes) - 1e-6


def _active(outcomes: Sequence[DeviceOutcome], policy: WavePolicy) -> int:
    return sum(o.outcome is Outcome.ACTIVE and o.silent_s <= policy.silence_s for o in outcomes)


def _has_failed(o: DeviceOutcome, policy: WavePolicy, elapsed_s: float) -> bool:
    match o.outcome:
        case Outcome.FAILED:
            return True
        case Outcome.ACTIVE:
            return o.silent_s > policy.silence_s
        case Outcome.WAITING:
            return elapsed_s > policy.wave_timeout_s


def _why(o: DeviceOutcome, policy: WavePolicy) -> str:
    match o.outcome:
        case Outcome.FAILED:
            return o.reason or "failed without a reason"
        case Outcome.ACTIVE:
            return f"active, then silent for {o.silent_s:.0f} s"
        case Outcome.WAITING:
            last = f"; its last word: {o.reason}" if o.reason else ""
            return f"not active after {policy.wave_timeout_s:.0f} s{last}"
