"""Rollouts: made, moved and ended in the catalogue, each step one transaction.

A step reads what devices reported, asks `tripwires.judge_wave`, and writes what follows: the next
wave's desired states, the end, or the way back. Nothing is held in memory, so a controller that is
killed goes on where the last transaction left it.
"""

from collections.abc import Sequence
from datetime import datetime

from fogline.desired import CapturePolicy, DesiredModel, Name
from fogline.errors import Conflict, NotFound
from fogline.records import Record, canonical_json, decode_json
from fogline_hub import audit
from fogline_hub.catalogue import sql
from fogline_hub.registry import State as VersionState
from fogline_hub.registry import Version
from fogline_hub.rollouts import desired, reports
from fogline_hub.rollouts.states import ENDED, Event, State, move
from fogline_hub.rollouts.tables import ROLLOUT_DEVICES, ROLLOUTS
from fogline_hub.rollouts.tripwires import (
    DeviceOutcome,
    Outcome,
    Verdict,
    WavePolicy,
    is_share_active,
    judge_wave,
)
from fogline_hub.rollouts.waves import wave_of_each

MAX_LIST = 1000
"""Most rollouts of one listing."""


class Plan(Record, frozen=True, kw_only=True):
    """What an operator asks for, beside the version."""

    group: Name
    waves: tuple[str, ...] = ("100%",)
    policy: WavePolicy = WavePolicy()
    capture: CapturePolicy = CapturePolicy()


class Rollout(Record, frozen=True, kw_only=True):
    id: int
    model: str
    number: int
    group: str
    waves: tuple[str, ...]
    wave: int
    """Index of the wave that moves now, or moved last."""
    state: State
    reason: str
    actor: str
    policy: WavePolicy
    capture: CapturePolicy
    created_at: datetime
    wave_began_at: datetime | None
    share_active_at: datetime | None
    ended_at: datetime | None


