"""What a model predicted, by the roles in its schema: classes and how sure it was. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fogline.schema import Field, Schema
from fogline.summaries import CategoryIndex, Reference
from fogline.tensors import Array

MAX_KNOWN_VALUES = 1024
"""Distinct values of a label whose class is remembered."""


class Predictions:
    """Reads a version's outputs.

    Attributes:
        labels: The classes that codes count in: the label output's, else the probabilities', else
            the reference's; empty for a model that predicts no class.
    """

    __slots__ = ("_codes", "_label", "_probabilities", "labels")

    def __init__(self, schema: Schema, reference: Reference) -> None:
        self._label = _first(schema, "label")
        self._probabilities = _first(schema, "probabilities")
        named = [f.labels for f in (self._label, self._probabilities) if f is not None and f.labels]
        self.labels: tuple[str, ...] = named[0] if named else reference.labels
        if self._label is None and self._probabilities is None:
            self.labels = ()
        self._codes = _Codes(self.labels)

    @property
    def probabilities(self) -> str:
        """The name of the tensor that `margins` reads; empty without one."""
        return "" if self._probabilities is None else self._probabilities.name

    def classes(self, outputs: Mapping[str, Array], rows: int) -> Sequence[int]:
        """The predicted class of each row, a place in `labels`, or `len(labels)` for another one.

        Empty where no class is predicted, or its output was not asked for.
        """
        if not self.labels:
            return ()
        other = len(self.labels)
        if self._label is not None and self._label.name in outputs:
            values = outputs[self._label.name]
            if values.size != rows:
                return ()
            return list(map(self._codes.__getitem__, values.reshape(-1).tolist()))
        table = self._table(outputs, rows)
        if table is None or table.shape[1] != other:
            return ()
        found: list[int] = table.argmax(axis=1).tolist()
        return found

    def margins(self, outputs: Mapping[str, Array], rows: int) -> NDArray[np.float64] | None:
        """How far the likeliest class leads the next, 0 to 1, float64 [rows]; None if not known."""
        table = self._table(outputs, rows)
        if table is None:
            return None
        margins = np.zeros(rows)
        if table.shape[1] == 1:
            margins += np.abs(2.0 * table[:, 0].astype(np.float64) - 1.0)
        else:
            best = np.partition(table.astype(np.float64), -2, axis=1)[:, -2:]
            margins += best[:, 1] - best[:, 0]
        return np.nan_to_num(margins, nan=0.0).clip(0.0, 1.0)

    def _table(self, outputs: Mapping[str, Array], rows: int) -> Array | None:
        """The probabilities as [rows, classes]."""
        field = self._probabilities
        if field is None or field.name not in outputs:
            return None
        values = outputs[field.name]
        if values.dtype.kind != "f" or values.ndim not in (1, 2) or values.shape[0] != rows:
            return None
        return values.reshape(rows, -1) if rows and values.size else None


class _Codes(dict[object, int]):
    """Class of a value: a place among the labels, or one more for any other and for a missing one.

    A look-up costs an answered request 40 ns, what `CategoryIndex` does for a new value a
    microsecond.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        super().__init__()
        self._index = CategoryIndex(labels)

    def __missing__(self, value: object) -> int:
        code = self._index.code(value)
        found = code if code >= 0 else self._index.other
        if len(self) < MAX_KNOWN_VALUES:
            self[value] = found
        return found


def _first(schema: Schema, role: str) -> Field | None:
    return next((f for f in schema.outputs if f.role == role), None)
