"""Counts of a categorical column in the reference's categories, and of all others together."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fogline.errors import InvalidInput
from fogline.summaries.counts import read_count, read_counts
from fogline.summaries.labels import MISSING, CategoryIndex, category_text
from fogline.wire import fleet_pb2

_CHUNK_ROWS = 8192
"""Rows that are counted at a time, while nobody else can run."""


class CategoryCells:
    """One categorical field: int64 counts [len(categories) + 1], the last one for others."""

    __slots__ = ("_index", "counts", "missing", "name")

    def __init__(
        self,
        name: str,
        categories: tuple[str, ...],
        counts: NDArray[np.int64] | None = None,
        missing: int = 0,
    ) -> None:
        self.name = name
        self._index = CategoryIndex(categories)
        self.counts = np.zeros(len(categories) + 1, dtype=np.int64) if counts is None else counts
        self.missing = missing

    @property
    def categories(self) -> tuple[str, ...]:
        return self._index.categories

    def add(self, values: NDArray[np.generic]) -> None:
        """Counts a column [rows] of strings, booleans or integers."""
        if values.ndim != 1:
            raise InvalidInput(f"column {self.name}: shape {values.shape}, expected [rows]")
        code = self._index.code
        for start in range(0, len(values), _CHUNK_ROWS):
            for value, rows in _distinct(values[start : start + _CHUNK_ROWS].tolist()).items():
                place = code(value)
                if place == MISSING:
                    self.missing += rows
                else:
                    self.counts[place] += rows

    def merge(self, other: "CategoryCells") -> "CategoryCells":
        if (self.name, self.categories) != (other.name, other.categories):
            raise InvalidInput(f"column {self.name}: counts over other categories do not add up")
        return CategoryCells(
            self.name, self.categories, self.counts + other.counts, self.missing + other.missing
        )

    def to_message(self) -> fleet_pb2.FieldSummary:
        return fleet_pb2.FieldSummary(
            name=self.name, missing=self.missing, categories=self.counts.tolist()
        )

    @staticmethod
    def from_message(
        message: fleet_pb2.FieldSummary, name: str, categories: tuple[str, ...]
    ) -> "CategoryCells":
        return CategoryCells(
            name,
            categories,
            read_counts(message.categories, len(categories) + 1, f"column {name}"),
            read_count(message.missing, f"column {name}"),
        )


def _distinct(values: list[object]) -> Mapping[object, int]:
    """How often each value is there."""
    try:
        return Counter(values)
    except TypeError:  # an element of an object column that has no hash
        return Counter(map(category_text, values))