class DeviceProgress(Record, frozen=True, kw_only=True):
    device: str
    wave: int
    outcome: str
    """`later` before its wave, then `waiting`, `active` or `failed`."""
    reason: str = ""


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
    active = connection.execute(
        sql.select(ROLLOUTS.c.id).where(
            ROLLOUTS.c.model == version.model,
            ROLLOUTS.c.group == plan.group,
            ROLLOUTS.c.state.not_in([s.value for s in ENDED]),
        )
    ).first()
    if active is not None:
        raise Conflict(
            f"rollout {active.id} of {version.model} in group {plan.group} has not ended; "
            f"wait for it, or: fogline rollout abort {active.id}"
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


def show(connection: sql.Connection, rollout: int) -> Rollout:
    """Raises `NotFound` where there is none."""
    row = connection.execute(sql.select(ROLLOUTS).where(ROLLOUTS.c.id == rollout)).first()
    if row is None:
        raise NotFound(f"there is no rollout {rollout}; see: fogline rollout list")
    return _rollout(row)


def listing(connection: sql.Connection, *, limit: int = 100) -> tuple[Rollout, ...]:
    """The newest rollouts first."""
    query = sql.select(ROLLOUTS).order_by(ROLLOUTS.c.id.desc())
    return tuple(_rollout(row) for row in connection.execute(query.limit(min(limit, MAX_LIST))))


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
        _set(connection, rollout, state=after.value, wave_began_at=now)
    return show(connection, rollout)


def step(connection: sql.Connection, rollout: int, version: Version, *, now: datetime) -> bool:
    """Does the next thing of an unfinished rollout, if there is one; returns whether it did."""
    current = show(connection, rollout)
    if current.state is State.PENDING:
        _set(
            connection, rollout, state=move(f"rollout {rollout}", current.state, Event.START).value
        )
        _begin_wave(connection, show(connection, rollout), 0, version, now)
        return True
    if current.state is not State.RUNNING:
        return False
    outcomes = [o for _, o in _outcomes(connection, current, now)]
    current = _note_share(connection, current, is_share_active(outcomes, current.policy), now)
    judgement = judge_wave(
        outcomes,
        current.policy,
        elapsed_s=_since(current.wave_began_at, now),
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


def progress(
    connection: sql.Connection, rollout: int, *, now: datetime
) -> tuple[DeviceProgress, ...]:
    """Each device of the rollout with its wave and what it has come to."""
    current = show(connection, rollout)
    moved = dict(_outcomes(connection, current, now))
    rows = connection.execute(
        sql.select(ROLLOUT_DEVICES)
        .where(ROLLOUT_DEVICES.c.rollout == rollout)
        .order_by(ROLLOUT_DEVICES.c.wave, ROLLOUT_DEVICES.c.device)
    )
    return tuple(
        DeviceProgress(device=row.device, wave=row.wave, outcome="later")
        if row.device not in moved
        else DeviceProgress(
            device=row.device,
            wave=row.wave,
            outcome=moved[row.device].outcome.value,
            reason=moved[row.device].reason,
        )
        for row in rows
    )


def _begin_wave(
    connection: sql.Connection, rollout: Rollout, wave: int, version: Version, now: datetime
) -> None:
    model = desired.desired_model(version, rollout.capture)
    rows = connection.execute(
        sql.select(ROLLOUT_DEVICES.c.device).where(
            ROLLOUT_DEVICES.c.rollout == rollout.id, ROLLOUT_DEVICES.c.wave == wave
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
    for row in _moved(connection, rollout):
        if not row.previous:
            desired.withdraw(connection, row.device, rollout.model, now=now)
            continue
        what = f"rollout {rollout.id}"
        previous = decode_json(row.previous.encode(), DesiredModel, what)
        desired.order(connection, row.device, previous, now=now)


def _outcomes(
    connection: sql.Connection, rollout: Rollout, now: datetime
) -> list[tuple[str, DeviceOutcome]]:
    """What each device that was moved so far has come to; earlier waves count to the end."""
    return [
        (row.device, _outcome(connection, row.device, row.generation, rollout, now))
        for row in _moved(connection, rollout)
    ]


def _outcome(
    connection: sql.Connection, device: str, generation: int, rollout: Rollout, now: datetime
) -> DeviceOutcome:
    heard = reports.newest(connection, device)
    if heard is None or heard[0].generation < generation:
        return DeviceOutcome(device=device, outcome=Outcome.WAITING)
    report, heard_at = heard
    model = report.model(rollout.model, rollout.number)
    state = "" if model is None else model.state
    outcome = {"active": Outcome.ACTIVE, "rejected": Outcome.FAILED}.get(state, Outcome.WAITING)
    reason = "" if model is None else model.reason
    silent_s = (now - heard_at).total_seconds()
    return DeviceOutcome(device=device, outcome=outcome, reason=reason, silent_s=silent_s)


def _moved(connection: sql.Connection, rollout: Rollout) -> Sequence[sql.Row[tuple[object, ...]]]:
    return connection.execute(
        sql.select(ROLLOUT_DEVICES).where(
            ROLLOUT_DEVICES.c.rollout == rollout.id, ROLLOUT_DEVICES.c.generation > 0
        )
    ).all()


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


def _since(moment: datetime | None, now: datetime) -> float:
    return 0.0 if moment is None else (now - moment).total_seconds()


def _set(connection: sql.Connection, rollout: int, **values: object) -> None:
    connection.execute(sql.update(ROLLOUTS).where(ROLLOUTS.c.id == rollout).values(**values))


def _rollout(row: sql.Row[tuple[object, ...]]) -> Rollout:
    what = f"rollout {row.id}"
    return Rollout(
        id=row.id,
        model=row.model,
        number=row.number,
        group=row.group,
        waves=decode_json(row.waves.encode(), tuple[str, ...], what),
        wave=row.wave,
        state=State(row.state),
        reason=row.reason,
        actor=row.actor,
        policy=decode_json(row.policy.encode(), WavePolicy, what),
        capture=decode_json(row.capture.encode(), CapturePolicy, what),
        created_at=row.created_at,
        wave_began_at=row.wave_began_at,
        share_active_at=row.share_active_at,
        ended_at=row.ended_at,
    )
