"""What the devices of a rollout have come to, by what they reported.

A device that was revoked is nobody's failure: it counts nowhere, and gets no orders.
"""

import math
from collections.abc import Sequence
from datetime import datetime

from fogline_hub.catalogue import sql
from fogline_hub.devices.tables import DEVICES
from fogline_hub.rollouts import reports
from fogline_hub.rollouts.records import DeviceProgress, Rollout, show
from fogline_hub.rollouts.tables import ROLLOUT_DEVICES
from fogline_hub.rollouts.tripwires import DeviceOutcome, Outcome


def progress(
    connection: sql.Connection, rollout: int, *, now: datetime
) -> tuple[DeviceProgress, ...]:
    """Each device of the rollout with its wave and what it has come to."""
    current = show(connection, rollout)
    found = dict(outcomes(connection, current, now))
    members = sql.select(ROLLOUT_DEVICES.c.device).where(is_member(rollout))
    trusted = set(connection.execute(members).scalars())
    rows = connection.execute(
        sql.select(ROLLOUT_DEVICES)
        .where(ROLLOUT_DEVICES.c.rollout == rollout)
        .order_by(ROLLOUT_DEVICES.c.wave, ROLLOUT_DEVICES.c.device)
    )
    return tuple(
        DeviceProgress(
            device=row.device,
            wave=row.wave,
            outcome="later" if row.device in trusted else "revoked",
        )
        if row.device not in found
        else DeviceProgress(
            device=row.device,
            wave=row.wave,
            outcome=found[row.device].outcome.value,
            reason=found[row.device].reason,
        )
        for row in rows
    )


def outcomes(
    connection: sql.Connection, rollout: Rollout, now: datetime, hearing_s: float = math.inf
) -> list[tuple[str, DeviceOutcome]]:
    """What each device that was moved so far has come to; earlier waves count to the end."""
    return [
        (row.device, _outcome(connection, row, rollout, now, hearing_s))
        for row in moved(connection, rollout.id)
    ]


def _outcome(
    connection: sql.Connection,
    row: sql.Row[tuple[object, ...]],
    rollout: Rollout,
    now: datetime,
    hearing_s: float,
) -> DeviceOutcome:
    heard = reports.newest(connection, row.device)
    if heard is None or heard[0].generation < row.generation:
        return DeviceOutcome(device=row.device, outcome=Outcome.WAITING)
    report, heard_at = heard
    model = report.model(rollout.model, rollout.number)
    state = "" if model is None else model.state
    outcome = {"active": Outcome.ACTIVE, "rejected": Outcome.FAILED}.get(state, Outcome.WAITING)
    reason = "" if model is None else model.reason
    silent_s = min((now - heard_at).total_seconds(), hearing_s)
    return DeviceOutcome(device=row.device, outcome=outcome, reason=reason, silent_s=silent_s)


def moved(connection: sql.Connection, rollout: int) -> Sequence[sql.Row[tuple[object, ...]]]:
    """Rows of the devices that have their orders: device, generation, what they had before."""
    return connection.execute(
        sql.select(ROLLOUT_DEVICES).where(is_member(rollout), ROLLOUT_DEVICES.c.generation > 0)
    ).all()


def is_member(rollout: int) -> sql.ColumnElement[bool]:
    """Whether a row of `ROLLOUT_DEVICES` is of this rollout, and its device not revoked."""
    revoked = sql.select(DEVICES.c.id).where(DEVICES.c.revoked_at.is_not(None))
    columns = ROLLOUT_DEVICES.c
    return (columns.rollout == rollout) & columns.device.not_in(revoked)
