"""The append-only, hash-chained log of every act of people, devices and the hub itself.

A row is written with the caller's connection, so it commits with the deed or not at all. Row n
holds SHA-256 over the canonical JSON of its content and the hash of row n - 1; an edit, a deletion
or a reordering breaks the chain from there on. The chain starts at 64 zeros.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from fogline.errors import InvalidInput
from fogline.records import Record, canonical_json, decode_json
from fogline_hub.audit.tables import AUDIT, HEAD
from fogline_hub.catalogue import sql

GENESIS = "0" * 64
MAX_DETAILS_BYTES = 64 * 1024
"""Longest `details` of one row, as canonical JSON, in bytes."""
MAX_LIST = 1000
"""Most rows of one listing."""


class AuditRow(Record, frozen=True, kw_only=True):
    seq: int
    at: datetime
    actor: str
    """Who: `operator:NAME`, `device:ID`, or a role of the hub, `hub:NAME`."""
    action: str
    """What: noun.verb in the past, as `version.published`."""
    subject: str
    """To what: `rain@3`, a device id ..."""
    details: dict[str, Any]
    previous: str
    hash: str


def record(
    connection: sql.Connection,
    actor: str,
    action: str,
    subject: str,
    details: Mapping[str, object] | None = None,
    *,
    at: datetime,
) -> int:
    """Appends one row in the caller's transaction and returns its number.

    Raises:
        InvalidInput: `details` is longer than `MAX_DETAILS_BYTES`.
    """
    plain = canonical_json(details or {})
    if len(plain) > MAX_DETAILS_BYTES:
        raise InvalidInput(
            f"audit of {action} {subject}: {len(plain)} bytes of details, "
            f"at most {MAX_DETAILS_BYTES}"
        )
    grown = sql.update(HEAD).values(seq=HEAD.c.seq + 1).returning(HEAD.c.seq, HEAD.c.hash)
    row = connection.execute(grown).first()
    if row is None:
        connection.execute(sql.insert(HEAD).values(id=1, seq=1, hash=GENESIS))
        seq, previous = 1, GENESIS
    else:
        seq, previous = row
    digest = row_hash(seq, at, actor, action, subject, plain, previous)
    connection.execute(
        sql.insert(AUDIT).values(
            seq=seq,
            at=at,
            actor=actor,
            action=action,
            subject=subject,
            details=plain.decode(),
            previous=previous,
            hash=digest,
        )
    )
    connection.execute(sql.update(HEAD).values(hash=digest))
    return int(seq)


def row_hash(
    seq: int, at: datetime, actor: str, action: str, subject: str, details: bytes, previous: str
) -> str:
    """SHA-256, hexadecimal, that binds a row to its content and its predecessor."""
    content = (seq, at.isoformat(), actor, action, subject, details.decode(), previous)
    return sha256(canonical_json(content)).hexdigest()


def last(connection: sql.Connection) -> tuple[int, str]:
    """Number and hash of the newest row; (0, `GENESIS`) of an empty log."""
    row = connection.execute(sql.select(HEAD.c.seq, HEAD.c.hash)).first()
    return (0, GENESIS) if row is None else (row.seq, row.hash)


def list_rows(
    connection: sql.Connection, *, after: int = 0, limit: int = 100, newest_first: bool = False
) -> tuple[AuditRow, ...]:
    """Rows above number `after`, at most `limit` (at most `MAX_LIST`).

    Raises:
        Corrupt: a row's details are not JSON.
    """
    order = AUDIT.c.seq.desc() if newest_first else AUDIT.c.seq
    query = sql.select(AUDIT).where(AUDIT.c.seq > after).order_by(order)
    rows = connection.execute(query.limit(max(1, min(limit, MAX_LIST)))).mappings()
    return tuple(
        AuditRow(**{**row, "details": _details(row["details"], row["seq"])}) for row in rows
    )


def _details(text: str, seq: int) -> dict[str, Any]:
    return decode_json(text.encode(), dict[str, Any], f"audit row {seq}")
