"""The hub at a glance, and its audit log."""

from typing import Any

from fogline import __version__
from fogline.records import Record, decode_json
from fogline_hub import audit
from fogline_hub.api.endpoint import Call, endpoint
from fogline_hub.ingest import IngestCounts, read_counts

STATUS_FILE = "status.json"
"""Where the supervisor tells what its children do, in the hub's `run` folder."""


class Status(Record, frozen=True, kw_only=True):
    version: str
    url: str
    mqtt: str
    processes: dict[str, Any]
    """By role: process id, restarts and state, as the supervisor last wrote them."""
    models: int
    versions: int
    devices: dict[str, int]
    """Devices that are not revoked, by group."""
    audit_rows: int
    ingest: IngestCounts
    """Since the ingest process started."""


def status(call: Call) -> Status:
    rooms = call.rooms
    with rooms.catalogue.reading() as connection:
        models = rooms.registry.models(connection)
        groups = rooms.devices.groups(connection)
        rows, _ = audit.last(connection)
    return Status(
        version=__version__,
        url=rooms.endpoints.url,
        mqtt=f"{rooms.endpoints.mqtt_host}:{rooms.endpoints.mqtt_port}",
        processes=_processes(call),
        models=len(models),
        versions=sum(m.versions for m in models),
        devices=groups,
        audit_rows=rows,
        ingest=read_counts(rooms.run_folder),
    )


def list_audit(call: Call) -> tuple[audit.AuditRow, ...]:
    after = call.integer("after", 0, low=0, high=2**62)
    limit = call.integer("limit", 100, low=1, high=1000)
    newest = call.integer("newest", 0, low=0, high=1)
    with call.rooms.catalogue.reading() as connection:
        return audit.list(connection, after=after, limit=limit, newest_first=bool(newest))


def _processes(call: Call) -> dict[str, Any]:
    path = call.rooms.run_folder / STATUS_FILE
    try:
        return decode_json(path.read_bytes(), dict[str, Any], str(path))
    except FileNotFoundError:
        return {}


routes = [
    endpoint("GET", "/v1/status", status),
    endpoint("GET", "/v1/audit", list_audit, query=("after", "limit", "newest")),
]
