"""The lake's tables that one ingest process writes: all that exist, and those that come."""

import pyarrow as pa

from fogline.errors import Exhausted
from fogline_hub.lake import Lake, State, TableWriter
from fogline_hub.lake.tables import EVENTS, FEEDBACK, QUARANTINE, SUMMARIES, sampled_model

_FIXED = (FEEDBACK, SUMMARIES, EVENTS, QUARANTINE)


class Shelf:
    """Open writers by table. Opening one takes its table over from any other process."""

    def __init__(self, lake: Lake, *, full_every: int, max_sample_tables: int) -> None:
        self._lake = lake
        self._full_every = full_every
        self._max_sample_tables = max_sample_tables
        self._writers: dict[str, TableWriter] = {}

    def open_all(self) -> State:
        """Takes over every table, anew where it was open; returns all that they accepted.

        Raises:
            Conflict: another worker is taking them over too.
            Corrupt: a table's log does not say what it accepted.
            Unavailable: a table cannot be read or written.
        """
        self._writers.clear()
        state = State()
        for table in sorted({*_FIXED, *self._lake.names()}):
            state.update(self._open(table).state)
        return state

    def has(self, table: str) -> bool:
        return table in self._writers

    def check_room(self, table: str) -> None:
        """Raises Exhausted where `table` would be one table of samples too many."""
        if self.has(table):
            return
        sampled = sum(sampled_model(name) is not None for name in self._writers)
        if sampled >= self._max_sample_tables:
            raise Exhausted(f"the hub keeps samples of at most {self._max_sample_tables} models")

    def open(self, table: str) -> State:
        """Takes over a table that is new here; returns what it accepted from others.

        Raises:
            Conflict, Corrupt, Unavailable: as `open_all`.
        """
        return self._open(table).state

    def schema(self, table: str) -> pa.Schema:
        return self._writers[table].schema()

    def append(self, table: str, rows: pa.Table, added: State) -> None:
        """One commit; errors as `TableWriter.append`."""
        self._writers[table].append(rows, added)

    def _open(self, table: str) -> TableWriter:
        writer = self._lake.writer(table, full_every=self._full_every)
        self._writers[table] = writer
        return writer
