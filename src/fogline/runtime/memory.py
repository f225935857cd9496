"""What memory this process holds, as the kernel counts it, and what one model adds. Linux only."""

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fogline.allocator import trim
from fogline.runtime.plan import MemoryNeed

_ROLLUP = Path("/proc/self/smaps_rollup")
_STATUS = Path("/proc/self/status")
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_MIB = 2**20
_RESET_PEAK = b"5"
"""Sets `VmHWM` to what is resident now (proc(5), clear_refs)."""


@dataclass(frozen=True, slots=True)
class Held:
    """Memory of this process now, in bytes."""

    anonymous: int
    """Its own, also what of it was swapped out."""
    file: int
    """Resident pages of mapped files and of shared memory."""

    @property
    def total(self) -> int:
        return self.anonymous + self.file


def held() -> Held:
    """Takes about a millisecond: the kernel walks all pages."""
    found: dict[str, int] = {}
    for line in _ROLLUP.read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0]) * 1024
    anonymous = found["Anonymous"]
    return Held(anonymous + found.get("Swap", 0), found["Rss"] - anonymous)


def spare_bytes() -> int:
    """What the machine could still give this process, and its control group lets it have."""
    found = _kib(_MEMINFO.read_text(), "MemAvailable")
    for folder in _groups():
        with suppress(OSError, ValueError):  # "max", or a group without the memory controller
            limit = int((folder / "memory.max").read_text())
            found = min(found, limit - int((folder / "memory.current").read_text()))
    return max(0, found)


def own_peak_bytes() -> int:
    """Highest resident memory of this process, since its start or the last `Growth`."""
    return _kib(_STATUS.read_text(), "VmHWM")


def _kib(text: str, name: str) -> int:
    """A line such as `VmHWM:  1234 kB`, in bytes."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _groups() -> list[Path]:
    """This process's control group and all that it is in (cgroups(7), version 2)."""
    with suppress(OSError):
        for line in _CGROUP.read_text().splitlines():
            if line.startswith("0::"):
                own = _CGROUPS / line[3:].strip("/")
                return [own, *(p for p in own.parents if p.is_relative_to(_CGROUPS))]
    return []


def release_memory() -> None:
    """Gives memory that closed sessions held back to the machine; takes some milliseconds.

    The allocator keeps freed pages of its heaps otherwise. Only glibc needs, and has, the call.
    """
    gc.collect()
    trim()


def estimated_need(size_bytes: int) -> MemoryNeed:
    """What a model with files of this size takes at most as a rule, where nothing was measured.

    Weights are held twice where they are laid out for the processor, or widened from half the
    width, and stand beside the file's own bytes at the peak; docs/serving.md has what was measured.
    """
    held_bytes = 2 * size_bytes + 4 * _MIB
    return MemoryNeed(
        anonymous_bytes=held_bytes,
        load_peak_bytes=held_bytes + size_bytes + 12 * _MIB,
        run_bytes=8 * _MIB,
    )


class Growth:
    """What memory grows by from here on.

    Where the kernel's high-water mark cannot be reset (`/proc` may be read-only in a container),
    peaks are those since the process began: too high, never too low.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        release_memory()
        self._before = held()
        self.highest_before = own_peak_bytes()
        """The high-water mark so far, which is lost where it can be reset."""
        self._peak = 0
        self._run_bytes = 0
        _reset_peak()

    def pause(self) -> None:
        """What follows is not to count towards the peak, until `run`."""
        self._peak = max(self._peak, own_peak_bytes())

    def run(self, run: Callable[[], object]) -> None:
        """Calls `run`, one run of the model as it will be used, and notes what it takes meanwhile.

        Ends a `pause`.
        """
        release_memory()
        before = held().total
        _reset_peak()
        run()
        peak = own_peak_bytes()
        self._peak = max(self._peak, peak)
        self._run_bytes = max(self._run_bytes, peak - before)

    def need(self, beside_bytes: int = 0) -> MemoryNeed:
        """So far, without `beside_bytes` of anonymous memory that is not the model's.

        What the allocator only keeps is given back first, as a server does after a load.
        """
        highest = self._peak or own_peak_bytes()
        peak = highest - self._before.anonymous - self._before.file - beside_bytes
        release_memory()
        now = held()
        anonymous = max(0, now.anonymous - self._before.anonymous - beside_bytes)
        file = max(0, now.file - self._before.file)
        return MemoryNeed(
            anonymous_bytes=anonymous,
            file_bytes=file,
            load_peak_bytes=max(peak, anonymous + file),
            run_bytes=self._run_bytes,
        )


def _reset_peak() -> None:
    with suppress(OSError):
        _CLEAR_REFS.write_bytes(_RESET_PEAK)
