"""Counts of what was predicted against what came true."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fogline.errors import Corrupt, InvalidInput
from fogline.summaries.counts import read_count, read_counts
from fogline.summaries.labels import CategoryIndex
from fogline.wire import fleet_pb2


class ConfusionCounts:
    """Labelled rows by actual and predicted label.

    Attributes:
        labels: The labels, n of them.
        counts: int64 [n * n], `counts[actual * n + predicted]`.
        unlabelled_values: Rows whose actual or predicted value is none of the labels.
    """

    __slots__ = ("_index", "counts", "labels", "unlabelled_values")

    def __init__(
        self,
        labels: Sequence[str],
        counts: NDArray[np.int64] | None = None,
        unlabelled_values: int = 0,
    ) -> None:
        self.labels = tuple(labels)
        n = len(self.labels)
        self.counts = np.zeros(n * n, dtype=np.int64) if counts is None else counts
        self.unlabelled_values = unlabelled_values
        self._index = CategoryIndex(self.labels)

    def add(self, actual: NDArray[np.generic], predicted: NDArray[np.generic]) -> None:
        """Counts one row for each pair; both [rows], of any type that reads as the labels do.

        Raises:
            InvalidInput: the two have different lengths.
        """
        if len(actual) != len(predicted):
            raise InvalidInput(f"{len(actual)} actuals for {len(predicted)} predictions")
        n = len(self.labels)
        rows, columns = self._index.codes(actual), self._index.codes(predicted)
        known = (rows >= 0) & (rows < n) & (columns >= 0) & (columns < n)
        self.unlabelled_values += int(len(known) - known.sum())
        if n:
            self.counts += np.bincount(rows[known] * n + columns[known], minlength=n * n)

    def merge(self, other: "ConfusionCounts") -> "ConfusionCounts":
        if self.labels != other.labels:
            raise InvalidInput("confusion counts over different labels do not add up")
        return ConfusionCounts(
            self.labels,
            self.counts + other.counts,
            self.unlabelled_values + other.unlabelled_values,
        )

    @property
    def rows(self) -> int:
        """Labelled rows, those with an unknown label left out."""
        return int(self.counts.sum())

    @property
    def correct(self) -> int:
        return accuracy_counts(self.counts)[0]

    def to_message(self) -> fleet_pb2.Confusion:
        if not self.counts.any() and not self.unlabelled_values:
            return fleet_pb2.Confusion()
        return fleet_pb2.Confusion(
            labels=self.labels,
            counts=self.counts.tolist(),
            unlabelled_values=self.unlabelled_values,
        )

    @staticmethod
    def from_message(message: fleet_pb2.Confusion, labels: Sequence[str]) -> "ConfusionCounts":
        """Reads what a device sent, against the reference's labels.

        Raises:
            Corrupt: other labels, or counts that do not fit them.
        """
        n = len(labels)
        if message.labels and tuple(message.labels) != tuple(labels):
            raise Corrupt("confusion: its labels are not the reference's")
        return ConfusionCounts(
            labels,
            read_counts(message.counts, n * n, "confusion"),
            read_count(message.unlabelled_values, "confusion"),
        )


def accuracy_counts(counts: Sequence[int] | NDArray[np.int64]) -> tuple[int, int]:
    """(correct, all) of confusion counts `[actual * n + predicted]`.

    >>> accuracy_counts([50, 3, 7, 40])
    (90, 100)
    """
    table = np.asarray(counts, dtype=np.int64)
    n = round(len(table) ** 0.5)
    return int(np.trace(table.reshape(n, n))), int(table.sum())
