"""The C library's heap: one for all threads, and given back when it is free. Imports little.

Sources: mallopt(3), malloc_trim(3). What it gains is measured in docs/serving.md.
"""

import ctypes

_M_ARENA_MAX = -8  # malloc.h


def use_one_heap() -> bool:
    """Has glibc keep one heap for all threads; to be called before any other thread begins.

    With a heap a thread, what a run freed stays with the heap of the thread that ran it, and
    `trim` does not reach the end of any heap but the first. False where there is no glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_ARENA_MAX, 1) == 1


def trim() -> None:
    """Gives freed memory back to the machine; takes a millisecond or some. Nothing but on glibc."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
