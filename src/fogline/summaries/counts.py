"""Integer counts as they travel: bounded, never negative, and checked when they come back."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fogline.errors import Corrupt

MAX_COUNT = 2**48
"""Largest single count that is read; thirty thousand of them still add up in an int64."""


def read_counts(values: Sequence[int], length: int, what: str) -> NDArray[np.int64]:
    """Reads `length` counts of a message; none at all means all zero.

    Raises:
        Corrupt: another length, or a count above `MAX_COUNT`.
    """
    if len(values) == 0:
        return np.zeros(length, dtype=np.int64)
    if len(values) != length:
        raise Corrupt(f"{what}: {len(values)} counts, expected {length}")
    return np.array([read_count(v, what) for v in values], dtype=np.int64)


def read_count(value: int, what: str) -> int:
    if value > MAX_COUNT:
        raise Corrupt(f"{what}: a count of {value}, at most {MAX_COUNT} is read")
    return value
