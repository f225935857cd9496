"""Rows that the hub itself writes about messages: set aside, dropped, contradicted."""

from collections.abc import Sequence
from typing import Any

from fogline.records import canonical_json
from fogline_hub.ingest.received import Received
from fogline_hub.ingest.rows import Columns
from fogline_hub.lake.tables import EVENTS, QUARANTINE

HUB = "hub"
"""What column `stream` of `events` says of the hub's own events."""
MAX_RANGES = 64
MAX_REASON_CHARS = 500


def set_aside(message: Received, reason: str) -> Columns:
    """A row of the quarantine."""
    return _row(
        QUARANTINE,
        stream=message.source.stream,
        reason=reason[:MAX_REASON_CHARS],
        payload=message.body,
    )


def dropped_by_device(message: Received, ranges: Sequence[tuple[int, int]]) -> Columns:
    """The event that a device gave up rows before they were stored."""
    details = {
        "stream": message.source.stream,
        "rows": sum(last - first + 1 for first, last in ranges),
        "ranges": [list(r) for r in ranges[:MAX_RANGES]],
        "floor": message.floor,
    }
    return _event("dropped_by_device", details)


def contradicted(message: Received) -> Columns:
    """The alarm that a number came again with another content: a cloned or restored outbox."""
    details = {"stream": message.source.stream, "seq": message.seq, "severity": "alarm"}
    return _event("sequence_conflict", details)


def _event(kind: str, details: dict[str, Any]) -> Columns:
    return _row(EVENTS, stream=HUB, kind=kind, details=canonical_json(details).decode())


def _row(table: str, **values: Any) -> Columns:
    return Columns(table=table, rows=1, values={}, constants=values)
