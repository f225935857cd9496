"""What a model predicted, by the roles in its schema: classes and how sure it was. Pure."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fogline.schema import Field, Schema
from fogline.summaries import CategoryIndex, Reference
from fogline.tensors import Array
from fogline_edge.capture.prediction_ids import prediction_bits


class Predictions:
    """Reads a version's outputs.

    Attributes:
        labels: The classes that codes count in: the label output's, else the probabilities', else
            the reference's; empty for a model that predicts no class.
    """

    __slots__ = ("_index", "_label", "_probabilities", "bits", "labels")

    def __init__(self, schema: Schema, reference: Reference) -> None:
        self._label = _first(schema, "label")
        self._probabilities = _first(schema, "probabilities")
        named = [f.labels for f in (self._label, self._probabilities) if f is not None and f.labels]
        self.labels: tuple[str, ...] = named[0] if named else reference.labels
        if self._label is None and self._probabilities is None:
            self.labels = ()
        self.bits = prediction_bits(len(self.labels))
        self._index = CategoryIndex(self.labels)

    def classes(self, outputs: Mapping[str, Array], rows: int) -> tuple[int, ...]:
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
            code = self._index.code
            found = [code(v) for v in values.reshape(-1).tolist()]
            return tuple(c if 0 <= c <= other else other for c in found)
        table = self._table(outputs, rows)
        if table is None or table.shape[1] != other:
            return ()
        return tuple(table.argmax(axis=1).tolist())

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


def _first(schema: Schema, role: str) -> Field | None:
    return next((f for f in schema.outputs if f.role == role), None)
