"""The desired-state document of each device: read, changed one model at a time, numbered.

A generation is max(previous + 1, unix seconds), so that a hub restored from a backup is not refused
by devices that saw later ones.
"""

from datetime import datetime
from hashlib import sha256

from fogline.desired import (
    MAX_INLINE_BYTES,
    CapturePolicy,
    DesiredModel,
    DesiredState,
    target_path,
)
from fogline.errors import Unsupported
from fogline.records import canonical_json, decode_json, to_plain
from fogline_hub.catalogue import sql
from fogline_hub.registry import Version
from fogline_hub.rollouts.tables import DESIRED, GROUP_DESIRED

MAX_MODELS = 64
"""Models that a device holds and serves at most."""


def next_generation(previous: int, now: datetime) -> int:
    return max(previous + 1, int(now.timestamp()))


def desired_model(version: Version, capture: CapturePolicy) -> DesiredModel:
    return DesiredModel(
        name=version.model,
        version=version.number,
        manifest=version.manifest,
        target=target_path(version.model, version.number),
        capture=capture,
    )


def read(connection: sql.Connection, device: str) -> DesiredState | None:
    """The device's newest document; none before the first order."""
    row = connection.execute(
        sql.select(DESIRED.c.document).where(DESIRED.c.device == device)
    ).first()
    return None if row is None else _document(row.document, device)


def order(connection: sql.Connection, device: str, model: DesiredModel, *, now: datetime) -> int:
    """Makes `model` what the device should run under its name; returns the generation.

    An order for what is desired already changes nothing and returns the generation that holds.

    Raises:
        Unsupported: the device would hold too many models, or the document would be longer than
            is sent inline.
    """
    before = read(connection, device) or DesiredState(generation=1)
    if model in before.models:
        return before.generation
    others = tuple(m for m in before.models if m.name != model.name)
    return _write(connection, device, before, (*others, model), now)


def withdraw(connection: sql.Connection, device: str, name: str, *, now: datetime) -> int:
    """Takes a model from what the device should run; returns the generation."""
    before = read(connection, device) or DesiredState(generation=1)
    left = tuple(m for m in before.models if m.name != name)
    if left == before.models:
        return before.generation
    return _write(connection, device, before, left, now)


def set_group(
    connection: sql.Connection, group: str, version: Version, capture: CapturePolicy
) -> None:
    """Remembers what devices that join the group later are to run."""
    here = (GROUP_DESIRED.c.group == group) & (GROUP_DESIRED.c.model == version.model)
    connection.execute(sql.delete(GROUP_DESIRED).where(here))
    connection.execute(
        sql.insert(GROUP_DESIRED).values(
            {
                "group": group,
                "model": version.model,
                "number": version.number,
                "capture": canonical_json(capture).decode(),
            }
        )
    )


def group_models(
    connection: sql.Connection, group: str
) -> tuple[tuple[str, int, CapturePolicy], ...]:
    """(model, number, capture policy) of each model of the group."""
    rows = connection.execute(sql.select(GROUP_DESIRED).where(GROUP_DESIRED.c.group == group))
    return tuple(
        (row.model, row.number, decode_json(row.capture.encode(), CapturePolicy, f"group {group}"))
        for row in rows
    )


def _write(
    connection: sql.Connection,
    device: str,
    before: DesiredState,
    models: tuple[DesiredModel, ...],
    now: datetime,
) -> int:
    if len(models) > MAX_MODELS:
        raise Unsupported(
            f"device {device}: {len(models)} models, a device serves at most {MAX_MODELS}; "
            "split the group"
        )
    state = DesiredState(
        generation=next_generation(before.generation, now),
        models=tuple(sorted(models, key=lambda m: m.name)),
    )
    document = canonical_json(to_plain(state))
    if len(document) > MAX_INLINE_BYTES:
        raise Unsupported(
            f"device {device}: {len(models)} models make a desired state of {len(document)} bytes, "
            f"at most {MAX_INLINE_BYTES} are sent; split the group"
        )
    connection.execute(sql.delete(DESIRED).where(DESIRED.c.device == device))
    connection.execute(
        sql.insert(DESIRED).values(
            device=device,
            generation=state.generation,
            digest=sha256(document).hexdigest(),
            document=document,
            changed_at=now,
        )
    )
    return state.generation


def _document(data: bytes, device: str) -> DesiredState:
    return decode_json(bytes(data), DesiredState, f"desired state of device {device}")
