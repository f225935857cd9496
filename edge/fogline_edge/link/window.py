"""What to publish next. Pure: it holds numbers, sizes and times, no rows and no sockets.

Each stream is a window over the outbox: at most `max_beyond_floor` rows and `max_bytes` in all are
out without the hub's acknowledgement. Streams do not wait for each other; the most important one
goes first.

A stream is in one of two modes. OPEN: new rows go out as the window allows; without an
acknowledgement only the oldest row is sent again, with back-off. PROBING: nothing is believed to
have arrived, and only the oldest row goes out, with the same back-off, so that a hub that is down
is not flooded. The moves:

    any          connected()                 -> PROBING   the broker may have forgotten everything
    PROBING      the hub acknowledges        -> OPEN
    OPEN         `patience` resends unheard  -> PROBING   the hub is gone, so what is out is lost

A hole below an acknowledged range is sent again at once: brokers keep the order, so what arrived
later proves that it is lost.
"""

import enum
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from fogline.backoff import Backoff, Random
from fogline.records import Record
from fogline.topics import MAX_PAYLOAD_BYTES, STREAMS


class WindowConfig(Record, frozen=True, kw_only=True):
    """Bounds of each stream's window."""

    max_beyond_floor: Annotated[int, Meta(ge=1, le=1024)] = 1024
    """Rows from the oldest unacknowledged one on that may be out; the hub remembers that many."""
    max_bytes: Annotated[int, Meta(ge=MAX_PAYLOAD_BYTES)] = 1024 * 1024
    """Bytes that may be out."""
    resend_base_s: Annotated[float, Meta(gt=0)] = 1.0
    """First wait for an acknowledgement; doubles up to `resend_cap_s`, each with up to half as
    much again of jitter."""
    resend_cap_s: Annotated[float, Meta(gt=0)] = 600.0
    patience: Annotated[int, Meta(ge=1)] = 3
    """Resends without an answer after which all that is out is taken for lost."""


class Mode(enum.Enum):
    PROBING = enum.auto()
    OPEN = enum.auto()


@dataclass(slots=True)
class _Entry:
    size: int
    sent_at: float | None = None
    """Monotonic seconds; None while not out."""


class _Stream:
    """One stream's rows, oldest first; `entries` holds at most `max_beyond_floor`."""

    def __init__(self, config: WindowConfig) -> None:
        self._config = config
        self._backoff = Backoff(base_s=config.resend_base_s, cap_s=config.resend_cap_s)
        self.mode = Mode.PROBING
        self.entries: dict[int, _Entry] = {}
        self.known_to = 0
        self._waiting: list[int] = []  # a heap of numbers not out; may hold some that are
        self.bytes_out = 0
        self.resends = 0
        self.resend_at: float | None = None

    def room(self) -> int:
        if not self.entries:
            return self._config.max_beyond_floor
        return next(iter(self.entries)) + self._config.max_beyond_floor - self.known_to - 1

    def add(self, seq: int, size: int) -> None:
        self.entries[seq] = _Entry(size)
        self.known_to = seq
        heapq.heappush(self._waiting, seq)

    def next(self, now: float) -> int | None:
        oldest = next(iter(self.entries), None)
        if oldest is None:
            return None
        is_due = self.resend_at is not None and now >= self.resend_at
        if is_due or self.entries[oldest].sent_at is None:
            return oldest
        if self.mode is Mode.PROBING or self.bytes_out >= self._config.max_bytes:
            return None
        while self._waiting:
            entry = self.entries.get(self._waiting[0])
            if entry is not None and entry.sent_at is None:
                return self._waiting[0]
            heapq.heappop(self._waiting)
        return None

    def sent(self, seq: int, now: float, random: Random) -> None:
        entry = self.entries[seq]
        if seq == next(iter(self.entries)):
            if entry.sent_at is not None:
                self.resends += 1
                if self.resends >= self._config.patience:
                    self.distrust()
            self.resend_at = now + self._backoff.late(self.resends, random)
        if entry.sent_at is None:
            self.bytes_out += entry.size
        entry.sent_at = now

    def distrust(self) -> None:
        """Nothing that is out is believed to have arrived."""
        self.mode = Mode.PROBING
        self.bytes_out = 0
        self._waiting = list(self.entries)  # ascending, so it is a heap
        for entry in self.entries.values():
            entry.sent_at = None

    def reset(self) -> None:
        self.distrust()
        self.resends, self.resend_at = 0, None

    def forget(self, seqs: Iterable[int]) -> bool:
        """Drops rows that are acknowledged or gone; returns whether the oldest was among them."""
        oldest = next(iter(self.entries), None)
        for seq in seqs:
            entry = self.entries.pop(seq, None)
            if entry is not None and entry.sent_at is not None:
                self.bytes_out -= entry.size
        return next(iter(self.entries), None) != oldest

    def restart_timer(self, now: float, random: Random) -> None:
        """Counts silence from now on, for what is the oldest row now."""
        self.resends = 0
        oldest = next(iter(self.entries.values()), None)
        is_out = oldest is not None and oldest.sent_at is not None
        self.resend_at = now + self._backoff.late(0, random) if is_out else None

    def lose_holes(self, below: int, now: float) -> None:
        for seq, entry in self.entries.items():
            if seq >= below:
                break
            # A second acknowledgement with the same hole may come before the resend is answered.
            if entry.sent_at is not None and now - entry.sent_at >= self._config.resend_base_s:
                entry.sent_at = None
                self.bytes_out -= entry.size
                heapq.heappush(self._waiting, seq)


