"""A converted model asked the way a device asks it: a session, fed by the schema."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from fogline.errors import InvalidInput
from fogline.runtime import ModelPlan, Session
from fogline.schema import Schema
from fogline.summaries import category_text
from fogline.tensors import Array
from fogline_hub.convert.frame import Frame, rows_of, tensors_of
from fogline_hub.convert.parity import Answers

UNKNOWN_LABEL = -1
ASKED_BYTES = 16 * 2**20
"""Input that a model is given at once: what is computed on the way may be a hundred times that."""


class ServedModel:
    """An ONNX file with its schema: columns go in, answers come out as the original's do."""

    def __init__(self, path: Path, schema: Schema) -> None:
        """Opens the file; raises as `Session.open`."""
        self.schema = schema
        self._session = Session.open(path, ModelPlan())

    def run(self, frame: Frame) -> dict[str, Array]:
        """All outputs by name; large rows (images) some at a time. Raises as `Session.run`."""
        tensors = tensors_of(frame, self.schema)
        step = rows_at_once(tensors)
        parts = [
            self._session.run({n: t[i : i + step] for n, t in tensors.items()})
            for i in range(0, max(rows_of(frame), 1), step)
        ]
        if len(parts) == 1 or any(a.ndim == 0 for a in parts[0].values()):
            return parts[0]
        return {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}

    def ask(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs for input tensors; raises as `Session.run`."""
        return self._session.run(tensors)

    def answers(self, frame: Frame) -> Answers:
        """The outputs as label codes and numbers.

        Raises:
            InvalidInput: an output has not one answer for each row.
        """
        return self.read(self.run(frame), rows_of(frame))

    def read(self, outputs: dict[str, Array], rows: int) -> Answers:
        """Outputs of `rows` rows as answers; raises as `answers`."""
        return read_answers(self.schema, outputs, rows)

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> "ServedModel":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def rows_at_once(tensors: Mapping[str, Array]) -> int:
    """Rows of these tensors that a model is asked at once, at least one."""
    row = sum(t[:1].nbytes for t in tensors.values())
    return max(1, ASKED_BYTES // max(row, 1))


def read_answers(schema: Schema, outputs: Mapping[str, Array], rows: int) -> Answers:
    """Outputs of `rows` rows, as a schema names them, as answers.

    Raises:
        InvalidInput: an output has not one answer for each row.
    """
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != rows:
            raise InvalidInput(
                f"output {name!r} has shape {array.shape} for {rows} rows; "
                "the first dimension has to be the batch"
            )
    label = next((f for f in schema.outputs if f.role == "label"), None)
    numbers = [
        outputs[f.name].reshape(rows, int(np.prod(outputs[f.name].shape[1:])))
        for f in schema.outputs
        if f is not label and f.datatype != "BYTES"
    ]
    joined = np.concatenate(numbers, axis=1) if numbers else np.zeros((rows, 0), np.float32)
    return Answers(
        labels=None if label is None else label_codes(label.labels, outputs[label.name]),
        numbers=joined.astype(np.float64),
        dtype=joined.dtype,
    )


def label_codes(labels: Sequence[str], values: Array) -> NDArray[np.int64]:
    """The place of each label [rows] in `labels`; `UNKNOWN_LABEL` for others.

    >>> label_codes(("no", "yes"), np.array(["yes", "no", "maybe"], dtype=object)).tolist()
    [1, 0, -1]
    """
    places = {name: i for i, name in enumerate(labels)}
    texts = (category_text(v) for v in values.ravel().tolist())
    return np.array([places.get(t or "", UNKNOWN_LABEL) for t in texts], dtype=np.int64)


def label_values(labels: Sequence[str], codes: NDArray[np.int64], datatype: str) -> Array:
    """Label codes [rows] as the tensor that the model returns."""
    names = [labels[c] for c in codes.tolist()]
    if datatype != "BYTES":
        return np.array([int(n) for n in names], dtype=np.int64)
    made = np.empty(len(names), dtype=np.object_)
    made[:] = names
    return made
