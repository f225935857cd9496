"""A model's versions as values: which should be there, which one answers to the name; pure."""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, Literal

from msgspec import Meta

from fogline.errors import NotFound, Unavailable
from fogline.records import Record

MAX_DIGITS = 9
"""Longest version number, so that any fits 31 bits."""

Number = Annotated[int, Meta(ge=1, lt=2**31)]


class NotLoaded(Unavailable):
    """The version is known and not in memory: `Models.demand` it."""


class VersionState(Enum):
    """Where a version is between the disk and an answer."""

    ABSENT = "not in memory; loaded when it is asked for"
    LOADING = "loading"
    READY = "ready"
    LEAVING = "leaving memory"
    UNLOADED = "unloaded"
    FAILED = "failed"


SERVES_BY_DEMAND = frozenset({VersionState.ABSENT, VersionState.LOADING, VersionState.LEAVING})
"""States in which a request may wait for the version; nothing is known against it."""

State = Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]
"""What Triton's repository index says of a version."""

_STATES: Mapping[VersionState, State] = {
    VersionState.ABSENT: "READY",
    VersionState.LOADING: "LOADING",
    VersionState.READY: "READY",
    VersionState.LEAVING: "UNLOADING",
    VersionState.UNLOADED: "UNAVAILABLE",
    VersionState.FAILED: "UNAVAILABLE",
}


class VersionStatus(Record, frozen=True, kw_only=True):
    """One row of the index."""

    name: str
    version: int
    state: State
    """A version that loads when it is asked for is READY: a request for it is answered."""
    reason: str = ""
    """Why it is not in memory, or cannot be; empty where it is."""
    is_active: bool = False
    """It answers to the model's name."""


class VersionPolicy(Record, frozen=True, kw_only=True):
    """Which of the versions that are there should be served.

    Source: `ModelVersionPolicy` of Triton's model configuration; the default is its default.
    """

    kind: Literal["latest", "all", "specific"] = "latest"
    latest: Number = 1
    """How many of the highest, for `latest`."""
    specific: tuple[Number, ...] = ()
    """Which, for `specific`."""

    def choose(self, there: Iterable[int]) -> tuple[int, ...]:
        """The versions to serve, ascending.

        Raises:
            NotFound: a version that the policy names is not there.

        >>> VersionPolicy(latest=2).choose([1, 7, 3])
        (3, 7)
        """
        known = sorted(set(there))
        match self.kind:
            case "latest":
                return tuple(known[-self.latest :])
            case "all":
                return tuple(known)
            case "specific":
                missing = sorted(set(self.specific) - set(known))
                if missing:
                    raise NotFound(
                        f"the version policy names {missing[:16]}, which are not there; "
                        f"there are: {known[:16]}"
                    )
                return tuple(sorted(set(self.specific)))


def index_state(state: VersionState) -> State:
    return _STATES[state]


def index_reason(state: VersionState, reason: str) -> str:
    """What an index says beside the state: what is known, or what the state itself means."""
    return reason or ("" if state is VersionState.READY else state.value)


def active_version(
    versions: Mapping[int, VersionState], chosen: int | None, by_number: frozenset[int]
) -> int | None:
    """The version that answers to the model's name; None where none does.

    The chosen one, if there is one; else the highest that serves; else the highest that failed, so
    that a caller is told why; never one that was unloaded, or that answers to its number alone.

    Args:
        versions: State of each.
        chosen: Which one was said to answer.
        by_number: Which answer to their number alone.
    """
    if chosen is not None:
        return chosen if chosen in versions else None
    open_ = {n: s for n, s in versions.items() if n not in by_number}
    serving = [n for n, s in open_.items() if s in SERVES_BY_DEMAND or s is VersionState.READY]
    failed = [n for n, s in open_.items() if s is VersionState.FAILED]
    return max(serving, default=max(failed, default=None))


def parse_version(text: str) -> int | None:
    """A version number as clients write it; None for anything else."""
    if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS:
        return int(text)
    return None
