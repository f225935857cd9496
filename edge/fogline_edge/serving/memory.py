"""Memory as Linux tells it: of this process, of its control group, of the machine.

Thin readings of `/proc` and `/sys/fs/cgroup`; what to make of them is `residency.pressure`'s.
Sources: proc(5); "PSI - Pressure Stall Information" and "Control Group v2" in the kernel's
documentation.
"""

import os
import select
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fogline_edge.serving.control_groups import own_groups

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
TRIGGER_WINDOW_US = 2_000_000
"""A process without CAP_SYS_RESOURCE may only ask for multiples of this."""

_UNLIMITED = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """How much of the time tasks stood still for want of memory, in per cent."""

    some_avg10: float
    """Some did, over the last ten seconds."""
    full_avg10: float
    """All did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is known at one moment; None where the machine does not say."""

    total_bytes: int
    available_bytes: int
    """What a process could still have without swapping."""
    group_used_bytes: int | None = None
    """Of the control group, without file pages that can be dropped."""
    group_limit_bytes: int | None = None
    """`memory.high` or `memory.max`, the lower, of the group or one that it is in."""
    stall: Stall | None = None
    is_triggered: bool = False
    """The kernel called because of stalls."""


class ProcessMemory:
    """Anonymous memory of this process, exactly or nearly."""

    def __init__(self, proc: Path = PROC) -> None:
        self._rollup = proc / "self" / "smaps_rollup"
        self._status = proc / "self" / "status"
        self._clear = proc / "self" / "clear_refs"

    def anonymous_bytes(self) -> int:
        """As `smaps_rollup` counts it, which walks the page tables: some hundred microseconds.

        Where the kernel has no such file (before 4.14), as `status` does, some pages off.
        """
        with suppress(OSError):
            return _field(self._rollup.read_text(), "Anonymous")
        return self.roughly()

    def forget_peak(self) -> bool:
        """Has `peak_bytes` begin anew; False where the kernel, or a container, does not let it."""
        with suppress(OSError):
            self._clear.write_bytes(b"5")  # proc(5)
            return True
        return False

    def peak_bytes(self) -> int:
        """The most at once since `forget_peak`, if no file was mapped or unmapped meanwhile."""
        with suppress(OSError):
            text = self._status.read_text()
            files = _field(text, "RssFile") + _field(text, "RssShmem")
            return max(0, _field(text, "VmHWM") - files)
        return 0

    def roughly(self) -> int:
        """As `status` counts it: fast, and a few hundred kilobytes off."""
        try:
            return _field(self._status.read_text(), "RssAnon")
        except OSError:
            return 0


class Machine:
    """Readings of the whole machine and of the control group that this process is in."""

    def __init__(self, proc: Path = PROC, cgroups: Path = CGROUPS) -> None:
        self._meminfo = proc / "meminfo"
        self._groups = own_groups(proc, cgroups, "memory", "memory.current")
        own = [g / "memory.pressure" for g in self._groups[:1]]
        candidates = [*own, proc / "pressure" / "memory"]
        self.pressure_file = next((p for p in candidates if _stall(p) is not None), None)

    @property
    def source(self) -> str:
        """Where readings come from, for people."""
        parts = [str(self.pressure_file)] if self.pressure_file is not None else []
        if any(_limit(g) is not None for g in self._groups):
            parts.append(f"{self._groups[0]}/memory.current")
        return ", ".join([*parts, str(self._meminfo)])

    def read(self, *, is_triggered: bool = False) -> Reading:
        """Takes a reading; some hundred microseconds."""
        text = ""
        with suppress(OSError):
            text = self._meminfo.read_text()
        used, limit = _tightest(self._groups)
        return Reading(
            total_bytes=_field(text, "MemTotal"),
            available_bytes=_field(text, "MemAvailable"),
            group_used_bytes=used,
            group_limit_bytes=limit,
            stall=None if self.pressure_file is None else _stall(self.pressure_file),
            is_triggered=is_triggered,
        )


class Trigger:
    """Has the kernel say when tasks stood still for too long; where it does, no reading is due."""

    def __init__(self, file: Path | None, stall_us: int) -> None:
        """Asks to be called at `stall_us` microseconds in two seconds; quiet where refused."""
        self._fd: int | None = None
        if file is None:
            return
        with suppress(OSError):
            fd = os.open(file, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(fd, f"some {stall_us} {TRIGGER_WINDOW_US}\0".encode())
            except OSError:
                os.close(fd)
                raise
            self._fd = fd

    @property
    def is_armed(self) -> bool:
        return self._fd is not None

    def wait(self, timeout_s: float, wake_fd: int) -> bool:
        """Waits for the kernel's call, or until `wake_fd` can be read; whether it called."""
        poll = select.poll()
        poll.register(wake_fd, select.POLLIN)
        if self._fd is not None:
            poll.register(self._fd, select.POLLPRI)
        events = dict(poll.poll(timeout_s * 1000))
        if events.get(self._fd or -1, 0) & select.POLLERR:  # the group is gone
            self.close()
            return False
        return self._fd in events

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _field(text: str, name: str) -> int:
    """A line `NAME:  N kB` of a file of `/proc`, in bytes; 0 where there is none."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return 0


def _tightest(groups: tuple[Path, ...]) -> tuple[int | None, int | None]:
    """(used, limit) of the group with the least room; Nones where none has a limit."""
    found: tuple[int, int] | None = None
    for group in groups:
        limit = _limit(group)
        used = None if limit is None else _working_set(group)
        if limit is None or used is None:
            continue
        if found is None or limit - used < found[1] - found[0]:
            found = used, limit
    return found or (None, None)


def _limit(group: Path) -> int | None:
    limits = []
    for name in ("memory.high", "memory.max"):
        with suppress(OSError, ValueError):
            text = (group / name).read_text().strip()
            if text != _UNLIMITED:
                limits.append(int(text))
    return min(limits, default=None)


def _working_set(group: Path) -> int | None:
    """What the group holds without file pages that nobody used of late."""
    try:
        used = int((group / "memory.current").read_text())
        stat = (group / "memory.stat").read_text()
    except (OSError, ValueError):
        return None
    for line in stat.splitlines():
        key, _, value = line.partition(" ")
        if key == "inactive_file":
            used -= int(value)
    return max(used, 0)


def _stall(file: Path) -> Stall | None:
    try:
        rows = {line.split()[0]: line for line in file.read_text().splitlines() if line}
        return Stall(some_avg10=_avg10(rows["some"]), full_avg10=_avg10(rows["full"]))
    except (OSError, KeyError, ValueError, IndexError):  # no such file, or switched off (psi=0)
        return None


def _avg10(row: str) -> float:
    """Raises `ValueError`."""
    return float(next((w[6:] for w in row.split() if w.startswith("avg10=")), ""))
