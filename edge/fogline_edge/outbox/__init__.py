"""The durable queue between what a device has to say and the hub's word that it is stored."""

from fogline_edge.outbox.bounds import MAX_BODY_BYTES, OutboxConfig, StreamBounds
from fogline_edge.outbox.database import Database, set_aside
from fogline_edge.outbox.stamps import DeviceTime
from fogline_edge.outbox.store import Outbox, Row, StreamCounts

__all__ = [
    "MAX_BODY_BYTES",
    "Database",
    "DeviceTime",
    "Outbox",
    "OutboxConfig",
    "Row",
    "StreamBounds",
    "StreamCounts",
    "set_aside",
]
