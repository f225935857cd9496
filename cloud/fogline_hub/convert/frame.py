"""Rows as named columns, in the order that a model takes them, and as the tensors of its schema.

A number column is float64, float32, int64 or bool [rows]; a text column is object (of str) [rows].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fogline.schema import Field, Schema, column_names
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
        for name in column_names(field):
            column = frame[name]
            # Numbers come back as float64, so that the original computes as it was trained to.
            is_number = dtype.kind == "f"
            served[name] = column.astype(dtype).astype(np.float64) if is_number else column
    return served


def tensors_of(frame: Frame, schema: Schema) -> dict[str, Column]:
    """The frame as the input tensors of a schema: [rows, n] each."""
    return {field.name: _tensor(frame, field) for field in schema.inputs}


def _tensor(frame: Frame, field: Field) -> Column:
    dtype = DATATYPES[field.datatype]
    columns = [frame[name].astype(dtype, copy=False) for name in column_names(field)]
    if len(field.shape) == 1:
        return columns[0]
    return np.ascontiguousarray(np.stack(columns, axis=1))
