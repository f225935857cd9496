"""Summaries of one model's traffic as devices sent them: partials that add up by their scope."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError

from fogline.errors import Corrupt
from fogline.ids import check_name
from fogline.wire.fleet_pb2 import Summary
from fogline_hub.lake.lake import Lake
from fogline_hub.lake.tables import SUMMARIES, TIMESTAMP

_COLUMNS = ["device", "received_at", "window_start", "body"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSummary:
    """One partial; `message.scope` says of what."""

    device: str
    received_at: datetime
    message: Summary


def summaries(
    lake: Lake,
    model: str,
    *,
    versions: tuple[int, ...] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    received_after: datetime | None = None,
) -> Iterator[StoredSummary]:
    """Partials of a model, by window, then in the order in which they came.

    Args:
        lake: Where they are.
        model: Its name.
        versions: Those that answered; empty for all.
        since: First start of a window (aware).
        until: Start of a window before which they are (aware).
        received_after: Only those that came later than this (aware).

    Raises:
        InvalidInput: `model` is no legal name.
        Corrupt, Unavailable: the lake cannot be read.
    """
    chosen = pc.field("model") == check_name(model, "model name")
    if versions:
        chosen &= pc.field("version").isin(list(versions))
    if since is not None:
        chosen &= pc.field("window_start") >= pa.scalar(since, TIMESTAMP)
    if until is not None:
        chosen &= pc.field("window_start") < pa.scalar(until, TIMESTAMP)
    if received_after is not None:
        after = pa.scalar(received_after, TIMESTAMP)
        # The day is a partition, so that older files are not even opened.
        chosen &= pc.field("received_day") >= pa.scalar(received_after.date(), pa.date32())
        chosen &= pc.field("received_at") > after
    found = lake.table(SUMMARIES).read(_COLUMNS, chosen)
    order = [("window_start", "ascending"), ("received_at", "ascending"), ("device", "ascending")]
    for row in found.sort_by(order).to_pylist():
        yield StoredSummary(
            device=row["device"], received_at=row["received_at"], message=_read(row["body"])
        )


def _read(body: bytes) -> Summary:
    try:
        return Summary.FromString(body)
    except DecodeError as e:
        raise Corrupt(f"lake table {SUMMARIES}: a stored summary cannot be read: {e}") from e
