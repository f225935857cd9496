"""What devices say of themselves: the newest report of each, never an older one over a newer."""

from datetime import datetime

from fogline.errors import Corrupt
from fogline.ids import check_id
from fogline.records import Record, canonical_json, decode_json
from fogline.wire.fleet_pb2 import ModelState, Reported
from fogline_hub.catalogue import sql
from fogline_hub.rollouts.tables import REPORTED

MAX_MODELS = 1000
"""Models of one report that are kept."""
MAX_REASON_CHARS = 2000
_MAX_STORED = 2**63 - 1


class ReportedModel(Record, frozen=True, kw_only=True):
    name: str
    version: int
    digest: str
    variant: str
    state: str
    """Lower-case name of the wire's `ModelState`."""
    reason: str = ""


class ReportedState(Record, frozen=True, kw_only=True):
    generation: int
    models: tuple[ReportedModel, ...]
    agent_version: str
    profile: dict[str, str]
    metrics: dict[str, int]

    def model(self, name: str, version: int) -> ReportedModel | None:
        return next((m for m in self.models if m.name == name and m.version == version), None)


def state_of(message: Reported) -> ReportedState:
    return ReportedState(
        generation=message.generation,
        models=tuple(
            ReportedModel(
                name=m.name,
                version=m.version,
                digest=m.digest,
                variant=m.variant,
                state=_state_name(m.state),
                reason=m.reason[:MAX_REASON_CHARS],
            )
            for m in message.models[:MAX_MODELS]
        ),
        agent_version=message.agent_version[:64],
        profile=dict(message.profile),
        metrics=dict(message.metrics),
    )


def _state_name(number: int) -> str:
    known = ModelState.DESCRIPTOR.values_by_number.get(number)
    return "unknown" if known is None else known.name.removeprefix("MODEL_STATE_").lower()


def receive(connection: sql.Connection, device: str, message: Reported, *, now: datetime) -> bool:
    """Keeps the report if it is the device's newest; returns whether it was.

    Order within one outbox is by counter; another outbox id is another life of the device, whose
    first word counts.

    Raises:
        Corrupt: a number that no device counts to.
        InvalidInput: the outbox id is no identifier.
    """
    if max(message.counter, message.generation) > _MAX_STORED:
        raise Corrupt(f"device {device} reports a counter or generation above {_MAX_STORED}")
    before = connection.execute(
        sql.select(REPORTED.c.outbox_id, REPORTED.c.counter).where(REPORTED.c.device == device)
    ).first()
    if (
        before is not None
        and before.outbox_id == message.outbox_id
        and message.counter <= before.counter
    ):
        return False
    values = {
        "outbox_id": check_id(message.outbox_id, "outbox id"),
        "counter": message.counter,
        "generation": message.generation,
        "heard_at": now,
        "state": canonical_json(state_of(message)).decode(),
    }
    if before is None:
        connection.execute(sql.insert(REPORTED).values(device=device, **values))
    else:
        connection.execute(sql.update(REPORTED).where(REPORTED.c.device == device).values(**values))
    return True


def newest(connection: sql.Connection, device: str) -> tuple[ReportedState, datetime] | None:
    """The device's newest report and when it came; none before the first."""
    row = connection.execute(sql.select(REPORTED).where(REPORTED.c.device == device)).first()
    if row is None:
        return None
    return decode_json(row.state.encode(), ReportedState, f"report of {device}"), row.heard_at
