"""Counts of all numeric columns of a model, in cells between the reference's quantiles.

Cell 0 holds values <= edges[0], cell i those in (edges[i-1], edges[i]], the last one those above
the last edge; NaN and infinities are missing.

This runs for all traffic. All columns are sorted in one call, and each one's few edges are looked
up in it: numpy sorts some hundred numbers by vector instructions in a fraction of the time that
looking up each number among the edges takes (one mispredicted branch a step, "x86-simd-sort" and
VQSort against binary search). Infinities, NaN, least and most then stand at the ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fogline.errors import Corrupt, InvalidInput
from fogline.summaries.counts import read_count, read_counts
from fogline.wire import fleet_pb2

CHUNK_ROWS = 512
"""Rows that are counted at a time; more take longer each to sort, fewer to look up."""
_NARROW = (np.dtype(np.float16), np.dtype(np.float32))
"""What float32 holds exactly; integers and wider floats are counted as float64."""
MOMENT_LIMIT = 1e100
"""Values enter the moments clipped to this magnitude, so that no sum overflows."""

Numbers = NDArray[np.floating[Any]]


def cell_counts(values: NDArray[np.generic], edges: Sequence[float]) -> NDArray[np.int64]:
    """Counts finite values [rows] in the cells of ascending `edges`: int64 [len(edges) + 1].

    >>> cell_counts(np.array([0.0, 1.0, 1.5, 9.0, np.nan]), (1.0, 2.0)).tolist()
    [2, 1, 1]
    """
    numbers = np.asarray(values, dtype=np.float64)
    places = np.searchsorted(np.asarray(edges, np.float64), numbers[np.isfinite(numbers)])
    return np.bincount(places, minlength=len(edges) + 1).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Of the finite values, clipped to +-`MOMENT_LIMIT`; minimum inf and maximum -inf for none."""

    count: int
    sum: float
    sum_squares: float
    minimum: float
    maximum: float

    @property
    def mean(self) -> float:
        return self.sum / self.count if self.count else float("nan")


