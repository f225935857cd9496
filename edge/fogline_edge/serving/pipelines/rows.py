"""Which rows of a request a tensor holds, and how tensors of some rows are cut and put together.

`None` stands for all rows, whatever their number; `Rows` for some of a known number. Nothing is
copied unless rows must be picked from here and there or put together.
"""

from collections.abc import Sequence

import numpy as np

from fogline.errors import InvalidInput
from fogline.tensors import Array


class Rows:
    """Some rows of `total`, by index, ascending; none at all where `index` is empty."""

    __slots__ = ("index", "total")

    def __init__(self, total: int, index: Array) -> None:
        self.total = total
        self.index = index

    def __len__(self) -> int:
        return len(self.index)


NO_ROWS = Rows(0, np.empty(0, np.int64))


class Value:
    """A tensor between steps, read-only, and the rows that it holds."""

    __slots__ = ("array", "rows")

    def __init__(self, array: Array, rows: Rows | None = None) -> None:
        self.array = array
        self.rows = rows


def read_only(array: Array) -> Array:
    """A view of the same memory that refuses to be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def rows_where(mask: Array) -> Rows | None:
    """The rows that a condition holds for; of no rows at all it holds for none."""
    index = np.flatnonzero(mask)
    if not len(index):
        return NO_ROWS
    return None if len(index) == len(mask) else Rows(len(mask), index)


def common_rows(one: Rows | None, other: Rows | None) -> Rows | None:
    """The rows of both. Raises `InvalidInput` where they are of different numbers of rows."""
    if one is None or other is None or one is other:
        return other if one is None else one
    if not len(one) or not len(other):
        return NO_ROWS
    _check_total(one.total, other.total)
    index = np.intersect1d(one.index, other.index, assume_unique=True)
    return Rows(one.total, index) if len(index) else NO_ROWS


def rows_left(taken: Sequence[Rows | None]) -> Rows | None:
    """The rows in none of `taken`. Raises `InvalidInput` as `common_rows`."""
    if any(rows is None for rows in taken):
        return NO_ROWS
    some = [rows for rows in taken if rows is not None and len(rows)]
    if not some:
        return None
    mask = np.ones(some[0].total, np.bool_)
    for rows in some:
        _check_total(some[0].total, rows.total)
        mask[rows.index] = False
    return rows_where(mask)


def cut(value: Value, wanted: Rows | None) -> Array:
    """The wanted rows of a value that holds at least these; a view where they lie together.

    Raises:
        InvalidInput: the value has another number of rows than the request.
    """
    if wanted is None or wanted is value.rows:
        return value.array
    if value.rows is None:
        if value.array.ndim == 0:
            raise InvalidInput(f"a scalar cannot be cut to {len(wanted)} of {wanted.total} rows")
        _check_total(wanted.total, len(value.array))
        return _pick(value.array, wanted.index)
    return _pick(value.array, np.searchsorted(value.rows.index, wanted.index))


def put_together(values: Sequence[Value]) -> Value:
    """Each row from the first of `values` that holds it.

    Raises:
        InvalidInput: they have different numbers of rows, or rows of different shapes.
    """
    first = values[0]
    if first.rows is None or len(values) == 1:
        return first
    total = first.rows.total
    holder = np.full(total, -1, np.int64)
    used = []
    for i, value in enumerate(values):
        free = holder < 0
        if not free.any():
            break
        _check_total(total, len(value.array) if value.rows is None else value.rows.total)
        _check_alike(first.array, value.array)
        if value.rows is None:
            holder[free] = i
        else:
            holder[value.rows.index[free[value.rows.index]]] = i
        used.append(value)
    return _gathered(used, holder)


def _gathered(values: Sequence[Value], holder: Array) -> Value:
    index = np.flatnonzero(holder >= 0)
    result = np.empty((len(holder), *values[0].array.shape[1:]), values[0].array.dtype)
    for i, value in enumerate(values):
        own = np.flatnonzero(holder == i)
        at = own if value.rows is None else np.searchsorted(value.rows.index, own)
        result[own] = value.array[at]
    if len(index) == len(holder):
        return Value(read_only(result))
    return Value(read_only(result[index]), Rows(len(holder), index))


def _pick(array: Array, index: Array) -> Array:
    if len(index) and index[-1] - index[0] + 1 == len(index):
        return array[index[0] : index[-1] + 1]
    return read_only(array[index])


def _check_total(expected: int, got: int) -> None:
    if expected != got:
        raise InvalidInput(f"{got} rows meet a condition on {expected} rows")


def _check_alike(one: Array, other: Array) -> None:
    if one.dtype != other.dtype or one.shape[1:] != other.shape[1:]:
        raise InvalidInput(
            f"rows of {one.dtype} {list(one.shape[1:])} and of "
            f"{other.dtype} {list(other.shape[1:])} cannot be put together"
        )
