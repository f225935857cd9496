"""The outbox: rows from a flushed commit until the hub's own acknowledgement.

Invariants, after any crash:
- `append` returned: its rows are in the file, and stay until `acknowledge` names them or a bound
  drops them, which is counted in the same commit.
- Sequence numbers start at 1, are consecutive for each stream, and are never given twice, also
  when all rows are gone and the process starts anew. `outbox_id` names the file that gave them.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from fogline.clock import Clock, SystemClock
from fogline.errors import Corrupt, InvalidInput
from fogline.ids import IdSource, random_id
from fogline.topics import STREAMS
from fogline.wire import fleet_pb2
from fogline_edge.outbox import bounds as limits
from fogline_edge.outbox.bounds import OutboxConfig
from fogline_edge.outbox.database import Database, set_aside
from fogline_edge.outbox.drops import enforce, record_rows
from fogline_edge.outbox.stamps import DeviceTime, boot_id

MAX_RANGES = 64
_MAX_SEQ = 2**62

_TABLES = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE streams (
      stream TEXT PRIMARY KEY,
      next_seq INTEGER NOT NULL DEFAULT 1,
      rows INTEGER NOT NULL DEFAULT 0,
      bytes INTEGER NOT NULL DEFAULT 0,
      acknowledged INTEGER NOT NULL DEFAULT 0,
      dropped INTEGER NOT NULL DEFAULT 0,
      unreported INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE rows (
      stream TEXT NOT NULL, seq INTEGER NOT NULL, bytes INTEGER NOT NULL,
      stamp BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY (stream, seq)
    ) STRICT
    """,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """One row; `seq` counts from 1 in its stream, `body` is a serialized record of the stream."""

    stream: str
    seq: int
    stamp: fleet_pb2.Stamp
    body: bytes


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """What became of a stream's rows; `appended == pending + acknowledged + dropped`."""

    pending: int
    pending_bytes: int
    appended: int
    acknowledged: int
    dropped: int


