"""Bounds of the ingest process, each with its unit. What happens at a bound stands beside it."""

from typing import Annotated

from msgspec import Meta

from fogline.mqtt import MqttConfig
from fogline.records import Record

Count = Annotated[int, Meta(ge=1, le=2**31)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]


class IngestConfig(Record, frozen=True, kw_only=True):
    """What one ingest process holds at most, and how long it waits."""

    commit_interval_s: Annotated[float, Meta(ge=0.01, le=60)] = 2.0
    """Least time between two commits of a table, unless a batch is full; so also the longest time
    that a message waits for its commit."""
    linger_s: Annotated[float, Meta(ge=0, le=1)] = 0.05
    """Time that the first message after a quiet `commit_interval_s` waits for others: a device
    that asks whether anybody is there gets its ack at once."""
    batch_rows: Count = 200_000
    batch_bytes: Count = 64 * 1024 * 1024
    """Rows, and bytes of bodies, at which a batch is committed before its time."""
    queue_messages: Count = 1024
    """Received messages that wait to be read; then the broker waits for its PUBACK, and after
    that holds the rest back."""
    max_beyond_floor: Count = 4096
    """How far a number may be above its message's floor; devices keep to 1,024. A message beyond
    is neither stored nor acknowledged."""
    max_outboxes_per_device: Count = 64
    """Outboxes that one device may ever have; messages of more are neither stored nor
    acknowledged."""
    max_sample_tables: Count = 1024
    max_columns: Count = 2048
    """Models with samples, and columns of one table; a message that would add more is set aside."""
    remembered_digests: Count = 65_536
    """Newest messages whose content is compared when their number comes again."""
    remembered_keys: Count = 65_536
    """Devices whose key is kept; the signer is asked for others."""
    max_quarantined_per_commit: Count = 1024
    """Messages set aside in one batch; more are dropped, and sent again since they get no ack."""
    ack_ttl_s: Count = 3600
    """Life of an acknowledgement; a device ignores it afterwards and sends its message again."""
    full_note_every: Count = 64
    """Commits of a table from one full list of what it accepted to the next."""
    retry_s: Seconds = 1.0
    """Wait before the lake is opened again after a failed commit."""
    mqtt: MqttConfig = MqttConfig(max_in_flight=1024, reconnect_cap_s=5.0)
