"""Where a rollout can stand, and the only ways to move: one table.

pending ──start──> running ─succeed─> succeeded
                     │ ^ └───trip──> stopped
              pause  v │ resume
                    paused
abort leads from pending, running and paused to aborted.
"""

from collections.abc import Mapping
from enum import StrEnum

from fogline.errors import Conflict


class State(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    STOPPED = "stopped"
    ABORTED = "aborted"


class Event(StrEnum):
    START = "start"
    SUCCEED = "succeed"
    TRIP = "trip"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"


TRANSITIONS: Mapping[tuple[State, Event], State] = {
    (State.PENDING, Event.START): State.RUNNING,
    (State.PENDING, Event.ABORT): State.ABORTED,
    (State.RUNNING, Event.SUCCEED): State.SUCCEEDED,
    (State.RUNNING, Event.TRIP): State.STOPPED,
    (State.RUNNING, Event.PAUSE): State.PAUSED,
    (State.RUNNING, Event.ABORT): State.ABORTED,
    (State.PAUSED, Event.RESUME): State.RUNNING,
    (State.PAUSED, Event.ABORT): State.ABORTED,
}

ENDED = frozenset({State.SUCCEEDED, State.STOPPED, State.ABORTED})
"""States that nothing leads out of."""


def move(entity: str, state: State, event: Event) -> State:
    """The state after `event`.

    Raises:
        Conflict: the table has no such move; the text names entity, state and event.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise Conflict(f"{entity} is {state.value} and cannot {event.value}") from None
