"""Where a retraining can stand: one table. Each working state is one step that can be repeated.

gathering -> training -> converting -> judging -> publishing -> rolling_out -> promoted
                                          └─> rejected
any working state -> failed
"""

from collections.abc import Mapping
from enum import StrEnum

from fogline.errors import Conflict


class State(StrEnum):
    GATHERING = "gathering"
    TRAINING = "training"
    CONVERTING = "converting"
    JUDGING = "judging"
    PUBLISHING = "publishing"
    ROLLING_OUT = "rolling_out"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    FAILED = "failed"


class Event(StrEnum):
    DONE = "done"
    """The step did what it is for."""
    REJECT = "reject"
    """The judge, or a device, said no."""
    FAIL = "fail"
    """The step cannot be done."""


TRANSITIONS: Mapping[tuple[State, Event], State] = {
    (State.GATHERING, Event.DONE): State.TRAINING,
    (State.TRAINING, Event.DONE): State.CONVERTING,
    (State.CONVERTING, Event.DONE): State.JUDGING,
    (State.JUDGING, Event.DONE): State.PUBLISHING,
    (State.JUDGING, Event.REJECT): State.REJECTED,
    (State.PUBLISHING, Event.DONE): State.ROLLING_OUT,
    (State.ROLLING_OUT, Event.DONE): State.PROMOTED,
    (State.ROLLING_OUT, Event.REJECT): State.REJECTED,
    (State.GATHERING, Event.FAIL): State.FAILED,
    (State.TRAINING, Event.FAIL): State.FAILED,
    (State.CONVERTING, Event.FAIL): State.FAILED,
    (State.JUDGING, Event.FAIL): State.FAILED,
    (State.PUBLISHING, Event.FAIL): State.FAILED,
    (State.ROLLING_OUT, Event.FAIL): State.FAILED,
}

ENDED = frozenset({State.PROMOTED, State.REJECTED, State.FAILED})


def move(entity: str, state: State, event: Event) -> State:
    """The state after `event`.

    Raises:
        Conflict: the table has no such move; the text names entity, state and event.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise Conflict(f"{entity} is {state.value} and cannot take {event.value}") from None
