"""What of the served totals has reached the outbox, kept in the outbox's own commits."""

import sqlite3
from collections.abc import Mapping, Sequence

from fogline.wire import fleet_pb2
from fogline_edge.capture.counter import ServedCounter
from fogline_edge.outbox import Outbox

_TABLES = (
    """
    CREATE TABLE capture_totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
    CREATE TABLE capture_models (key BLOB PRIMARY KEY, name TEXT NOT NULL) STRICT
    """,
)


class Ledger:
    """Totals that were flushed, and the names behind model keys."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        outbox.database.migrate("capture", _TABLES)

    def settle(self, counter: ServedCounter) -> tuple[int, int]:
        """Compares totals at a start; what was served and never flushed becomes an event.

        Returns:
            (rows, outcomes) that the last run counted in memory alone and took with it.
        """
        with self._outbox.transaction() as connection:
            stored = dict(connection.execute("SELECT name, value FROM capture_totals").fetchall())
            # A new outbox or a new counter file has nothing to compare with.
            rows = max(0, counter.rows - stored.get("rows", counter.rows))
            labelled = max(0, counter.labelled - stored.get("labelled", counter.labelled))
            _store(connection, {"rows": counter.rows, "labelled": counter.labelled})
            if rows or labelled:
                details = {
                    "rows_not_summarised": str(rows),
                    "outcomes_not_summarised": str(labelled),
                }
                self._outbox.append([event_row("unclean_stop", details)])
        return rows, labelled

    def flush(self, messages: Sequence[tuple[str, bytes]], rows: int, labelled: int) -> None:
        """Adds outbox rows, and to the totals what they account for, in one commit.

        Raises:
            Exhausted, Corrupt, Unavailable: the outbox failed; nothing changed.
        """
        with self._outbox.transaction() as connection:
            self._outbox.append(messages)
            for name, value in (("rows", rows), ("labelled", labelled)):
                connection.execute(
                    "UPDATE capture_totals SET value = value + ? WHERE name = ?", (value, name)
                )

    def names(self) -> dict[bytes, str]:
        """Model names by key, of all models that this device has ever served."""
        with self._outbox.database.reading() as connection:
            return dict(connection.execute("SELECT key, name FROM capture_models").fetchall())

    def learn(self, names: Mapping[bytes, str]) -> None:
        """Remembers the names behind keys.

        Raises:
            Exhausted, Corrupt, Unavailable: the outbox failed; nothing changed.
        """
        with self._outbox.database.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO capture_models VALUES (?, ?)", list(names.items())
            )


def event_row(kind: str, details: Mapping[str, str]) -> tuple[str, bytes]:
    """A row of the stream `event`, as the outbox takes it."""
    message = fleet_pb2.Event(kind=kind, details=details)
    return "event", message.SerializeToString(deterministic=True)


def _store(connection: sqlite3.Connection, totals: Mapping[str, int]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO capture_totals VALUES (?, ?)", list(totals.items())
    )
