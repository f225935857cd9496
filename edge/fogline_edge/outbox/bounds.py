"""How much the outbox holds, and for how long."""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record
from fogline.topics import MAX_PAYLOAD_BYTES

ENVELOPE_BYTES = 1024
"""Room left in an MQTT payload for what stands around a row's body."""
MAX_BODY_BYTES = MAX_PAYLOAD_BYTES - ENVELOPE_BYTES
"""Longest body of one row, in bytes."""
ROW_OVERHEAD_BYTES = 160
"""What a row costs beside its body: keys, stamp, index; counted against the bounds."""

_MIB = 1024 * 1024
_DAY_S = 86_400.0

Bytes = Annotated[int, Meta(ge=2 * MAX_PAYLOAD_BYTES)]
Seconds = Annotated[float, Meta(gt=0)]


class StreamBounds(Record, frozen=True, kw_only=True):
    """Bounds of one stream; beyond either one its oldest rows are dropped and counted."""

    max_bytes: Bytes
    max_age_s: Seconds


class OutboxConfig(Record, frozen=True, kw_only=True):
    """Bounds of the outbox.

    The streams' sum may exceed `max_bytes`: then the least important stream, by the order of
    `fogline.topics.STREAMS`, gives way first, its oldest rows before its newer ones.
    """

    alarm: StreamBounds = StreamBounds(max_bytes=4 * _MIB, max_age_s=90 * _DAY_S)
    feedback: StreamBounds = StreamBounds(max_bytes=16 * _MIB, max_age_s=90 * _DAY_S)
    summary: StreamBounds = StreamBounds(max_bytes=16 * _MIB, max_age_s=90 * _DAY_S)
    sample: StreamBounds = StreamBounds(max_bytes=24 * _MIB, max_age_s=30 * _DAY_S)
    event: StreamBounds = StreamBounds(max_bytes=4 * _MIB, max_age_s=30 * _DAY_S)
    max_bytes: Bytes = 48 * _MIB
    """Of all streams together."""
    report_interval_s: Seconds = 60.0
    """Shortest time between two `dropped` events, and between two looks at the rows' age."""

    def of(self, stream: str) -> StreamBounds:
        """The bounds of one of `fogline.topics.STREAMS`."""
        bounds: StreamBounds = getattr(self, stream)
        return bounds
