"""Which core the server has and which the load: one each where there are two, else none is set."""

import os
from collections.abc import Collection

_ALL = tuple(sorted(os.sched_getaffinity(0)))


def server() -> tuple[int, ...]:
    return _ALL[:1] if len(_ALL) > 1 else ()


def load() -> tuple[int, ...]:
    return _ALL[1:2]


def now() -> set[int]:
    return os.sched_getaffinity(0)


def take(wanted: Collection[int]) -> None:
    """This thread, and those that it starts, on these cores."""
    if wanted:
        os.sched_setaffinity(0, wanted)
