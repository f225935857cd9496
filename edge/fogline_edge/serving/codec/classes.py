"""The classification extension: a tensor's highest values, as text.

Source: Triton's protocol extension "classification"; values are written as its server writes them,
by C's `%f` and `%d`.
"""

from collections.abc import Sequence

import numpy as np

from fogline.errors import Exhausted
from fogline.tensors import Array


def classify(array: Array, count: int, labels: Sequence[str], *, by_row: bool, limit: int) -> Array:
    """The `count` highest values of each row, or of the whole tensor, as `value:index[:label]`.

    Args:
        array: Numbers of any shape.
        count: How many; fewer where there are fewer values.
        labels: Names of the classes; those missing or empty are left out.
        by_row: Whether the first dimension is the batch.
        limit: Most texts that are made.

    Returns:
        Object array of `str`, [rows, count] or [count]; the first of equal values stands first, and
        NaN last.

    Raises:
        Exhausted: more than `limit` texts.
    """
    rows = array.shape[0] if by_row else 1
    width = array.size // rows if rows else 0
    count = min(count, width)
    if rows * count > limit:
        raise Exhausted(
            f"{rows} rows of {count} classes, at most {limit} are written: ask for fewer"
        )
    texts = np.empty((rows, count), np.object_)
    for i, values in enumerate(array.reshape(rows, width)):
        for j, index in enumerate(_highest(values, count)):
            texts[i, j] = _text(values[index].item(), int(index), labels)
    return texts if by_row else texts[0]


def _highest(values: Array, count: int) -> Array:
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), -np.inf, values)
    # A stable sort of the reversed values, read backwards, leaves equal ones in their order.
    order = np.argsort(values[::-1], kind="stable")[::-1][:count]
    return np.asarray(len(values) - 1 - order)


def _text(value: float, index: int, labels: Sequence[str]) -> str:
    number = f"{value:f}" if isinstance(value, float) else str(value)
    label = labels[index] if index < len(labels) else ""
    return f"{number}:{index}:{label}" if label else f"{number}:{index}"