class Outbox:
    """An open outbox; made by `open`. Safe for use by several threads."""

    def __init__(self, database: Database, config: OutboxConfig, clock: Clock, new_id: str) -> None:
        self.database = database
        self._config = config
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._swept_at: float | None = None
        database.migrate("outbox", _TABLES)
        with database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('outbox_id', ?)", (new_id,))
            connection.executemany(
                "INSERT OR IGNORE INTO streams (stream) VALUES (?)", [(s,) for s in STREAMS]
            )
            self.outbox_id = _meta(connection, "outbox_id", new_id)
            floor_us = int(_meta(connection, "time_floor_us", "0"))
        self.time = DeviceTime(clock, boot=boot_id(), floor_us=floor_us)
        """The device's stamps, for every room that sends some."""

    @classmethod
    def open(
        cls,
        path: Path,
        config: OutboxConfig | None = None,
        *,
        clock: Clock | None = None,
        ids: IdSource = random_id,
    ) -> "Outbox":
        """Opens or makes the outbox in the file `path`.

        A corrupt file is renamed to `<name>.corrupt`, and a new outbox with a new id takes its
        place and holds the event `outbox_replaced`: what the old one held is lost and said, and
        the device goes on.

        Raises:
            Unavailable: another process holds the file, or the disk fails.
            Exhausted: the disk is full.
        """
        settings, timer = config or OutboxConfig(), clock or SystemClock()
        database: Database | None = None
        try:
            database = Database.open(path)
            return cls(database, settings, timer, ids())
        except Corrupt as e:
            if database is not None:
                database.close()
            reason = str(e)
        kept = set_aside(path)
        _log.error("outbox was corrupt", extra={"reason": reason, "kept_as": str(kept)})
        outbox = cls(Database.open(path), settings, timer, ids())
        outbox.append([event("outbox_replaced", {"reason": reason[:500], "kept_as": kept.name})])
        return outbox

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """A commit in which `append` and another room's own tables change together."""
        return self.database.transaction("outbox.append")

    def append(self, rows: Sequence[tuple[str, bytes]]) -> list[int]:
        """Adds (stream, body) rows in one commit and returns their sequence numbers.

        Raises:
            InvalidInput: an unknown stream, or a body longer than `MAX_BODY_BYTES`; nothing added.
            Exhausted: the disk is full; nothing was added.
        """
        for stream, body in rows:
            if stream not in STREAMS:
                raise InvalidInput(f"no stream {stream[:40]!r}; there are: {', '.join(STREAMS)}")
            if len(body) > limits.MAX_BODY_BYTES:
                raise InvalidInput(
                    f"a row of {len(body)} bytes for {stream}, at most {limits.MAX_BODY_BYTES}"
                )
        with self.transaction() as connection:
            stamp = self.time.stamp().SerializeToString()
            given = record_rows(connection, rows, stamp)
            self._bound(connection, stamp)
            for listener in self._listeners:
                self.database.after_commit(listener)
        return given

    def _bound(self, connection: sqlite3.Connection, stamp: bytes) -> None:
        now = self._clock.monotonic()
        is_due = self._swept_at is None or now - self._swept_at >= self._config.report_interval_s
        enforce(connection, self._config, self.time if is_due else None)
        if not is_due:
            return
        self._swept_at = now
        lost = connection.execute(
            "SELECT stream, unreported, dropped FROM streams WHERE unreported > 0"
        ).fetchall()
        if lost:
            connection.execute("UPDATE streams SET unreported = 0")
            reports = [
                event("dropped", {"stream": s, "rows": str(n), "rows_in_all": str(total)})
                for s, n, total in lost
            ]
            record_rows(connection, reports, stamp)
            _log.warning("outbox dropped rows", extra={"streams": {s: n for s, n, _ in lost}})

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Has `listener` called after each commit that added rows; it must not block."""
        self._listeners.append(listener)

    def floor(self, stream: str) -> int:
        """The lowest sequence number that is still held; of an empty stream, the next one."""
        with self.database.reading() as connection:
            found = connection.execute(
                "SELECT coalesce((SELECT min(seq) FROM rows WHERE stream = s.stream), next_seq) "
                "FROM streams s WHERE stream = ?",
                (stream,),
            ).fetchone()
        return int(found[0]) if found else 1

    def pending(self, stream: str, after_seq: int = 0, limit: int = 1024) -> list[Row]:
        """Rows above `after_seq` in order, with bodies of up to 63 KiB each."""
        with self.database.reading() as connection:
            found = connection.execute(
                "SELECT seq, stamp, body FROM rows WHERE stream = ? AND seq > ? "
                "ORDER BY seq LIMIT ?",
                (stream, after_seq, limit),
            ).fetchall()
        return [Row(stream, q, fleet_pb2.Stamp.FromString(s), b) for q, s, b in found]

    def sizes(self, stream: str, after_seq: int, limit: int) -> list[tuple[int, int]]:
        """(sequence number, bytes) of rows above `after_seq`, in order."""
        with self.database.reading() as connection:
            return connection.execute(
                "SELECT seq, bytes FROM rows WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?",
                (stream, after_seq, limit),
            ).fetchall()

    def row(self, stream: str, seq: int) -> Row | None:
        """One row, or None once it was acknowledged or dropped."""
        found = self.pending(stream, seq - 1, 1)
        return found[0] if found and found[0].seq == seq else None

    def acknowledge(self, ack: fleet_pb2.Ack, *, counter: int | None = None) -> bool:
        """Deletes what the hub has stored; the caller has checked that the hub says so.

        Args:
            ack: The hub's word.
            counter: Of the message that carried it; one that does not exceed the last one taken
                is a replay.

        Returns:
            Whether it was taken: not when it is for another outbox, or a replay.

        Raises:
            Corrupt: no stream of ours, or ranges that are too many or not ascending.
        """
        spans = _spans(ack)
        if ack.outbox_id != self.outbox_id:
            return False
        with self.database.transaction("outbox.ack") as connection:
            if counter is not None:
                if counter <= int(_meta(connection, "ack_counter", "0")):
                    return False
                _set_meta(connection, "ack_counter", str(counter))
            if ack.hub_time_us > 0:
                floor_us = max(self.time.floor_us, ack.hub_time_us)
                _set_meta(connection, "time_floor_us", str(floor_us))
            for first, last in spans:
                _delete(connection, ack.stream, first, last)
            self._keep_ahead(connection, ack.stream, max((last for _, last in spans), default=0))
        self.time.confirm(ack.hub_time_us)
        return True

    def _keep_ahead(self, connection: sqlite3.Connection, stream: str, acknowledged: int) -> None:
        """Skips numbers that the hub already has, though this file never gave them.

        Then the file is an older copy of itself: going on would give those numbers twice.
        """
        found = connection.execute("SELECT next_seq FROM streams WHERE stream = ?", (stream,))
        given = int(found.fetchone()[0])
        if acknowledged < given:
            return
        connection.execute(
            "UPDATE streams SET next_seq = ?, acknowledged = acknowledged + ? WHERE stream = ?",
            (acknowledged + 1, acknowledged + 1 - given, stream),
        )
        details = {"stream": stream, "given": str(given - 1), "acknowledged": str(acknowledged)}
        record_rows(connection, [event("rewound", details)], self.time.stamp().SerializeToString())
        _log.error("outbox is older than what the hub has of it", extra=details)

    def counts(self) -> dict[str, StreamCounts]:
        with self.database.reading() as connection:
            found = connection.execute(
                "SELECT stream, rows, bytes, next_seq - 1, acknowledged, dropped FROM streams"
            ).fetchall()
        return {stream: StreamCounts(*numbers) for stream, *numbers in found}

    def close(self) -> None:
        self.database.close()


def event(kind: str, details: dict[str, str]) -> tuple[str, bytes]:
    """A row of the stream `event`, as `append` takes it."""
    message = fleet_pb2.Event(kind=kind, details=details)
    return "event", message.SerializeToString(deterministic=True)


def _spans(ack: fleet_pb2.Ack) -> list[tuple[int, int]]:
    if ack.stream not in STREAMS:
        raise Corrupt(f"ack: no stream {ack.stream[:40]!r}")
    if len(ack.ranges) > MAX_RANGES:
        raise Corrupt(f"ack: {len(ack.ranges)} ranges, at most {MAX_RANGES}")
    spans = [(1, ack.contiguous_to)] if ack.contiguous_to else []
    spans += [(r.first, r.last) for r in ack.ranges]
    end = 0
    for first, last in spans:
        if not end < first <= last <= _MAX_SEQ:
            raise Corrupt(f"ack of {ack.stream}: range {first} to {last} after {end}")
        end = last
    return spans


def _delete(connection: sqlite3.Connection, stream: str, first: int, last: int) -> None:
    where = "stream = ? AND seq BETWEEN ? AND ?"
    rows, size = connection.execute(
        f"SELECT count(*), coalesce(sum(bytes), 0) FROM rows WHERE {where}",  # noqa: S608
        (stream, first, last),
    ).fetchone()
    if not rows:
        return
    connection.execute(f"DELETE FROM rows WHERE {where}", (stream, first, last))  # noqa: S608
    connection.execute(
        "UPDATE streams SET rows = rows - ?1, bytes = bytes - ?2, acknowledged = acknowledged + ?1 "
        "WHERE stream = ?3",
        (rows, size, stream),
    )


def _meta(connection: sqlite3.Connection, key: str, default: str) -> str:
    found = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(found[0]) if found else default


def _set_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