class Window:
    """The windows of all streams. Not safe for use by several threads."""

    def __init__(self, config: WindowConfig | None = None, *, rng: Random) -> None:
        self._random = rng
        self._streams = {s: _Stream(config or WindowConfig()) for s in STREAMS}

    def connected(self) -> None:
        """A session began: what earlier ones published may be lost."""
        for stream in self._streams.values():
            stream.reset()

    def wants(self) -> Iterator[tuple[str, int, int]]:
        """(stream, after which number, how many) rows to `offer`, where there is room."""
        for name, stream in self._streams.items():
            if (room := stream.room()) > 0:
                yield name, stream.known_to, room

    def offer(self, stream: str, rows: Iterable[tuple[int, int]]) -> None:
        """Takes note of (number, bytes) rows of the outbox, ascending, as `wants` asked for."""
        window = self._streams[stream]
        for seq, size in rows:
            if seq > window.known_to and (not window.entries or window.room() > 0):
                window.add(seq, size)

    def next(self, now: float) -> tuple[str, int] | None:
        """The row to publish now, of the most important stream that has one."""
        for name, stream in self._streams.items():
            if (seq := stream.next(now)) is not None:
                return name, seq
        return None

    def sent(self, stream: str, seq: int, now: float) -> None:
        """The row was handed to the connection."""
        self._streams[stream].sent(seq, now, self._random)

    def gone(self, stream: str, seq: int, now: float) -> None:
        """The outbox does not hold the row any more."""
        window = self._streams[stream]
        if window.forget([seq]):
            window.restart_timer(now, self._random)

    def acknowledged(
        self, stream: str, contiguous_to: int, ranges: Iterable[tuple[int, int]], now: float
    ) -> None:
        """The hub has stored all rows up to `contiguous_to`, and those of `ranges` beyond."""
        window = self._streams[stream]
        spans = [(0, contiguous_to), *ranges]
        stored = [s for s in window.entries if any(a <= s <= b for a, b in spans)]
        window.mode = Mode.OPEN
        has_moved = window.forget(stored)
        window.lose_holes(max(b for _, b in spans), now)
        if has_moved:
            window.restart_timer(now, self._random)

    def due_at(self) -> float | None:
        """When the next resend is due, monotonic seconds."""
        times = [s.resend_at for s in self._streams.values() if s.resend_at is not None]
        return min(times, default=None)

    def mode(self, stream: str) -> Mode:
        return self._streams[stream].mode

    def bytes_out(self, stream: str) -> int:
        return self._streams[stream].bytes_out
