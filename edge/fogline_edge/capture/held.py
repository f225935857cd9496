"""How much memory arrays keep alive: a small view can hold a long message."""

from collections.abc import Mapping
from sys import getsizeof

import numpy as np

from fogline.tensors import Array

ARRAY_BYTES = 128
"""Of an array's object itself."""
MAX_SLACK_BYTES = 4096
"""A view that keeps this much more than twice its size alive is copied instead."""


def hold(arrays: Mapping[str, Array]) -> tuple[Mapping[str, Array], int]:
    """Arrays that may be kept, and how many bytes live as long as they do.

    They are the same arrays, but for copies in place of small views of much larger memory.
    Neighbours that share memory count it once.
    """
    size = len(arrays) * ARRAY_BYTES
    last: object = None
    copies: dict[str, Array] = {}
    for name, array in arrays.items():
        own = array.nbytes
        if array.base is None:
            size += own
        else:
            owner, behind = _behind(array)
            if behind > 2 * own + MAX_SLACK_BYTES:
                copies[name] = array.copy()
                size += own
            elif owner is not last:
                size += behind
                last = owner
        if array.dtype.char == "O":
            size += sum(map(getsizeof, array.reshape(-1).tolist()))
    return ({**arrays, **copies} if copies else arrays), size


def _behind(array: Array) -> tuple[object, int]:
    """What holds the array's elements, and its size in bytes."""
    base: object = array.base
    while isinstance(base, np.ndarray):
        array, base = base, base.base
    if base is None:
        return array, array.nbytes
    owner = base.obj if isinstance(base, memoryview) else base
    return owner, max(array.nbytes, getsizeof(owner))
