"""Runs original and converted model on the sample and on probes, and judges what comes out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fogline.errors import FoglineError, InvalidInput
from fogline_hub.convert.frame import Frame, as_served, rows_of, take, within_bounds
from fogline_hub.convert.parity import (
    Answers,
    Comparison,
    Difference,
    Parity,
    Tolerance,
    compare,
    judge,
)
from fogline_hub.convert.probes import Probe, boundaries, other_lengths, static_probes
from fogline_hub.convert.served import ServedModel
from fogline_hub.convert.source import Refused, Trained

SEED = 20_231
"""Of the probes' rows, so that one model and sample give one report."""
Axes = Sequence[tuple[str, int]]
"""(input, axis) of tensors that have one length."""
BATCH_ROWS = 8
"""Rows asked again alone and in pairs."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The verdict, and the original's answers on the sample as it is served."""

    parity: Parity
    served_rows: Frame
    original: Answers


def prove(
    trained: Trained,
    served: ServedModel,
    sample: Frame,
    tolerance: Tolerance | None = None,
    lengths: Sequence[Axes] = (),
    *,
    takes_no_rows: bool = True,
) -> Proof:
    """Compares on every row of the sample, in the original's own precision, and on probes.

    Args:
        trained: The original.
        served: The converted model.
        sample: Real rows.
        tolerance: What counts as equal.
        lengths: Axes of input tensors that are free, those of one length together; each is tried
            at lengths that the sample has not.
        takes_no_rows: False where the converted model must not be asked no rows.

    Raises:
        InvalidInput: the original refuses the sample itself, or the converted model its rows.
    """
    allowed = tolerance or Tolerance()
    try:
        original = trained.answers(sample)
        rows = as_served(sample, served.schema)
        again = trained.answers(rows)
    except Refused as e:
        raise InvalidInput(f"the model refuses the sample: {e}") from e
    real = compare(original, served.answers(sample), allowed)
    probes = dict(_probe_all(trained, served, rows, again, allowed))
    probes["batch_0"] = (
        _empty_batch(served, rows)
        if takes_no_rows
        else _noted(
            Difference(
                rows=0, note="not asked: onnxruntime's LSTM and GRU end the process on no rows"
            )
        )
    )
    probes |= dict(_probe_lengths(trained, served, rows, allowed, lengths))
    return Proof(judge(real, probes, allowed), rows, again)


def _probe_all(
    trained: Trained, served: ServedModel, rows: Frame, original: Answers, tolerance: Tolerance
) -> Iterator[tuple[str, Comparison]]:
    rng = np.random.default_rng(SEED)
    for name, probe in static_probes(rows, rng).items():
        yield name, _compare_probe(trained, served, probe, tolerance)
    near = boundaries(rows, lambda f: _jumping(trained.answers(f)), rng, _number_type(served))
    if near is not None:
        yield "boundaries", _compare_probe(trained, served, Probe(near), tolerance)
    few = min(BATCH_ROWS, rows_of(rows))
    for size in (1, 2):
        chosen = take(rows, slice(0, few))
        batched = _in_batches(served, chosen, size)
        yield f"batch_{size}", compare(_first(original, few), batched, tolerance)


def _probe_lengths(
    trained: Trained,
    served: ServedModel,
    rows: Frame,
    tolerance: Tolerance,
    lengths: Sequence[Axes],
) -> Iterator[tuple[str, Comparison]]:
    for axes in lengths:
        name, axis = axes[0]
        for length, frame in other_lengths(rows, axes).items():
            probe = Probe(frame, may_refuse=True)
            found = _compare_probe(trained, served, probe, tolerance)
            yield f"length_{name}_{axis}_of_{length}"[:80], found


def _compare_probe(
    trained: Trained, served: ServedModel, probe: Probe, tolerance: Tolerance
) -> Comparison:
    rows = as_served(probe.rows, served.schema)
    allowed = within_bounds(rows, served.schema)
    if not allowed.all():
        rows = take(rows, np.flatnonzero(allowed))
        if not allowed.any():
            return _noted(Difference(rows=0, note="outside the bounds of the schema"))
    try:
        original = trained.answers(rows)
    except Refused as e:
        if not probe.may_refuse:
            raise InvalidInput(f"the model refuses rows like those of the sample: {e}") from e
        taken = _taken(trained, rows)
        if not len(taken):
            return _noted(Difference(rows=0, note="the original refuses them"))
        rows = take(rows, taken)
        original = trained.answers(rows)
    return compare(original, served.answers(rows), tolerance)


def _taken(trained: Trained, rows: Frame) -> NDArray[np.int64]:
    """The rows that the original takes when each is asked alone."""
    taken = []
    for row in range(rows_of(rows)):
        try:
            trained.answers(take(rows, slice(row, row + 1)))
        except Refused:
            continue
        taken.append(row)
    return np.array(taken, dtype=np.int64)


def _in_batches(served: ServedModel, rows: Frame, size: int) -> Answers:
    parts = [
        served.answers(take(rows, slice(start, start + size)))
        for start in range(0, rows_of(rows), size)
    ]
    has_labels = parts[0].labels is not None
    return Answers(
        labels=np.concatenate([p.labels for p in parts if p.labels is not None])
        if has_labels
        else None,
        numbers=np.concatenate([p.numbers for p in parts]),
        dtype=parts[0].dtype,
    )


def _empty_batch(served: ServedModel, rows: Frame) -> Comparison:
    """scikit-learn refuses no rows at all; a server may be sent them, and must not die of it."""
    try:
        served.answers(take(rows, slice(0, 0)))
    except FoglineError:
        return _noted(Difference(rows=0, note="refused"))
    return _noted(Difference(rows=0, note="answered with no rows"))


def _first(answers: Answers, count: int) -> Answers:
    labels = None if answers.labels is None else answers.labels[:count]
    return Answers(labels=labels, numbers=answers.numbers[:count], dtype=answers.dtype)


def _jumping(answers: Answers) -> NDArray[np.float64]:
    """What jumps: the numbers, or the label where there are none."""
    if answers.numbers.shape[1] or answers.labels is None:
        return answers.numbers
    return answers.labels.astype(np.float64)[:, None]


def _noted(difference: Difference) -> Comparison:
    none: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
    return Comparison(difference, none, np.zeros(0), none)


def _number_type(served: ServedModel) -> np.dtype[np.floating]:
    wide = any(f.datatype == "FP64" for f in served.schema.inputs)
    return np.dtype(np.float64 if wide else np.float32)
