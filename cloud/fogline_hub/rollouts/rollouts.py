"""Rollouts: made, moved and ended in the catalogue, each step one transaction.

A step reads what devices reported, asks `tripwires.judge_wave`, and writes what follows: the next
wave's desired states, the end, or the way back. Nothing is held in memory, so a controller that is
killed goes on where the last transaction left it.
"""

import math
from collections.abc import Sequence
from datetime import datetime

from fogline.desired import CapturePolicy, DesiredModel
from fogline.errors import Conflict
from fogline.records import canonical_json, decode_json
from fogline_hub import audit
from fogline_hub.catalogue import sql
from fogline_hub.registry import State as VersionState
from fogline_hub.registry import Version
from fogline_hub.rollouts import desired
from fogline_hub.rollouts.outcomes import is_member, moved, outcomes
from fogline_hub.rollouts.records import Plan, Rollout, rollout_of, show
from fogline_hub.rollouts.states import ENDED, Event, State, move
from fogline_hub.rollouts.tables import ROLLOUT_DEVICES, ROLLOUTS
from fogline_hub.rollouts.tripwires import (
    Verdict,
    is_share_active,
    judge_wave,
)
from fogline_hub.rollouts.waves import wave_of_each

MAX_LIST = 1000
"""Most rollouts of one listing."""


def create(
    connection: sql.Connection,
    *,
    version: Version,
    plan: Plan,
    devices: Sequence[str],
    actor: str,
    now: datetime,
) -> Rollout:
    """Makes a rollout of `version` to the `devices` of the plan's group; the controller starts it.

    Raises:
        Conflict: the version is not published, or another rollout of the model in the group has
            not ended.
    """
    if version.state is not VersionState.PUBLISHED:
        raise Conflict(f"{version.ref} is {version.state.value}, not published; push it again")
    active = _unfinished_of(connection, version.model, plan.group)
    if active is not None:
        raise Conflict(
            f"rollout {active} of {version.model} in group {plan.group} has not ended; "
            f"wait for it, or: fogline rollout abort {active}"
        )
    made = connection.execute(
        sql.insert(ROLLOUTS)
        .values(
            {
                "model": version.model,
                "number": version.number,
                "group": plan.group,
                "waves": canonical_json(plan.waves).decode(),
                "policy": canonical_json(plan.policy).decode(),
                "capture": canonical_json(plan.capture).decode(),
                "state": State.PENDING.value,
                "wave": 0,
                "reason": "",
                "actor": actor,
                "created_at": now,
            }
        )
        .returning(ROLLOUTS.c.id)
    ).scalar_one()
    for device, wave in wave_of_each(plan.waves, devices, str(made)).items():
        connection.execute(
            sql.insert(ROLLOUT_DEVICES).values(
                rollout=made, device=device, wave=wave, generation=0, previous=""
            )
        )
    details = {"group": plan.group, "waves": plan.waves, "devices": len(devices)}
    audit.record(connection, actor, "rollout.created", str(version.ref), details, at=now)
    return show(connection, made)


def listing(connection: sql.Connection, *, limit: int = 100) -> tuple[Rollout, ...]:
    """The newest rollouts first."""
    query = sql.select(ROLLOUTS).order_by(ROLLOUTS.c.id.desc())
    return tuple(rollout_of(row) for row in connection.execute(query.limit(min(limit, MAX_LIST))))


def unfinished(connection: sql.Connection) -> tuple[int, ...]:
    """Rollouts that a controller has to step: pending or running, oldest first."""
    query = sql.select(ROLLOUTS.c.id).where(
        ROLLOUTS.c.state.in_([State.PENDING.value, State.RUNNING.value])
    )
    return tuple(connection.execute(query.order_by(ROLLOUTS.c.id)).scalars())


def steer(
    connection: sql.Connection, rollout: int, event: Event, *, actor: str, now: datetime
) -> Rollout:
    """Pauses, resumes or aborts; an abort sends moved devices back to what they ran before.

    Raises:
        NotFound: no such rollout.
        Conflict: its state does not allow it.
    """
    before = show(connection, rollout)
    after = move(f"rollout {rollout}", before.state, event)
    audit.record(connection, actor, f"rollout.{event.value}", str(rollout), {}, at=now)
    if after in ENDED:
        _end(connection, before, after, f"aborted by {actor}", now)
    else:
        _set(connection, rollout, state=after.value, wave_began_at=now, share_active_at=None)
    return show(connection, rollout)


def lacking(
    connection: sql.Connection, device: str, group: str
) -> tuple[tuple[str, int, CapturePolicy], ...]:
    """(model, number, capture policy) of what the group runs and the device is not told to run.

    Devices that joined, while or after a rollout moved the others, are told so. What an unfinished
    rollout moves is left to it, except where the device has no version of the model at all.
    """
    state = desired.read(connection, device)
    told = {} if state is None else {m.name: (m.version, m.capture) for m in state.models}
    return tuple(
        (name, number, capture)
        for name, number, capture in desired.group_models(connection, group)
        if told.get(name) != (number, capture)
        and (name not in told or _unfinished_of(connection, name, group) is None)
    )


