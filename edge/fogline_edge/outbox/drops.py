"""Writing rows and holding the bounds, inside the outbox's transaction."""

import sqlite3
from collections.abc import Sequence

from fogline.topics import STREAMS
from fogline.wire import fleet_pb2
from fogline_edge.outbox.bounds import ROW_OVERHEAD_BYTES, OutboxConfig
from fogline_edge.outbox.stamps import DeviceTime

_STEP = 64
"""Rows that are looked at together."""


def record_rows(
    connection: sqlite3.Connection, rows: Sequence[tuple[str, bytes]], stamp: bytes
) -> list[int]:
    """Adds (stream, body) rows under the next sequence numbers, which it returns."""
    heads = dict(connection.execute("SELECT stream, next_seq FROM streams").fetchall())
    added = dict.fromkeys(heads, (0, 0))
    given = []
    for stream, body in rows:
        seq, size = heads[stream], len(body) + ROW_OVERHEAD_BYTES
        connection.execute(
            "INSERT INTO rows (stream, seq, bytes, stamp, body) VALUES (?, ?, ?, ?, ?)",
            (stream, seq, size, stamp, body),
        )
        heads[stream] = seq + 1
        count, total = added[stream]
        added[stream] = (count + 1, total + size)
        given.append(seq)
    connection.executemany(
        "UPDATE streams SET next_seq = next_seq + ?1, rows = rows + ?1, bytes = bytes + ?2 "
        "WHERE stream = ?3",
        [(count, total, stream) for stream, (count, total) in added.items() if count],
    )
    return given


def enforce(connection: sqlite3.Connection, config: OutboxConfig, time: DeviceTime | None) -> None:
    """Drops the oldest rows beyond a stream's bounds, then of the least important streams.

    Args:
        connection: In a transaction.
        config: The bounds.
        time: Looks at ages too, unless None.
    """
    held = dict(connection.execute("SELECT stream, bytes FROM streams").fetchall())
    for stream in STREAMS:
        if time is not None:
            held[stream] -= _drop_old(connection, stream, config.of(stream).max_age_s, time)
        excess = held[stream] - config.of(stream).max_bytes
        held[stream] -= _drop_bytes(connection, stream, excess)
    for stream in reversed(STREAMS):
        held[stream] -= _drop_bytes(connection, stream, sum(held.values()) - config.max_bytes)


def _drop_bytes(connection: sqlite3.Connection, stream: str, excess: int) -> int:
    dropped = 0
    while excess > dropped:
        oldest = connection.execute(
            "SELECT seq, bytes FROM rows WHERE stream = ? ORDER BY seq LIMIT ?", (stream, _STEP)
        ).fetchall()
        if not oldest:
            break
        doomed = []
        for seq, size in oldest:
            if excess <= dropped:
                break
            doomed.append((seq, size))
            dropped += size
        _drop(connection, stream, doomed)
    return dropped


def _drop_old(
    connection: sqlite3.Connection, stream: str, max_age_s: float, time: DeviceTime
) -> int:
    dropped = 0
    while True:
        oldest = connection.execute(
            "SELECT seq, bytes, stamp FROM rows WHERE stream = ? ORDER BY seq LIMIT ?",
            (stream, _STEP),
        ).fetchall()
        doomed = []
        for seq, size, stamp in oldest:
            if time.age_s(fleet_pb2.Stamp.FromString(stamp)) <= max_age_s:
                break
            doomed.append((seq, size))
        if not doomed:
            return dropped
        _drop(connection, stream, doomed)
        dropped += sum(size for _, size in doomed)


def _drop(connection: sqlite3.Connection, stream: str, doomed: Sequence[tuple[int, int]]) -> None:
    connection.execute("DELETE FROM rows WHERE stream = ? AND seq <= ?", (stream, doomed[-1][0]))
    connection.execute(
        "UPDATE streams SET rows = rows - ?1, bytes = bytes - ?2, dropped = dropped + ?1, "
        "unreported = unreported + ?1 WHERE stream = ?3",
        (len(doomed), sum(size for _, size in doomed), stream),
    )
