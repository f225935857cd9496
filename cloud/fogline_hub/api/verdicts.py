"""Verdicts on windows, the accuracy that alarms are raised on, and the alarms."""

from fogline.records import Record
from fogline_hub.api.endpoint import Call, endpoint
from fogline_hub.monitor import WindowReport
from fogline_hub.monitor.alarms import AccuracyStatus, Alarm, BlockAccuracy, store

MAX_VERSION = 10**9


class ModelAlarms(Record, frozen=True, kw_only=True):
    model: str
    watermark_us: int
    """Event time that the model's traffic has reached; 0 before any."""
    alarms: tuple[Alarm, ...]
    """The newest first."""
    versions: tuple[AccuracyStatus, ...]
    """How each version with traffic is followed, the newest first."""


def list_verdicts(call: Call) -> tuple[WindowReport, ...]:
    """By window and version, oldest first; the newest `limit` of them."""
    name = call.path["name"]
    version = call.integer("version", 0, low=0, high=MAX_VERSION)
    limit = call.integer("limit", 100, low=1, high=store.MAX_LIST)
    with call.rooms.catalogue.reading() as connection:
        call.rooms.registry.model(connection, name)
        return store.verdicts(connection, name, version or None, limit=limit)


def list_alarms(call: Call) -> ModelAlarms:
    name = call.path["name"]
    with call.rooms.catalogue.reading() as connection:
        call.rooms.registry.model(connection, name)
        return ModelAlarms(
            model=name,
            watermark_us=store.watermark_us(connection, name),
            alarms=store.alarms(connection, name),
            versions=store.statuses(connection, name),
        )


def list_accuracy(call: Call) -> tuple[BlockAccuracy, ...]:
    name = call.path["name"]
    version = call.integer("version", 0, low=1, high=MAX_VERSION)
    with call.rooms.catalogue.reading() as connection:
        call.rooms.registry.version(connection, name, version)
        return store.block_accuracy(connection, name, version)


routes = [
    endpoint("GET", "/v1/models/{name}/verdicts", list_verdicts, query=("version", "limit")),
    endpoint("GET", "/v1/models/{name}/alarms", list_alarms),
    endpoint("GET", "/v1/models/{name}/versions/{version}/accuracy", list_accuracy),
]