def step(
    connection: sql.Connection,
    rollout: int,
    version: Version,
    *,
    now: datetime,
    hearing_s: float = math.inf,
) -> bool:
    """Does the next thing of an unfinished rollout, if there is one; returns whether it did.

    Args:
        connection: The caller's transaction.
        rollout: Its number.
        version: The version that it moves devices to.
        now: Aware UTC.
        hearing_s: For how long the hub has heard its devices without a break, seconds. No device
            is late or silent for longer than that.

    Raises:
        NotFound: there is no such rollout.
        Unsupported: a device's desired state would be too long; see `stop`.
    """
    current = _on_this_clock(connection, show(connection, rollout), now)
    if current.state is State.PENDING:
        _set(
            connection, rollout, state=move(f"rollout {rollout}", current.state, Event.START).value
        )
        _begin_wave(connection, show(connection, rollout), 0, version, now)
        return True
    if current.state is not State.RUNNING:
        return False
    found = [o for _, o in outcomes(connection, current, now, hearing_s)]
    current = _note_share(connection, current, is_share_active(found, current.policy), now)
    judgement = judge_wave(
        found,
        current.policy,
        elapsed_s=min(_since(current.wave_began_at, now), hearing_s),
        active_s=_since(current.share_active_at, now),
    )
    match judgement.verdict:
        case Verdict.WAIT:
            return False
        case Verdict.TRIP:
            after = move(f"rollout {rollout}", current.state, Event.TRIP)
            _end(connection, current, after, judgement.reason, now)
        case Verdict.ADVANCE if current.wave + 1 < len(current.waves):
            _begin_wave(connection, current, current.wave + 1, version, now)
        case Verdict.ADVANCE:
            after = move(f"rollout {rollout}", current.state, Event.SUCCEED)
            _end(connection, current, after, "", now)
            desired.set_group(connection, current.group, version, current.capture)
    return True


def stop(connection: sql.Connection, rollout: int, reason: str, *, now: datetime) -> None:
    """Ends a rollout whose next step can never be done; moved devices go back."""
    current = show(connection, rollout)
    entity, state = f"rollout {rollout}", current.state
    if state is State.PENDING:
        state = move(entity, state, Event.START)
    _end(connection, current, move(entity, state, Event.TRIP), reason, now)


def _begin_wave(
    connection: sql.Connection, rollout: Rollout, wave: int, version: Version, now: datetime
) -> None:
    model = desired.desired_model(version, rollout.capture)
    rows = connection.execute(
        sql.select(ROLLOUT_DEVICES.c.device).where(
            is_member(rollout.id), ROLLOUT_DEVICES.c.wave == wave
        )
    )
    for device in rows.scalars().all():
        previous = _desired_of(connection, device, rollout.model)
        generation = desired.order(connection, device, model, now=now)
        connection.execute(
            sql.update(ROLLOUT_DEVICES)
            .where(ROLLOUT_DEVICES.c.rollout == rollout.id, ROLLOUT_DEVICES.c.device == device)
            .values(
                generation=generation,
                previous="" if previous is None else canonical_json(previous).decode(),
            )
        )
    _set(connection, rollout.id, wave=wave, wave_began_at=now, share_active_at=None)
    audit.record(
        connection, "hub:controller", "rollout.wave", str(rollout.id), {"wave": wave}, at=now
    )


def _end(
    connection: sql.Connection, rollout: Rollout, after: State, reason: str, now: datetime
) -> None:
    if after is not State.SUCCEEDED:
        _send_back(connection, rollout, now)
    _set(connection, rollout.id, state=after.value, reason=reason, ended_at=now)
    details = {"model": rollout.model, "number": rollout.number, "reason": reason}
    action = f"rollout.{after.value}"
    audit.record(connection, "hub:controller", action, str(rollout.id), details, at=now)


def _send_back(connection: sql.Connection, rollout: Rollout, now: datetime) -> None:
    """Desires again what each moved device had before; one that had nothing serves nothing."""
    for row in moved(connection, rollout.id):
        if not row.previous:
            desired.withdraw(connection, row.device, rollout.model, now=now)
            continue
        what = f"rollout {rollout.id}"
        previous = decode_json(row.previous.encode(), DesiredModel, what)
        desired.order(connection, row.device, previous, now=now)


def _unfinished_of(connection: sql.Connection, model: str, group: str) -> int | None:
    found: int | None = connection.execute(
        sql.select(ROLLOUTS.c.id).where(
            ROLLOUTS.c.model == model,
            ROLLOUTS.c.group == group,
            ROLLOUTS.c.state.not_in([s.value for s in ENDED]),
        )
    ).scalar()
    return found


def _desired_of(connection: sql.Connection, device: str, name: str) -> DesiredModel | None:
    state = desired.read(connection, device)
    return None if state is None else next((m for m in state.models if m.name == name), None)


def _note_share(
    connection: sql.Connection, rollout: Rollout, is_active: bool, now: datetime
) -> Rollout:
    """Keeps since when the share of active devices holds, which the soak is counted from."""
    if is_active == (rollout.share_active_at is not None):
        return rollout
    _set(connection, rollout.id, share_active_at=now if is_active else None)
    return show(connection, rollout.id)


def _on_this_clock(connection: sql.Connection, rollout: Rollout, now: datetime) -> Rollout:
    """Counts from now where the clock went back; else nothing would be due until it caught up."""
    began, active = rollout.wave_began_at, rollout.share_active_at
    if (began is None or began <= now) and (active is None or active <= now):
        return rollout
    _set(connection, rollout.id, wave_began_at=now, share_active_at=None)
    return show(connection, rollout.id)


def _since(moment: datetime | None, now: datetime) -> float:
    return 0.0 if moment is None else (now - moment).total_seconds()


def _set(connection: sql.Connection, rollout: int, **values: object) -> None:
    connection.execute(sql.update(ROLLOUTS).where(ROLLOUTS.c.id == rollout).values(**values))
