"""Rollouts, and what each device should run and says it runs."""

from datetime import datetime

from msgspec.structs import replace

from fogline.desired import DesiredState
from fogline.errors import NotFound
from fogline.ids import parse_ref
from fogline.records import Record
from fogline_hub import rollouts
from fogline_hub.api.endpoint import Call, endpoint
from fogline_hub.rollouts import (
    DeviceProgress,
    Event,
    Plan,
    ReportedState,
    Rollout,
    desired,
    reports,
)


class NewRollout(Record, frozen=True, kw_only=True):
    version: str
    """`NAME@3` or `NAME@alias`."""
    plan: Plan


class RolloutDetails(Record, frozen=True, kw_only=True):
    rollout: Rollout
    devices: tuple[DeviceProgress, ...]


class DeviceState(Record, frozen=True, kw_only=True):
    desired: DesiredState | None
    reported: ReportedState | None
    heard_at: datetime | None


STEERING = {"pause": Event.PAUSE, "resume": Event.RESUME, "abort": Event.ABORT}


def create_rollout(call: Call) -> Rollout:
    asked: NewRollout = call.body
    plan = replace(asked.plan, waves=rollouts.parse_waves(",".join(asked.plan.waves)))
    rooms = call.rooms
    with rooms.catalogue.transaction() as connection:
        version = rooms.registry.resolve(connection, parse_ref(asked.version))
        found = rooms.devices.list(connection, plan.group)
        made = rollouts.create(
            connection,
            version=version,
            plan=plan,
            devices=[d.id for d in found if d.revoked_at is None],
            actor=call.caller.actor,
            now=rooms.clock.now(),
        )
    rooms.fleet_changed.set()
    return made


def list_rollouts(call: Call) -> tuple[Rollout, ...]:
    limit = call.integer("limit", 100, low=1, high=rollouts.MAX_LIST)
    with call.rooms.catalogue.reading() as connection:
        return rollouts.listing(connection, limit=limit)


def show_rollout(call: Call) -> RolloutDetails:
    number = call.integer("rollout", 0, low=1, high=2**31)
    with call.rooms.catalogue.reading() as connection:
        return RolloutDetails(
            rollout=rollouts.show(connection, number),
            devices=rollouts.progress(connection, number, now=call.rooms.clock.now()),
        )


def steer_rollout(call: Call) -> Rollout:
    number = call.integer("rollout", 0, low=1, high=2**31)
    event = STEERING.get(call.path["event"])
    if event is None:
        raise NotFound(f"a rollout can {', '.join(STEERING)}, not {call.path['event'][:40]!r}")
    with call.rooms.catalogue.transaction() as connection:
        steered = rollouts.steer(
            connection, number, event, actor=call.caller.actor, now=call.rooms.clock.now()
        )
    call.rooms.fleet_changed.set()
    return steered


def show_state(call: Call) -> DeviceState:
    with call.rooms.catalogue.reading() as connection:
        device = call.rooms.devices.get(connection, call.path["device"])
        heard = reports.newest(connection, device.id)
        return DeviceState(
            desired=desired.read(connection, device.id),
            reported=None if heard is None else heard[0],
            heard_at=None if heard is None else heard[1],
        )


routes = [
    endpoint("GET", "/v1/rollouts", list_rollouts, query=("limit",)),
    endpoint("POST", "/v1/rollouts", create_rollout, body=NewRollout),
    endpoint("GET", "/v1/rollouts/{rollout}", show_rollout),
    endpoint("POST", "/v1/rollouts/{rollout}/{event}", steer_rollout),
    endpoint("GET", "/v1/devices/{device}/state", show_state),
]
