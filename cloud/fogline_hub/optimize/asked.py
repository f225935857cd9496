"""A model asked many rows, and its outputs read as labels and numbers."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fogline.errors import Exhausted, InvalidInput, Unsupported
from fogline.runtime import ModelPlan, Session
from fogline.schema import Schema
from fogline.tensors import Array
from fogline_hub.convert.frame import Column
from fogline_hub.convert.heads import is_label
from fogline_hub.convert.parity import Answers
from fogline_hub.convert.served import label_codes
from fogline_hub.optimize.rows import Rows

CHUNK_ROWS = 256
"""Rows of one run; 1 for a variant whose rows change one another, as it is served so."""
MAX_ANSWER_BYTES = 2**29
"""Of all rows together, as float64."""
_ROUNDING = 1e-3
"""By how much probabilities may miss one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Which output says the label: itself, or by the place of its largest number.

    Attributes:
        label: Name of the output of labels; empty for none.
        labels: Its values, where the schema lists them.
        scores: Name of the output whose largest number is the label; empty for none.
        numbers: Names of outputs of numbers.
    """

    label: str
    labels: tuple[str, ...]
    scores: str
    numbers: tuple[str, ...]


class AskedModel:
    """A session that is asked rows in parts."""

    def __init__(self, path: Path, *, prepack: bool = True, chunk: int = CHUNK_ROWS) -> None:
        """Opens the file; raises as `Session.open`."""
        self.session = Session.open(path, ModelPlan(prepack=prepack))
        fixed = [f.shape[0] for f in self.session.inputs if f.shape and f.shape[0] > 0]
        if any(size != 1 for size in fixed):
            raise Unsupported(f"{path.name}: takes {max(fixed)} rows at once and no other number")
        self._chunk = 1 if fixed else chunk

    def outputs(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs for all rows; raises as `Session.run`.

        Raises:
            InvalidInput: an output has not one answer for each row.
            Exhausted: the answers take more than `MAX_ANSWER_BYTES`.
        """
        rows = len(next(iter(tensors.values())))
        parts: dict[str, list[Array]] = {}
        size = 0
        for start in range(0, rows, self._chunk):
            part = {n: a[start : start + self._chunk] for n, a in tensors.items()}
            count = min(self._chunk, rows - start)
            for name, array in self.session.run(part).items():
                if array.ndim == 0 or len(array) != count:
                    raise InvalidInput(
                        f"output {name!r} has shape {array.shape} for {count} rows; "
                        "the first dimension has to be the batch"
                    )
                size += array.size * 8
                parts.setdefault(name, []).append(array)
            if size > MAX_ANSWER_BYTES:
                raise Exhausted(f"the answers to {rows} rows are too long; give fewer rows")
        return {n: np.concatenate(p) for n, p in parts.items()}

    def close(self) -> None:
        self.session.close()


def bare_schema(session: Session) -> Schema:
    """What a session says of a file that has no schema."""
    return Schema(inputs=session.inputs, outputs=session.outputs)


def reading_of(schema: Schema, outputs: Mapping[str, Array], actual: Column | None) -> Reading:
    """How the base's outputs are read, and so those of all its variants.

    Without an output of labels, the place of the largest number is the label where the numbers are
    probabilities, or where the actual values are places.
    """
    label = next((f for f in schema.outputs if f.role == "label" or is_label(f)), None)
    numbers = tuple(f.name for f in schema.outputs if f.datatype.startswith("FP"))
    scores = ""
    if label is None:
        scores = next((n for n in numbers if _says_label(outputs[n], actual)), "")
    return Reading(
        label=label.name if label else "",
        labels=label.labels if label else (),
        scores=scores,
        numbers=numbers,
    )


def read_answers(reading: Reading, outputs: Mapping[str, Array], rows: int) -> Answers:
    """Outputs [rows, ...] as labels and numbers."""
    numbers = [_flat(outputs[n], rows) for n in reading.numbers]
    joined = np.concatenate(numbers, axis=1) if numbers else np.zeros((rows, 0))
    codes: NDArray[np.int64] | None = None
    if reading.label:
        codes = _codes(reading, outputs[reading.label])
    elif reading.scores:
        codes = _places(outputs[reading.scores])
    return Answers(labels=codes, numbers=joined)


def actual_of(
    reading: Reading, rows: Rows
) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | None]:
    """Actual outcomes as label codes or as values; neither where nothing is known.

    Raises:
        InvalidInput: the target is text, and the model gives numbers.
    """
    actual = rows.actual
    if actual is None:
        return None, None
    if reading.label:
        return _codes(reading, actual), None
    if actual.dtype.kind == "O":
        raise InvalidInput("the target is text, and the model gives numbers")
    if reading.scores:
        return actual.astype(np.int64), None
    return None, actual.astype(np.float64)


def _flat(array: Array, rows: int) -> NDArray[np.float64]:
    return np.asarray(array.reshape(rows, math.prod(array.shape[1:])), dtype=np.float64)


def _codes(reading: Reading, values: Column) -> NDArray[np.int64]:
    """Places in the list of labels, or for unlisted ones a number by their text."""
    if reading.labels:
        return label_codes(reading.labels, values)
    texts = [
        str(int(v)) if isinstance(v, (int, float)) else str(v) for v in values.ravel().tolist()
    ]
    known = {t: _number(t.encode()) for t in set(texts)}
    return np.array([known[t] for t in texts], dtype=np.int64)


def _places(scores: Array) -> NDArray[np.int64]:
    """Places of the largest number [rows]; of sequences one number for all their places."""
    places: NDArray[np.int64] = scores.argmax(axis=-1).astype(np.int64)
    if places.ndim == 1:
        return places
    return np.array([_number(row.tobytes()) for row in places], dtype=np.int64)


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=7).digest(), "big")


def _says_label(scores: Array, actual: Column | None) -> bool:
    if scores.ndim not in (2, 3) or scores.shape[-1] < 2:
        return False
    if actual is not None:
        is_whole = actual.dtype.kind in "iub"
        return bool(is_whole and actual.min() >= 0 and actual.max() < scores.shape[-1])
    sums = scores.sum(axis=-1)
    return bool((scores >= -_ROUNDING).all() and np.allclose(sums, 1.0, atol=_ROUNDING))
