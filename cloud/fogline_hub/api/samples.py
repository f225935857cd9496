"""Captured rows: how many there are, and their export, which is audited since it is raw data."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from starlette.responses import Response

from fogline.errors import Exhausted
from fogline.records import Record
from fogline_hub import audit
from fogline_hub.api.endpoint import Call, endpoint
from fogline_hub.lake.captured import samples

MAX_EXPORT_ROWS = 500_000
"""Rows of one export; narrow it by event time where there are more."""
MAX_US = 253_402_300_799_999_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SampleCount(Record, frozen=True, kw_only=True):
    """Captured rows of one version on one device."""

    version: int
    device: str
    rows: int
    labelled: int
    """Those whose outcome is known."""
    traffic: float
    """Rows of traffic that they stand for."""
    first_us: int
    last_us: int


def count_samples(call: Call) -> tuple[SampleCount, ...]:
    name = call.path["name"]
    with call.rooms.catalogue.reading() as connection:
        call.rooms.registry.model(connection, name)
    found = samples(call.rooms.lake, name)
    known = pc.or_(pc.is_valid(found["actual_number"]), pc.is_valid(found["actual_text"]))
    table = pa.table(
        {
            "version": found["version"],
            "device": found["device"],
            "weight": found["weight"],
            "labelled": known.cast(pa.int64()),
            "us": found["event_time"].cast(pa.int64()),
        }
    )
    sums = [("us", "count"), ("labelled", "sum"), ("weight", "sum"), ("us", "min"), ("us", "max")]
    grouped = table.group_by(["version", "device"]).aggregate(sums)
    ordered = grouped.sort_by([("version", "ascending"), ("device", "ascending")])
    return tuple(
        SampleCount(
            version=row["version"],
            device=row["device"],
            rows=row["us_count"],
            labelled=row["labelled_sum"],
            traffic=row["weight_sum"],
            first_us=row["us_min"],
            last_us=row["us_max"],
        )
        for row in ordered.to_pylist()
    )


def export_samples(call: Call) -> Response:
    """A Parquet file of captured rows and their outcomes."""
    name, rooms = call.path["name"], call.rooms
    since_us = call.integer("since_us", 0, low=0, high=MAX_US)
    until_us = call.integer("until_us", MAX_US, low=0, high=MAX_US)
    labelled = bool(call.integer("labelled", 0, low=0, high=1))
    with rooms.catalogue.reading() as connection:
        rooms.registry.model(connection, name)
    found = samples(
        rooms.lake, name, since=_time(since_us), until=_time(until_us), labelled=labelled
    )
    if found.num_rows > MAX_EXPORT_ROWS:
        raise Exhausted(
            f"{found.num_rows} samples of {name}; one export holds {MAX_EXPORT_ROWS}: narrow it by "
            "event time"
        )
    # The audit row is there before the first byte leaves.
    with rooms.catalogue.transaction() as connection:
        details = {"rows": found.num_rows, "since_us": since_us, "until_us": until_us}
        audit.record(
            connection, call.caller.actor, "samples.exported", name, details, at=rooms.clock.now()
        )
    sink = pa.BufferOutputStream()
    pq.write_table(found, sink, compression="zstd")
    return Response(sink.getvalue().to_pybytes(), media_type="application/vnd.apache.parquet")


def _time(unix_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=unix_us)


routes = [
    endpoint("GET", "/v1/models/{name}/samples", count_samples),
    endpoint(
        "GET",
        "/v1/models/{name}/samples/export",
        export_samples,
        query=("since_us", "until_us", "labelled"),
        is_heavy=True,
    ),
]
