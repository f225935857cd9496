"""What memory this process holds, as the kernel counts it, and what one model adds. Linux only."""

import ctypes
import gc
from dataclasses import dataclass
from pathlib import Path

from fogline.runtime.plan import MemoryNeed

_ROLLUP = Path("/proc/self/smaps_rollup")
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
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


def own_peak_bytes() -> int:
    """Highest resident memory of this process, since its start or the last `Growth`."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def release_memory() -> None:
    """Gives memory that closed sessions held back to the machine; takes some milliseconds.

    The allocator keeps freed pages of its heaps otherwise. Only glibc needs, and has, the call.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Growth:
    """What memory grows by from here on."""

    def __init__(self) -> None:
        release_memory()
        self._before = held()
        self.highest_before = own_peak_bytes()
        """The high-water mark so far, which is lost where it can be reset."""
        try:
            _CLEAR_REFS.write_bytes(_RESET_PEAK)
        except OSError:  # /proc may be read-only in a container: the peak is then an upper bound
            return

    def need(self, beside_bytes: int = 0) -> MemoryNeed:
        """So far, without `beside_bytes` of anonymous memory that is not the model's.

        What the allocator only keeps is given back first, as a server does after a load.
        """
        peak = own_peak_bytes() - self._before.anonymous - self._before.file - beside_bytes
        release_memory()
        now = held()
        anonymous = max(0, now.anonymous - self._before.anonymous - beside_bytes)
        file = max(0, now.file - self._before.file)
        return MemoryNeed(
            anonymous_bytes=anonymous, file_bytes=file, load_peak_bytes=max(peak, anonymous + file)
        )
