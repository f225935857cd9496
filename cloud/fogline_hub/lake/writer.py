"""The fenced writer of one lake table: of two, only one goes on, and it knows what is stored.

Opening takes the table over by a commit of its own, so a worker that still lives fails at its next
append. Every append is the version after the last one that this writer has seen, or it fails.
Commits without a note (compaction by another process) are caught up with, because they add no row.
The idea of fencing by a log's next version is that of Chubby's sequencers and of Kafka's
transactional producers; Delta's own transaction ids do not give it (delta-rs takes the same id
again on a fresh snapshot).
"""

import logging
from pathlib import Path

import pyarrow as pa

from fogline.errors import Conflict, Exhausted, Unavailable
from fogline_hub.lake.delta import DeltaLog
from fogline_hub.lake.note import KEY, MAX_NOTE_BYTES, Note, State, make_note, read_note, rebuild
from fogline_hub.lake.tables import PARTITION, schema_of

_CATCH_UPS = 3
"""How often one append catches up with commits of maintenance before it gives up."""

_logger = logging.getLogger(__name__)


class TableWriter:
    """Appends to one table; not for several threads at once."""

    def __init__(self, path: Path, *, writer: str, full_every: int) -> None:
        """Takes the table over, making it when there is none.

        Args:
            path: The table's folder; its name says which table it is.
            writer: An id that no other writer ever has.
            full_every: Appends from one full note to the next; bounds what a rebuild reads.

        Raises:
            Conflict: another worker committed at the same moment; it may be tried again.
            Corrupt: the log does not say what the table accepted.
            Unavailable: the table cannot be read or written.
        """
        self._path = path
        self._writer = writer
        self._full_every = full_every
        self._serial = 0
        DeltaLog.create(path, schema_of(path.name), PARTITION, {KEY: _empty_note(writer)})
        self._log = DeltaLog(path)
        self._state = rebuild(
            (read_note(commit, path.name) for commit in self._log.commits()), path.name
        )
        self._commit(self.schema().empty_table(), State())

    def schema(self) -> pa.Schema:
        return self._log.schema()

    @property
    def state(self) -> State:
        """All that the table has accepted; to be read, not changed."""
        return self._state

    def append(self, rows: pa.Table, added: State) -> int:
        """Commits the rows of some messages together with their sequence numbers.

        Args:
            rows: Columns of the table, or new ones.
            added: The sequence numbers that the rows come from.

        Returns:
            The table's new version.

        Raises:
            Conflict: another worker has taken the table over; nothing of this is stored.
            InvalidInput: a column has another type than the table's; nothing is stored.
            Unavailable: whether it is stored is unknown; open a new writer to learn it.
        """
        return self._commit(rows, added)

    def _commit(self, rows: pa.Table, added: State) -> int:
        serial = self._serial + 1
        full = serial % self._full_every == 1 or self._full_every == 1
        if full:
            told = State()
            told.update(self._state)
            told.update(added)
        else:
            told = added
        note = make_note(self._writer, serial, told, full=full)
        if len(note) > MAX_NOTE_BYTES:
            raise Exhausted(
                f"lake table {self._path.name}: {len(told.accepted)} sources of messages need a "
                f"note of {len(note)} bytes, at most {MAX_NOTE_BYTES} are kept"
            )
        version = self._append(rows, note, serial)
        self._serial = serial
        self._state.update(added)
        if full:
            self._checkpoint()
        return version

    def _append(self, rows: pa.Table, note: str, serial: int) -> int:
        for _ in range(_CATCH_UPS):
            try:
                return self._log.append(rows, {KEY: note})
            except Conflict:
                if serial == 1:  # not the owner yet, and what was rebuilt is out of date
                    raise
            newest = self._load_newest()
            if newest.writer != self._writer:
                raise Conflict(
                    f"lake table {self._path.name}: another worker has taken it over; stop this one"
                )
            if newest.serial == serial:  # it was committed, and only the answer was lost
                return self._log.version
        raise Conflict(f"lake table {self._path.name}: other commits came first {_CATCH_UPS} times")

    def _load_newest(self) -> Note:
        """Loads the table anew and returns its newest note."""
        self._log = DeltaLog(self._path)
        for commit in self._log.commits():
            note = read_note(commit, self._path.name)
            if note is not None:
                return note
        raise Unavailable(f"lake table {self._path.name}: its log holds no note")

    def _checkpoint(self) -> None:
        try:
            self._log.checkpoint()
        except Unavailable as e:
            _logger.warning("no checkpoint", extra={"table": self._path.name, "error": str(e)})


def _empty_note(writer: str) -> str:
    return make_note(writer, 0, State(), full=True)
