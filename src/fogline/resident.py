"""Pages of programs and libraries that only the start of a process needed.

Importing onnxruntime alone runs through twenty megabytes of code once, to register some thousand
operators. These pages stay mapped, and the kernel keeps pages of mapped code longer than others
when memory runs short. Letting go of the mapping costs nothing that is not on the disk: what is
needed again comes back with a page fault, as a rule from the page cache.

Only mappings that hold no page of their own are touched, in memory or in swap, so nothing can be
lost. Source: madvise(2), MADV_DONTNEED on private file mappings; proc(5), smaps.
"""

import ctypes
import gc
import re
from dataclasses import dataclass
from pathlib import Path

_SMAPS = Path("/proc/self/smaps")
_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)\s*(.*)")
_DONTNEED = 4
"""`MADV_DONTNEED` on every architecture of Linux that we serve on."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A part of a file in memory."""

    start: int
    end: int
    resident_bytes: int


def clean_mappings(smaps: str) -> list[Mapping]:
    """The private mappings of files that hold nothing of their own; pure.

    >>> clean_mappings('''1000-3000 r-xp 00000000 08:01 42 /usr/lib/a.so
    ... Rss:        8 kB
    ... Anonymous:  0 kB
    ... Swap:       0 kB
    ... 3000-4000 rw-p 00002000 08:01 42 /usr/lib/a.so
    ... Rss:        4 kB
    ... Anonymous:  0 kB
    ... Swap:       0 kB
    ... 4000-5000 r--p 00003000 08:01 42 /usr/lib/a.so
    ... Rss:        4 kB
    ... Anonymous:  4 kB
    ... Swap:       0 kB
    ... 5000-7000 r--p 00004000 08:01 42 /usr/lib/a.so
    ... Rss:        4 kB
    ... Anonymous:  0 kB
    ... Swap:       4 kB
    ... 7000-8000 r-xp 00000000 00:00 0 [vdso]
    ... Rss:        4 kB
    ... Anonymous:  0 kB
    ... Swap:       0 kB
    ... ''')
    [Mapping(start=4096, end=12288, resident_bytes=8192)]
    """
    found: list[Mapping] = []
    start = end = resident = own = 0
    is_file = False
    for line in smaps.splitlines():
        header = _HEADER.match(line)
        if header is not None:
            start, end = int(header[1], 16), int(header[2], 16)
            # Not writable, so not written to between this look and the call.
            is_file = header[3][1] == "-" and header[3][3] == "p" and header[4] != "0"
            resident = own = 0
        elif is_file and line.startswith("Rss:"):
            resident = _bytes_of(line)
        elif is_file and line.startswith("Anonymous:"):
            own = _bytes_of(line)
        elif is_file and line.startswith("Swap:") and resident and not own + _bytes_of(line):
            # Relocated constants that were swapped out are no file's, though nothing is anonymous.
            found.append(Mapping(start, end, resident))
    return found


def _bytes_of(line: str) -> int:
    return int(line.split()[1]) * 1024


def settle() -> None:
    """Ends the start of a process that serves from here on: to be called when it is ready.

    Objects made until now live as long as the process as a rule; the collector is spared to look
    at them again and again.
    """
    gc.collect()
    gc.freeze()
    release_start_pages()


def release_start_pages() -> int:
    """Lets go of clean pages of code and constants; returns how many bytes.

    Takes some milliseconds. Where the kernel or the C library does not play along, nothing happens.
    """
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is None:
        return 0
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    try:
        mappings = clean_mappings(_SMAPS.read_text())
    except OSError:
        return 0
    return sum(
        one.resident_bytes
        for one in mappings
        if madvise(one.start, one.end - one.start, _DONTNEED) == 0
    )
