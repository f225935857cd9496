"""Is the machine short of memory, and what should models hold then: pure decisions."""

from dataclasses import dataclass
from enum import IntEnum

from fogline_edge.serving.memory import Reading
from fogline_edge.serving.residency.config import PressureConfig


class Strain(IntEnum):
    NONE = 0
    TIGHT = 1
    """Memory is getting short: the least used models should leave."""
    CRITICAL = 2
    """The kernel will soon end a process: all idle models should leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    strain: Strain
    reason: str = ""
    """Which reading said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """What models may hold while memory is short, and until when nothing is loaded beyond it."""

    bytes: int
    until_s: float
    """Monotonic seconds."""


def judge(reading: Reading, config: PressureConfig) -> Verdict:
    """The worst that any of the readings says."""
    found = [_of_stall(reading, config), _of_room(reading, config)]
    if reading.is_triggered:
        found.append(Verdict(strain=Strain.TIGHT, reason="the kernel reported stalls"))
    return max(found, key=lambda v: v.strain)


def next_ceiling(
    verdict: Verdict,
    held_bytes: int,
    now_s: float,
    former: Ceiling | None,
    config: PressureConfig,
) -> Ceiling | None:
    """What models may hold from now on; None for as much as the budget says.

    It falls with each reading of strain and lifts as a whole after `calm_s` without one, so that
    what just left is not loaded into the same shortage.

    Args:
        verdict: On the latest reading.
        held_bytes: By all models now.
        now_s: Monotonic seconds.
        former: What was decided last.
        config: How fast.
    """
    if verdict.strain is Strain.NONE:
        return former if former is not None and now_s < former.until_s else None
    target = 0 if verdict.strain is Strain.CRITICAL else int(held_bytes * config.keep)
    if former is not None and now_s < former.until_s:
        target = min(target, former.bytes)
    return Ceiling(bytes=target, until_s=now_s + config.calm_s)


def _of_stall(reading: Reading, config: PressureConfig) -> Verdict:
    stall = reading.stall
    if stall is None:
        return Verdict(strain=Strain.NONE)
    if stall.full_avg10 >= config.critical_full:
        return Verdict(
            strain=Strain.CRITICAL, reason=f"everything stood still {stall.full_avg10:.1f} %"
        )
    if stall.some_avg10 >= config.tight_some:
        return Verdict(strain=Strain.TIGHT, reason=f"tasks stood still {stall.some_avg10:.1f} %")
    return Verdict(strain=Strain.NONE)


def _of_room(reading: Reading, config: PressureConfig) -> Verdict:
    shares = []
    if reading.total_bytes:
        shares.append((reading.available_bytes / reading.total_bytes, "the machine"))
    if reading.group_limit_bytes and reading.group_used_bytes is not None:
        left = reading.group_limit_bytes - reading.group_used_bytes
        shares.append((left / reading.group_limit_bytes, "the control group"))
    if not shares:
        return Verdict(strain=Strain.NONE)
    share, whose = min(shares)
    reason = f"{share:.1%} of the memory of {whose} is free"
    if share <= config.critical_room:
        return Verdict(strain=Strain.CRITICAL, reason=reason)
    if share <= config.tight_room:
        return Verdict(strain=Strain.TIGHT, reason=reason)
    return Verdict(strain=Strain.NONE)
