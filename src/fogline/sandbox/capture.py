"""Bounded keeping of what a child prints: the start of stdout, the end of stderr."""

import threading


class Head:
    """Keeps the first `limit` bytes and counts the rest; others can wait for a line in it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._dropped = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def add(self, data: bytes) -> None:
        with self._changed:
            room = self._limit - len(self._kept)
            self._kept += data[:room]
            self._dropped += max(0, len(data) - room)
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def read(self) -> tuple[bytes, int]:
        """What was kept, and how many bytes were dropped."""
        with self._changed:
            return bytes(self._kept), self._dropped

    def wait_line(self, prefix: str, timeout_s: float) -> str | None:
        """The first whole line that starts with `prefix`; None if none came in time."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or self._line(prefix) is not None, timeout_s
            )
            return self._line(prefix)

    def _line(self, prefix: str) -> str | None:
        whole, newline, _ = bytes(self._kept).rpartition(b"\n")
        lines = whole.decode(errors="replace").split("\n") if newline else []
        return next((line for line in lines if line.startswith(prefix)), None)


class Tail:
    """Keeps the last `limit` bytes; written and read by the one thread that watches the child."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit]

    def read(self) -> bytes:
        return bytes(self._kept[-self._limit :])
