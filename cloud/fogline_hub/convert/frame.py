"""Rows as named columns, in the order that a model takes them, and as the tensors of its schema.

A number column is float64, float32, int64 or bool [rows]; a text column is object (of str) [rows].
A tensor that is no columns (an image, a sequence of tokens) stands in a frame whole, under the name
of the model's input: [rows, ...] of the same types.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fogline.schema import Field, Schema, column_names, is_within
from fogline.tensors import DATATYPES

Column = NDArray[Any]
Frame = Mapping[str, Column]


def is_text(column: Column) -> bool:
    return column.dtype.kind == "O"


def rows_of(frame: Frame) -> int:
    return len(next(iter(frame.values())))


def take(frame: Frame, rows: NDArray[np.int64] | slice) -> dict[str, Column]:
    """The chosen rows, as copies."""
    return {name: column[rows].copy() for name, column in frame.items()}


def is_float32_exact(frame: Frame) -> bool:
    """True when float32 holds every number of the frame."""
    return all(
        np.array_equal(
            c.astype(np.float32).astype(np.float64), c.astype(np.float64), equal_nan=True
        )
        for c in frame.values()
        if not is_text(c)
    )


def as_served(frame: Frame, schema: Schema) -> dict[str, Column]:
    """The frame after the rounding that its way through the schema's tensors does."""
    served: dict[str, Column] = {}
    for field in schema.inputs:
        dtype = DATATYPES[field.datatype]
        if is_whole(frame, field):
            served[field.name] = frame[field.name].astype(dtype, copy=False)
            continue
        for name in column_names(field):
            column = frame[name]
            # Numbers come back as float64, so that the original computes as it was trained to.
            is_number = dtype.kind == "f"
            served[name] = column.astype(dtype).astype(np.float64) if is_number else column
    return served


def tensors_of(frame: Frame, schema: Schema) -> dict[str, Column]:
    """The frame as the input tensors of a schema: [rows, n] each, or [rows, ...] where whole."""
    return {field.name: tensor_of(frame, field) for field in schema.inputs}


def within_bounds(frame: Frame, schema: Schema) -> NDArray[np.bool_]:
    """Which rows [rows] a server takes: those with no value outside the schema's bounds."""
    rows = np.ones(rows_of(frame), dtype=np.bool_)
    for field in schema.inputs:
        if field.has_bounds:
            tensor = tensor_of(frame, field)
            rows &= np.array([is_within(field, row) for row in tensor], dtype=np.bool_)
    return rows


def is_whole(frame: Frame, field: Field) -> bool:
    """Whether the frame holds a field's tensor as one array, and not as columns."""
    array = frame.get(field.name)
    return array is not None and array.ndim > 1


def tensor_of(frame: Frame, field: Field) -> Column:
    """One field's tensor."""
    dtype = DATATYPES[field.datatype]
    if is_whole(frame, field):
        return np.ascontiguousarray(frame[field.name].astype(dtype, copy=False))
    columns = [frame[name].astype(dtype, copy=False) for name in column_names(field)]
    if len(field.shape) == 1:
        return columns[0]
    return np.ascontiguousarray(np.stack(columns, axis=1))
