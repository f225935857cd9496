"""Counts of all numeric columns of a model, in cells between the reference's quantiles.

Cell 0 holds values <= edges[0], cell i those in (edges[i-1], edges[i]], the last one those above
the last edge; NaN and infinities are missing. All columns live in one table, because one call of
numpy over 30 columns costs what three calls over one column do, and this runs for all traffic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan

import numpy as np
from numpy.typing import NDArray

from fogline.errors import Corrupt, InvalidInput
from fogline.summaries.counts import read_count, read_counts
from fogline.wire import fleet_pb2

CHUNK_ROWS = 256
"""Rows that are counted at a time; the scratch table takes 8 bytes a row and column of it."""
MOMENT_LIMIT = 1e100
"""Values enter the moments clipped to this magnitude, so that no sum overflows."""


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
        bins: int64, the cells of all fields, one field after the other.
        missing: int64 [k].
        sums: float64 [k], of the finite values; so are squares (sums of their squares), minimum and
            maximum.
    """

    __slots__ = (
        "_edges", "_offsets", "_place", "_scratch", "bins", "edges", "maximum", "minimum",
        "missing", "names", "squares", "sums",
    )  # fmt: skip

    def __init__(self, names: Sequence[str], edges: Sequence[Sequence[float]]) -> None:
        k = len(names)
        self.names = tuple(names)
        self.edges = tuple(tuple(e) for e in edges)
        self._place = {name: i for i, name in enumerate(self.names)}
        self._edges = [np.asarray(e, dtype=np.float64) for e in edges]
        self._offsets = np.concatenate([[0], np.cumsum([len(e) + 1 for e in edges])]).astype(int)
        self.bins = np.zeros(self._offsets[-1], dtype=np.int64)
        self.missing = np.zeros(k, dtype=np.int64)
        self.sums, self.squares = np.zeros(k), np.zeros(k)
        self.minimum, self.maximum = np.full(k, np.inf), np.full(k, -np.inf)
        self._scratch: NDArray[np.float64] | None = None  # made at the first add

    def add(self, columns: Mapping[str, NDArray[np.generic]]) -> None:
        """Counts the columns [rows] that are among `names`; others are left alone.

        Raises:
            InvalidInput: a column is no vector of numbers, or lengths differ.
        """
        at = [i for i, name in enumerate(self.names) if name in columns]
        if not at:
            return
        given = [columns[self.names[i]] for i in at]
        rows = len(given[0])
        for i, column in zip(at, given, strict=True):
            if column.shape != (rows,):
                raise InvalidInput(
                    f"column {self.names[i]}: shape {column.shape}, expected ({rows},)"
                )
        for start in range(0, rows, CHUNK_ROWS):
            self._add_chunk(at, [c[start : start + CHUNK_ROWS] for c in given])

    def _add_chunk(self, at: list[int], columns: list[NDArray[np.generic]]) -> None:
        table = self._load(at, columns)
        places = np.empty(table.shape, dtype=np.int64)
        finite = np.isfinite(table)
        whole = bool(finite.all())
        for row, i in enumerate(at):
            places[row] = self._edges[i].searchsorted(table[row])
        places += self._offsets[at, None]
        kept = places.reshape(-1) if whole else places[finite]
        self.bins += np.bincount(kept, minlength=len(self.bins))
        if not whole:
            self.missing[at] += (~finite).sum(axis=1)
        self._add_moments(at, table, None if whole else finite)

    def _load(self, at: list[int], columns: list[NDArray[np.generic]]) -> NDArray[np.float64]:
        """The columns as float64 [len(at), rows], in the scratch table."""
        if self._scratch is None:
            self._scratch = np.empty((len(self.names), CHUNK_ROWS))
        table = self._scratch[: len(at), : len(columns[0])]
        for row, column in enumerate(columns):
            try:
                table[row] = column
            except (TypeError, ValueError) as e:
                name = self.names[at[row]]
                raise InvalidInput(f"column {name}: not numbers ({column.dtype})") from e
        return table

    def _add_moments(
        self, at: list[int], table: NDArray[np.float64], finite: NDArray[np.bool_] | None
    ) -> None:
        to: slice | list[int] = slice(None) if len(at) == len(self.names) else at
        low = table if finite is None else np.where(finite, table, np.inf)
        high = table if finite is None else np.where(finite, table, -np.inf)
        least, most = low.min(axis=1), high.max(axis=1)
        self.minimum[to] = np.minimum(self.minimum[to], least)
        self.maximum[to] = np.maximum(self.maximum[to], most)
        values = table if finite is None else np.where(finite, table, 0.0)
        if least.min() < -MOMENT_LIMIT or most.max() > MOMENT_LIMIT:
            values = np.clip(values, -MOMENT_LIMIT, MOMENT_LIMIT)
        self.sums[to] += values.sum(axis=1)
        self.squares[to] += np.einsum("ij,ij->i", values, values)

    def merge(self, other: "NumberCells") -> "NumberCells":
        if (self.names, self.edges) != (other.names, other.edges):
            raise InvalidInput("counts in different cells do not add up")
        merged = NumberCells(self.names, self.edges)
        merged.bins = self.bins + other.bins
        merged.missing = self.missing + other.missing
        merged.sums = self.sums + other.sums
        merged.squares = self.squares + other.squares
        merged.minimum = np.minimum(self.minimum, other.minimum)
        merged.maximum = np.maximum(self.maximum, other.maximum)
        return merged

    def counts(self, name: str) -> NDArray[np.int64]:
        """Counts of one field, int64 [len(edges) + 1]; a view."""
        i = self._place[name]
        view: NDArray[np.int64] = self.bins[self._offsets[i] : self._offsets[i + 1]]
        return view

    def missing_of(self, name: str) -> int:
        return int(self.missing[self._place[name]])

    def moments(self, name: str) -> Moments:
        i = self._place[name]
        return Moments(
            count=int(self.counts(name).sum()),
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
        self.bins[self._offsets[i] : self._offsets[i + 1]] = counts
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
