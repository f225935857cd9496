"""Conditions on a tensor's values -> the rows that a step runs on."""

import numpy as np

from fogline.errors import InvalidInput
from fogline.pipeline import Condition
from fogline.tensors import Array
from fogline_edge.serving.pipelines.rows import NO_ROWS, Rows, Value, common_rows, rows_where


def rows_that_meet(condition: Condition, value: Value) -> Rows | None:
    """The rows of `value` that meet the condition; by request: all that it holds, or none.

    Raises:
        InvalidInput: the tensor has no such measure: too many dimensions, or too few columns.
    """
    holds = _holds(condition, _measured(condition, value.array))
    if condition.by == "row":
        found = rows_where(holds)
        if value.rows is None or found is None:
            return found if value.rows is None else value.rows
        return Rows(value.rows.total, value.rows.index[found.index]) if len(found) else NO_ROWS
    met = bool(holds.any() if condition.by == "any" else holds.all())
    return common_rows(value.rows, None if met else NO_ROWS)


def _measured(condition: Condition, array: Array) -> Array:
    """One number or text a row."""
    rows = array.reshape(1, 1) if array.ndim == 0 else array
    rows = rows[:, None] if rows.ndim == 1 else rows
    least = 2 if condition.measure == "margin" else 1
    fits = rows.ndim == 2 and rows.shape[1] >= least
    if not fits or (condition.measure == "value" and rows.shape[1] != 1):
        raise InvalidInput(
            f"{condition.tensor!r} of shape {list(array.shape)} has no {condition.measure} of "
            "each row"
        )
    match condition.measure:
        case "max":
            return np.asarray(rows.max(axis=1))
        case "min":
            return np.asarray(rows.min(axis=1))
        case "margin":
            two = np.partition(rows, -2, axis=1)[:, -2:]
            with np.errstate(invalid="ignore"):  # two infinities differ by NaN
                return np.asarray(two[:, 1] - two[:, 0])
        case "value":
            return rows[:, 0]


def _holds(condition: Condition, values: Array) -> Array:
    if condition.one_of:
        if values.dtype == np.object_:
            among = frozenset(condition.one_of)
            return np.fromiter((v in among for v in values), np.bool_, len(values))
        return np.isin(values, np.array(condition.one_of))
    holds = np.ones(len(values), np.bool_)
    # "Not at least" instead of "below": a comparison with NaN is false.
    if condition.below is not None:
        holds &= ~(values >= condition.below)
    if condition.at_least is not None:
        holds &= values >= condition.at_least
    return holds
