"""Totals in a mapped file: they outlive SIGKILL, at the price of a store to memory.

The kernel writes the page back whatever becomes of the process; only a power cut can take the last
seconds. What the totals exceed the outbox by, at a start, was served and is in no summary.
"""

import mmap
import os
import struct
from pathlib import Path

_MAGIC = b"flcount1"
_LAYOUT = struct.Struct("<8sQQ")
_TOTAL = struct.Struct("<Q")


class ServedCounter:
    """Two totals that only grow: rows answered, and outcomes counted.

    Each one is changed by one thread at a time; the callers see to that.
    """

    __slots__ = ("_map", "labelled", "rows")

    def __init__(self, path: Path) -> None:
        """Opens or makes the file; one that is not ours starts at zero.

        Raises:
            OSError: the file system refuses.
        """
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(handle).st_size != _LAYOUT.size:
                os.ftruncate(handle, 0)
                os.ftruncate(handle, _LAYOUT.size)
            self._map = mmap.mmap(handle, _LAYOUT.size)
        finally:
            os.close(handle)
        magic, self.rows, self.labelled = _LAYOUT.unpack(self._map)
        if magic != _MAGIC:
            self.rows = self.labelled = 0
            self._map[:] = _LAYOUT.pack(_MAGIC, 0, 0)

    def add_rows(self, count: int) -> None:
        self.rows += count
        _TOTAL.pack_into(self._map, 8, self.rows)

    def add_labelled(self, count: int) -> None:
        self.labelled += count
        _TOTAL.pack_into(self._map, 16, self.labelled)

    def close(self) -> None:
        self._map.close()
