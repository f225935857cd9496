"""What this process takes of the machine, as the kernel counts it. Linux: reads `/proc/self`."""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

_SELF = Path("/proc/self")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessCounts:
    """At one moment."""

    cpu_s: float
    """User and system, since the start."""
    resident_bytes: int
    anonymous_bytes: int
    """Of those: its own, which the kernel cannot take back."""
    virtual_bytes: int
    threads: int
    open_files: int
    max_files: int
    started_s: float
    """Unix seconds."""


def read_process() -> ProcessCounts:
    """Takes some 100 microseconds."""
    status = _status()
    used = resource.getrusage(resource.RUSAGE_SELF)
    # proc(5): field 22 counts from the end of the command's name, which may hold anything.
    ticks = int((_SELF / "stat").read_text().rpartition(")")[2].split()[19])
    boot_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return ProcessCounts(
        cpu_s=used.ru_utime + used.ru_stime,
        resident_bytes=status["VmRSS"] * 1024,
        anonymous_bytes=status["RssAnon"] * 1024,
        virtual_bytes=status["VmSize"] * 1024,
        threads=status["Threads"],
        open_files=sum(1 for _ in (_SELF / "fd").iterdir()),
        max_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        started_s=boot_s + ticks / os.sysconf("SC_CLK_TCK"),
    )


def _status() -> dict[str, int]:
    """Numbers of `/proc/self/status`; memory in KiB."""
    numbers = {}
    for line in (_SELF / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        first = value.split()[:1]
        if first and first[0].isdigit():
            numbers[name] = int(first[0])
    return numbers
