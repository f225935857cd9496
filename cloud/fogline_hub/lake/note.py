"""What ingest writes into a commit's metadata: who committed, and what it accepted by it.

The note of most commits is what that commit added; every `full_every`-th holds all that the table
has accepted so far, so that the whole is rebuilt from a bounded number of commits. The note that a
table is created with is full and empty, so going back always ends at a full one.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fogline.errors import Corrupt
from fogline.records import MAX_JSON_BYTES, Record, canonical_json, decode_json
from fogline_hub.lake.ranges import Accepted

KEY = "fogline"
"""Key of the note among a commit's custom metadata."""

MAX_NOTE_BYTES = MAX_JSON_BYTES
"""Longest note, in bytes: about 200,000 sources (40,000 devices with five streams each)."""


class Note(Record, frozen=True, kw_only=True):
    """Ranges are `{"device/outbox/stream": [[first, last], ...]}`."""

    writer: str
    serial: int
    """Grows with each commit of the writer, so that it can tell whether its last one happened."""
    full: bool = False
    accepted: dict[str, tuple[tuple[int, int], ...]]
    dropped: dict[str, tuple[tuple[int, int], ...]]
    """Numbers that the devices said they dropped before they were ever stored."""


class State:
    """What a table has accepted, and what it has recorded as dropped by devices."""

    __slots__ = ("accepted", "dropped")

    def __init__(self) -> None:
        self.accepted = Accepted()
        self.dropped = Accepted()

    def update(self, other: "State") -> None:
        self.accepted.update(other.accepted)
        self.dropped.update(other.dropped)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, State)
            and self.accepted == other.accepted
            and self.dropped == other.dropped
        )

    __hash__ = None  # type: ignore[assignment]  # it grows


def make_note(writer: str, serial: int, state: State, *, full: bool) -> str:
    """The text of a note."""
    note = {
        "writer": writer,
        "serial": serial,
        "full": full,
        "accepted": state.accepted.to_plain(),
        "dropped": state.dropped.to_plain(),
    }
    return canonical_json(note).decode()


def read_note(commit: Mapping[str, Any], table: str) -> Note | None:
    """The note of one commit's metadata; None for a commit that is not ingest's.

    Raises:
        Corrupt: there is a note, but not one that this build reads.
    """
    text = commit.get(KEY)
    if text is None:
        return None
    where = f"lake table {table}, note of a commit"
    if not isinstance(text, str):
        raise Corrupt(f"{where}: not a text but {type(text).__name__}")
    return decode_json(text.encode(), Note, where)


def rebuild(notes: Iterable[Note | None], table: str) -> State:
    """All that a table has accepted, from the notes of its commits, newest first.

    Raises:
        Corrupt: no full note is among them: the log was cut off by someone else.
    """
    state = State()
    for note in notes:
        if note is None:
            continue
        state.accepted.update(Accepted.from_plain(note.accepted))
        state.dropped.update(Accepted.from_plain(note.dropped))
        if note.full:
            return state
    raise Corrupt(
        f"lake table {table}: no commit in its log says what was accepted before, so messages "
        "could be stored twice; restore the table's _delta_log, or move the table away"
    )
