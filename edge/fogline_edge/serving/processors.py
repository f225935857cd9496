"""How many processors this process may keep busy: its affinity, and its control groups' quotas.

A quota of one and a half counts as two: one thread would leave a third of it unused. Go (from 1.25)
and the JVM round the same way. Thin readings of `/proc` and `/sys/fs/cgroup`, read anew now and
then, because both can change at any time.

Sources: "Control Group v2" (`cpu.max`) and "CFS Bandwidth Control" (`cpu.cfs_quota_us`) in the
kernel's documentation; sched_setaffinity(2).
"""

import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fogline.clock import Clock
from fogline_edge.serving.control_groups import own_groups

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


def affinity() -> int:
    """Processors that this process may run on, whatever they are shared with."""
    return len(os.sched_getaffinity(os.getpid()))


class Processors:
    """The processors that this process may keep busy, as they change.

    Args:
        clock: Time.
        interval_s: Seconds between two readings.
        proc: Where the kernel tells of processes.
        cgroups: Where control groups are mounted.
        cores: What the scheduler lets it run on.
    """

    def __init__(
        self,
        clock: Clock,
        interval_s: float,
        *,
        proc: Path = PROC,
        cgroups: Path = CGROUPS,
        cores: Callable[[], int] = affinity,
    ) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._cores = cores
        self._groups = own_groups(proc, cgroups, "cpu", "cgroup.procs")
        self._count = 1
        self._due = -math.inf

    def count(self) -> int:
        """At least one. Costs a look at the clock, and some 50 us when a reading is due."""
        now = self._clock.monotonic()
        if now >= self._due:
            self._due = now + self._interval_s
            quotas = [q for group in self._groups if (q := quota(group)) is not None]
            self._count = max(1, min([self._cores(), *map(math.ceil, quotas)]))
        return self._count


def quota(group: Path) -> float | None:
    """Processors' worth of time that a group may take; None where it has no bound."""
    with suppress(OSError):
        return parse_cpu_max((group / "cpu.max").read_text())
    with suppress(OSError):
        allowed = (group / "cpu.cfs_quota_us").read_text()
        return parse_cpu_max(f"{allowed} {(group / 'cpu.cfs_period_us').read_text()}")
    return None


def parse_cpu_max(text: str) -> float | None:
    """The first version's two files, put one behind the other, mean the same as the second's one.

    >>> parse_cpu_max("150000 100000"), parse_cpu_max("max 100000"), parse_cpu_max("-1 100000")
    (1.5, None, None)
    """
    words = text.split()
    try:
        allowed_us, period_us = int(words[0]), int(words[1])
    except (ValueError, IndexError):
        return None
    return allowed_us / period_us if allowed_us > 0 and period_us > 0 else None
