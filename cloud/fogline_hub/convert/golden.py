"""Picks the rows that a device has to answer as the original did, before it serves a variant."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fogline.bundle import GoldenCase, Tolerance
from fogline.bundle.golden import MAX_GOLDEN_BYTES
from fogline.schema import Schema
from fogline.tensors import DATATYPES, Array
from fogline_hub.convert.frame import Frame, rows_of, take, tensors_of
from fogline_hub.convert.parity import Answers
from fogline_hub.convert.parity import Tolerance as ParityTolerance
from fogline_hub.convert.served import label_values

SINGLE_ROWS = 4
"""Cases of one row."""
BATCH_ROWS = 16
"""Rows of the one case with many."""


def make_golden(
    schema: Schema,
    rows: Frame,
    original: Answers,
    tolerance: ParityTolerance,
    like: Mapping[str, Array],
) -> tuple[GoldenCase, ...]:
    """Cases of real rows with the original's answers, far from where its label would change.

    Args:
        schema: Of the converted model.
        rows: As served, so that both models saw the same numbers.
        original: The original's answers on them.
        tolerance: By how much a variant may differ.
        like: The converted model's outputs on some rows, for their shapes.

    Returns:
        Cases of one row, and one of many.
    """
    order = _clearest(original)[: _most_rows(take(rows, slice(0, 1)), schema, like)]
    batches = [order[i : i + 1] for i in range(min(SINGLE_ROWS, len(order)))]
    batches.append(np.sort(order[: min(BATCH_ROWS, rows_of(rows))]))
    allowed = Tolerance(absolute=tolerance.absolute, relative=tolerance.relative)
    return tuple(_case(schema, rows, original, chosen, allowed, like) for chosen in batches)


def _most_rows(row: Frame, schema: Schema, like: Mapping[str, Array]) -> int:
    """Rows that the cases have room for: an image or a page of scores may take a megabyte."""
    taken = sum(t.nbytes for t in tensors_of(row, schema).values())
    taken += sum(a[:1].nbytes for a in like.values())
    return max(1, MAX_GOLDEN_BYTES // (2 * SINGLE_ROWS * max(taken, 1)))


def _clearest(original: Answers) -> NDArray[np.int64]:
    """Rows spread over the half in which the original is surest of its label."""
    count = original.rows
    rows = np.arange(count)
    if original.labels is not None and original.numbers.shape[1] > 1:
        best = np.sort(original.numbers, axis=1)
        rows = np.sort(np.argsort(best[:, -2] - best[:, -1], kind="stable")[: -(-count // 2)])
    wanted = min(BATCH_ROWS, len(rows))
    return rows[np.linspace(0, len(rows) - 1, wanted).astype(np.int64)]


def _case(
    schema: Schema,
    rows: Frame,
    original: Answers,
    chosen: NDArray[np.int64],
    allowed: Tolerance,
    like: Mapping[str, Array],
) -> GoldenCase:
    outputs: dict[str, Array] = {}
    start = 0
    for field in schema.outputs:
        if field.role == "label" and original.labels is not None:
            codes = original.labels[chosen]
            outputs[field.name] = label_values(field.labels, codes, field.datatype)
        elif field.datatype != "BYTES":
            shape = like[field.name].shape[1:]
            width = math.prod(shape)
            numbers = original.numbers[chosen, start : start + width]
            start += width
            outputs[field.name] = numbers.astype(DATATYPES[field.datatype]).reshape(
                len(chosen), *shape
            )
    tolerances = {n: allowed for n, a in outputs.items() if a.dtype.kind == "f"}
    return GoldenCase(
        inputs=tensors_of(take(rows, chosen), schema), outputs=outputs, tolerances=tolerances
    )
