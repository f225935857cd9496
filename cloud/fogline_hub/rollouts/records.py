"""What a rollout is: its plan, where it stands, and how far each device has come."""

from datetime import datetime

from fogline.desired import CapturePolicy, Name
from fogline.errors import NotFound
from fogline.records import Record, decode_json
from fogline_hub.catalogue import sql
from fogline_hub.rollouts.states import State
from fogline_hub.rollouts.tables import ROLLOUTS
from fogline_hub.rollouts.tripwires import WavePolicy


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
    """`later` before its wave, then `waiting`, `active` or `failed`; `revoked` at any time."""
    reason: str = ""


def show(connection: sql.Connection, rollout: int) -> Rollout:
    """Raises `NotFound` where there is none."""
    row = connection.execute(sql.select(ROLLOUTS).where(ROLLOUTS.c.id == rollout)).first()
    if row is None:
        raise NotFound(f"there is no rollout {rollout}; see: fogline rollout list")
    return rollout_of(row)


def rollout_of(row: sql.Row[tuple[object, ...]]) -> Rollout:
    """The record of a row of `ROLLOUTS`."""
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