class NumberCells:
    """The numeric fields of one side (inputs or outputs) of a model.

    Attributes:
        names: The fields, k of them.
        edges: Ascending cell edges of each.
        missing: int64 [k].
        finite: Values that are not missing, int64 [k].
        upto: int64, of all fields one after the other: finite values at or below each edge. Cells
            are the differences, which are asked for less often than rows are added.
        sums: float64 [k], of the finite values; so are squares (sums of their squares), minimum and
            maximum.
    """

    __slots__ = (
        "_by_kind", "_offsets", "_place", "edges", "finite", "maximum", "minimum", "missing",
        "names", "squares", "sums", "upto",
    )  # fmt: skip

    def __init__(self, names: Sequence[str], edges: Sequence[Sequence[float]]) -> None:
        k = len(names)
        self.names = tuple(names)
        self.edges = tuple(tuple(e) for e in edges)
        self._place = {name: i for i, name in enumerate(self.names)}
        self._by_kind: dict[type, list[Numbers]] = {}  # the edges as arrays, from the first add on
        self._offsets = np.concatenate([[0], np.cumsum([len(e) for e in edges])]).astype(int)
        self.upto = np.zeros(self._offsets[-1], dtype=np.int64)
        self.missing, self.finite = np.zeros(k, dtype=np.int64), np.zeros(k, dtype=np.int64)
        self.sums, self.squares = np.zeros(k), np.zeros(k)
        self.minimum, self.maximum = np.full(k, np.inf), np.full(k, -np.inf)

    def add(self, columns: Mapping[str, NDArray[np.generic]]) -> None:
        """Counts the columns [rows] that are among `names`; others are left alone.

        Raises:
            InvalidInput: a column is no vector of numbers, or lengths differ.
        """
        given = [name for name in self.names if name in columns]
        rows = len(columns[given[0]]) if given else 0
        narrow: list[int] = []
        wide: list[int] = []
        for name in given:
            column = columns[name]
            if column.shape != (rows,):
                raise InvalidInput(f"column {name}: shape {column.shape}, expected ({rows},)")
            (narrow if column.dtype in _NARROW else wide).append(self._place[name])
        for start in range(0, rows, CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            for at, kind in ((narrow, np.float32), (wide, np.float64)):
                if at:
                    self._add_table(at, self._sorted(at, columns, chunk, kind), self._edges(kind))

    def _sorted(
        self,
        at: list[int],
        columns: Mapping[str, NDArray[np.generic]],
        rows: slice,
        kind: type[np.floating[Any]],
    ) -> Numbers:
        """Some rows of the columns, each column by itself in ascending order: [len(at), rows]."""
        parts = [columns[self.names[i]][rows] for i in at]
        table = np.empty((len(at), len(parts[0])), dtype=kind)
        for i, row, part in zip(at, table, parts, strict=True):
            try:
                row[:] = part
            except (TypeError, ValueError) as e:
                raise InvalidInput(f"column {self.names[i]}: not numbers ({part.dtype})") from e
        table.sort(axis=1)
        return table

    def _add_table(self, at: list[int], table: Numbers, edges: list[Numbers]) -> None:
        if table[:, 0].min() > -np.inf and table[:, -1].max() < np.inf:  # false for NaN as well
            self._add_finite(at, table, edges)
            return
        for i, column in zip(at, table, strict=True):
            first = column.searchsorted(-np.inf, "right")
            finite = column[first : column.searchsorted(np.inf)]  # NaN is sorted to the end
            self.missing[i] += len(column) - len(finite)
            if len(finite):
                self._add_finite([i], finite.reshape(1, -1), edges)

    def _add_finite(self, at: list[int], table: Numbers, edges: list[Numbers]) -> None:
        """Takes sorted finite numbers [len(at), rows], at least one row."""
        chosen: slice | list[int] = at
        if len(at) == len(self.names):
            chosen = slice(None)
            parts = [c.searchsorted(e, "right") for c, e in zip(table, edges, strict=True)]
            self.upto += np.concatenate(parts)
        else:
            for i, column in zip(at, table, strict=True):
                cells = self.upto[self._offsets[i] : self._offsets[i + 1]]
                cells += column.searchsorted(edges[i], "right")
        self.finite[chosen] += table.shape[1]
        values = table.astype(np.float64)
        least, most = values[:, 0], values[:, -1]
        self.minimum[chosen] = np.minimum(self.minimum[chosen], least)
        self.maximum[chosen] = np.maximum(self.maximum[chosen], most)
        if least.min() < -MOMENT_LIMIT or most.max() > MOMENT_LIMIT:
            values = np.clip(values, -MOMENT_LIMIT, MOMENT_LIMIT)
        self.sums[chosen] += values.sum(axis=1)
        self.squares[chosen] += np.einsum("ij,ij->i", values, values)

    def _edges(self, kind: type[np.floating[Any]]) -> list[Numbers]:
        found = self._by_kind.get(kind)
        if found is None:
            wide = [np.asarray(e, dtype=np.float64) for e in self.edges]
            found = [_rounded_down(e) for e in wide] if kind is np.float32 else [*wide]
            self._by_kind[kind] = found
        return found

    def merge(self, other: "NumberCells") -> "NumberCells":
        if (self.names, self.edges) != (other.names, other.edges):
            raise InvalidInput("counts in different cells do not add up")
        merged = NumberCells(self.names, self.edges)
        merged.upto = self.upto + other.upto
        merged.missing = self.missing + other.missing
        merged.finite = self.finite + other.finite
        merged.sums = self.sums + other.sums
        merged.squares = self.squares + other.squares
        merged.minimum = np.minimum(self.minimum, other.minimum)
        merged.maximum = np.maximum(self.maximum, other.maximum)
        return merged

    def counts(self, name: str) -> NDArray[np.int64]:
        """Counts of one field, int64 [len(edges) + 1]."""
        i = self._place[name]
        upto = self.upto[self._offsets[i] : self._offsets[i + 1]]
        return np.diff(upto, prepend=np.int64(0), append=self.finite[i])

    def missing_of(self, name: str) -> int:
        return int(self.missing[self._place[name]])

    def moments(self, name: str) -> Moments:
        i = self._place[name]
        return Moments(
            count=int(self.finite[i]),
            sum=float(self.sums[i]),
            sum_squares=float(self.squares[i]),
            minimum=float(self.minimum[i]),
            maximum=float(self.maximum[i]),
        )

    def to_message(self, name: str) -> fleet_pb2.FieldSummary:
        moments = self.moments(name)
        message = fleet_pb2.FieldSummary(
            name=name, missing=self.missing_of(name), bins=self.counts(name).tolist()
        )
        if moments.count:
            message.sum, message.sum_squares = moments.sum, moments.sum_squares
            message.minimum, message.maximum = moments.minimum, moments.maximum
        return message

    def read_message(self, message: fleet_pb2.FieldSummary) -> None:
        """Takes over one field of a message.

        Raises:
            Corrupt: counts or moments that no column can have.
        """
        name, i = message.name, self._place[message.name]
        counts = read_counts(message.bins, len(self.edges[i]) + 1, f"column {name}")
        self.missing[i] = read_count(message.missing, f"column {name}")
        self.upto[self._offsets[i] : self._offsets[i + 1]] = np.cumsum(counts)[:-1]
        self.finite[i] = counts.sum()
        if not counts.any():
            return
        sums = (message.sum, message.sum_squares)
        bounds = (message.minimum, message.maximum)
        if any(isnan(v) for v in bounds) or not all(isfinite(v) for v in (*sums, *bounds)):
            raise Corrupt(f"column {name}: moments that are not finite")
        if message.minimum > message.maximum or message.sum_squares < 0:
            raise Corrupt(f"column {name}: moments that no numbers have")
        self.sums[i], self.squares[i] = sums
        self.minimum[i], self.maximum[i] = bounds


def _rounded_down(edges: NDArray[np.float64]) -> NDArray[np.float32]:
    """The greatest float32 at or below each edge: the same float32 values are `<=` it."""
    with np.errstate(over="ignore"):
        near = edges.astype(np.float32)
    return np.where(near > edges, np.nextafter(near, np.float32(-np.inf)), near)
