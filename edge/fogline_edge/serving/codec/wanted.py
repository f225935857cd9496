"""Outputs that a request wants in another place or form than as plain contents of the answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Where in shared memory a tensor lies, or is to be put."""

    region: str
    offset: int
    """Into the region, bytes."""
    byte_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one output is to become."""

    classes: int = 0
    """So many of its highest values, as text; 0: the tensor itself."""
    slot: Slot | None = None
    """Where its contents go; None: into the answer."""
