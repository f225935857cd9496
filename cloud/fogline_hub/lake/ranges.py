"""Sets of sequence numbers as sorted, disjoint, inclusive ranges, and such a set for each source.

A device numbers the messages of one (outbox, stream) from 1 without gaps, so what the hub has
stored of it is nearly always one range; only what is still under way adds others.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from fogline.errors import Corrupt

MAX_SEQ = 2**63 - 1
"""Largest sequence number: what a signed 64-bit column holds."""


class Source(NamedTuple):
    """Who numbers: one stream of one outbox of one device."""

    device: str
    outbox_id: str
    stream: str


class RangeSet:
    """A growing set of positive integers. Adding at its end costs O(1), elsewhere O(ranges)."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def add(self, first: int, last: int | None = None) -> None:
        """Adds `first` to `last`, both included.

        Raises:
            ValueError: not 1 <= first <= last.
        """
        last = first if last is None else last
        if not 1 <= first <= last:
            raise ValueError(f"a range from {first} to {last}")
        # Touching ranges become one: those that end at first - 1 or later and start by last + 1.
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def update(self, other: "RangeSet") -> None:
        for first, last in other:
            self.add(first, last)

    def contiguous_to(self) -> int:
        """The largest n such that 1 to n are all in the set; 0 when 1 is not."""
        return self._lasts[0] if self._firsts and self._firsts[0] == 1 else 0

    def missing_below(self, limit: int) -> Iterator[tuple[int, int]]:
        """The ranges of 1 to `limit - 1` that the set lacks, ascending."""
        start = 1
        for first, last in self:
            if first >= limit:
                break
            if start < first:
                yield start, first - 1
            start = last + 1
        if start < limit:
            yield start, limit - 1

    def __contains__(self, seq: int) -> bool:
        at = bisect_right(self._firsts, seq) - 1
        return at >= 0 and seq <= self._lasts[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(tuple(self._firsts), tuple(self._lasts), strict=True)

    def __len__(self) -> int:
        """How many ranges."""
        return len(self._firsts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"


class Accepted:
    """The sequence numbers of many sources; merging is a union, so order does not matter."""

    __slots__ = ("_sets",)

    def __init__(self) -> None:
        self._sets: dict[Source, RangeSet] = {}

    def add(self, source: Source, first: int, last: int | None = None) -> None:
        self._sets.setdefault(source, RangeSet()).add(first, last)

    def update(self, other: "Accepted") -> None:
        for source, ranges in other.items():
            self._sets.setdefault(source, RangeSet()).update(ranges)

    def of(self, source: Source) -> RangeSet:
        """What is accepted of a source; an empty set of its own when nothing is."""
        return self._sets.get(source) or RangeSet()

    def contains(self, source: Source, seq: int) -> bool:
        ranges = self._sets.get(source)
        return ranges is not None and seq in ranges

    def items(self) -> Iterable[tuple[Source, RangeSet]]:
        return self._sets.items()

    def sources(self) -> Iterable[Source]:
        return self._sets.keys()

    def __len__(self) -> int:
        """How many sources."""
        return len(self._sets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Accepted) and self._sets == other._sets

    __hash__ = None  # type: ignore[assignment]  # it grows

    def to_plain(self) -> dict[str, list[tuple[int, int]]]:
        """`{"device/outbox/stream": [(first, last), ...]}`; no part holds a slash."""
        return {"/".join(source): list(ranges) for source, ranges in self._sets.items()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Iterable[tuple[int, int]]]) -> "Accepted":
        """Reads what `to_plain` wrote.

        Raises:
            Corrupt: a key that is no source, or a range that is none.
        """
        accepted = cls()
        for key, ranges in plain.items():
            parts = key.split("/")
            if len(parts) != len(Source._fields):
                raise Corrupt(f"accepted ranges: {key[:200]!r} is not device/outbox/stream")
            try:
                accepted._sets[Source(*parts)] = RangeSet(ranges)
            except ValueError as e:
                raise Corrupt(f"accepted ranges of {key[:200]!r}: {e}") from e
        return accepted
