"""The C library's heap: one for all threads, and given back when it is free. Imports little.

Sources: mallopt(3), malloc_trim(3). What it gains is measured in docs/serving.md. Without glibc
nothing here does anything.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h

_LARGE_BYTES = 128 * 1024
"""glibc's own first value."""
_KEPT_BYTES = 32 * 1024 * 1024
"""The most that glibc's own values grow to by use."""


def use_one_heap() -> bool:
    """Has glibc keep one heap for all threads; to be called before any other thread begins.

    With a heap a thread, what a run freed stays with the heap of the thread that ran it, and
    `trim` does not reach the end of any heap but the first. False where there is no glibc.
    """
    return _set(_ARENA_MAX, 1)


@contextmanager
def large_apart() -> Iterator[None]:
    """While it lasts, what is larger than 128 KiB gets pages of its own, and gives them back whole.

    For loading a model: its weights lie in the heap otherwise, among what is freed sooner, and a
    load takes more at its peak, by chance. Afterwards pages of their own are for larger things
    alone, since a run that asks for new ones each time takes a tenth longer.
    """
    _set(_MMAP_THRESHOLD, _LARGE_BYTES)
    try:
        yield
    finally:
        _set(_MMAP_THRESHOLD, _KEPT_BYTES)
        # As much at the end of the heap stays for the next run; `trim` gives that back too.
        _set(_TRIM_THRESHOLD, _KEPT_BYTES)


def trim() -> None:
    """Gives freed memory back to the machine; takes a millisecond or some."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def _set(option: int, value: int) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(option, value) == 1
