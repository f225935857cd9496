"""The states of one model on a device, and the only moves between them."""

from enum import Enum

from fogline.errors import Conflict


class Phase(Enum):
    IDLE = "idle"
    FETCHING = "fetching"
    QUALIFYING = "qualifying"
    ACTIVATING = "activating"
    ACTIVE = "active"
    REJECTED = "rejected"
    """This version is not tried again by this agent; what served before still does."""
    FAILED = "failed"
    """It could not be had or tried now, and will be tried again; what served before still does."""


class Event(Enum):
    START = "start"
    FETCHED = "fetched"
    QUALIFIED = "qualified"
    ACTIVATED = "activated"
    REFUSE = "refuse"
    BREAK_OFF = "break off"
    SERVES = "serve"
    """What is wanted serves already, or a boot brought it back from the disk."""


_RESTING = (Phase.IDLE, Phase.ACTIVE, Phase.REJECTED, Phase.FAILED)
_WORKING = (Phase.FETCHING, Phase.QUALIFYING, Phase.ACTIVATING)

MOVES: dict[tuple[Phase, Event], Phase] = {
    **{(phase, Event.START): Phase.FETCHING for phase in _RESTING},
    (Phase.FETCHING, Event.FETCHED): Phase.QUALIFYING,
    (Phase.QUALIFYING, Event.QUALIFIED): Phase.ACTIVATING,
    (Phase.ACTIVATING, Event.ACTIVATED): Phase.ACTIVE,
    **{(phase, Event.REFUSE): Phase.REJECTED for phase in (*_RESTING, *_WORKING)},
    **{(phase, Event.BREAK_OFF): Phase.FAILED for phase in (*_RESTING, *_WORKING)},
    **{(phase, Event.SERVES): Phase.ACTIVE for phase in _RESTING},
}


def move(phase: Phase, event: Event, model: str) -> Phase:
    """The next phase.

    Raises:
        Conflict: there is no such move.
    """
    target = MOVES.get((phase, event))
    if target is None:
        raise Conflict(f"model {model} is {phase.value}, where nothing can {event.value}")
    return target
