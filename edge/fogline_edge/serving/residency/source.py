"""Where a version comes from, in memory or not."""

from collections.abc import Callable, Hashable
from typing import Protocol

from fogline.errors import FoglineError
from fogline_edge.serving.residency.room import Need
from fogline_edge.serving.served import ServedModel

Then = Callable[[FoglineError | None], None]
"""Told once how it came out; on any thread, and must not block."""


Key = tuple[str, int]
"""A version's name and number."""


class Source(Protocol):
    """One version that can be loaded, again and again."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def stamp(self) -> Hashable:
        """Equal for two sources of the same content, so that the same is not loaded twice."""

    @property
    def need(self) -> Need | None:
        """What it takes; None until `prove` has found out."""

    def prove(self) -> None:
        """Finds out whether it can be loaded and what it takes; seconds the first time.

        Raises:
            FoglineError: it cannot be loaded, or this machine cannot tell now.
        """

    def open(self) -> ServedModel:
        """Loads it, which takes up to `need.peak_bytes` of anonymous memory. Raises as `prove`."""


def key_of(source: Source) -> Key:
    return source.name, source.version
