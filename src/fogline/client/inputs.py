"""What an application has at hand -> the arrays that a model takes.

Integers never wrap around, fractions are never cut off, numbers never become text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fogline.errors import InvalidInput
from fogline.schema import Field, Schema
from fogline.tensors import DATATYPES, Array


def arrays_of(inputs: Mapping[str, Any], schema: Schema) -> dict[str, Array]:
    """Makes every named value an array of the model's datatype and rank.

    A column of n values becomes [n, 1] where the model takes that. A missing value (None) becomes
    NaN in a floating-point column and the empty text in a BYTES column.

    Raises:
        InvalidInput: an unknown or missing name, or a value that the datatype cannot hold.
    """
    fields = {f.name: f for f in schema.inputs}
    if inputs.keys() != fields.keys():
        raise InvalidInput(
            f"the model takes {', '.join(map(repr, fields))}, got {', '.join(map(repr, inputs))}"
        )
    return {name: _array(fields[name], value) for name, value in inputs.items()}


def columns_of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows of named values as named columns; all rows must have the same names.

    Raises:
        InvalidInput: no rows, or rows with other names than the first.
    """
    if not rows:
        raise InvalidInput("there are no rows")
    names = rows[0].keys()
    for i, row in enumerate(rows):
        if row.keys() != names:
            raise InvalidInput(f"row {i} has other names than the first row")
    return {name: [row[name] for row in rows] for name in names}


def _array(field: Field, value: Any) -> Array:
    dtype = DATATYPES[field.datatype]
    try:
        array = _text(value) if field.datatype == "BYTES" else _number(field, value, dtype)
    except (ValueError, TypeError, OverflowError) as e:
        raise InvalidInput(f"input {field.name!r}: not {field.datatype}: {e}") from None
    if array.ndim + 1 == len(field.shape) and field.shape[-1] == 1:
        return array[..., np.newaxis]
    return array


def _text(value: Any) -> Array:
    array: Any = np.array(value, dtype=np.object_)
    array[array == None] = ""  # noqa: E711 - elementwise
    for element in array.flat:
        if not isinstance(element, (str, bytes)):
            raise TypeError(f"an element is {type(element).__name__}")
    return np.asarray(array)


def _number(field: Field, value: Any, dtype: np.dtype[Any]) -> Array:
    array = np.asarray(value)
    if array.dtype == np.object_ and dtype.kind == "f":
        array = array.astype(np.float64)  # None becomes NaN
    if array.size == 0:
        return array.astype(dtype)
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(f"elements are {array.dtype}")
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(cast, array):
        raise OverflowError(f"an element is out of the range of {field.datatype}")
    return cast
