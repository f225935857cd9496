"""Versions that are to come into memory together, while they wait for room."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fogline_edge.serving.residency.holdings import Holding
from fogline_edge.serving.residency.source import Source

Done = Callable[[Sequence[Holding], Exception | None], None]
"""What was opened and is still there, to be put in at once; or why nothing was."""


@dataclass(slots=True, kw_only=True, eq=False)
class Arrival:
    """A change of one model: what has to be opened first, and what then happens.

    Changes of one model happen in the order in which they were asked for; those of different
    models need not wait for each other.
    """

    name: str
    begin: Callable[[], Sequence[Source]]
    """Called when its turn has come: what is to be opened."""
    done: Done
    is_there: Callable[[], bool] = lambda: False
    """Whether there is nothing to open any more, because a version that was to leave stayed."""
    sources: deque[Source] | None = None
    """What is still to be opened; None until its turn has come."""
    opened: list[Holding] = field(default_factory=list)
    wanted: tuple[Holding, ...] = ()
    """Whose end it waits for."""
    passed: set[Holding] = field(default_factory=set)
    """Whose end it waited for in vain: others are tried first."""
    turns: int = 0
    """How often it has asked others to leave since it last got on."""
