"""What a starting agent makes of the marks that the last run left; pure.

A run that ended while a version was on probation counts against that version: as a crash, or as a
power loss when the kernel was started anew since, which has a higher limit of its own, because a
device on a bad supply must not lose a good model so soon. Versions that never finished a probation
take the blame alone; only when there are none do confirmed ones.
"""

from datetime import datetime
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from fogline.records import Record
from fogline_edge.install.state import (
    InstallState,
    Marker,
    ModelState,
    Rejection,
)


class AttemptBounds(Record, frozen=True, kw_only=True):
    """How often a version may take the device down."""

    crashes: Annotated[int, Meta(ge=1)] = 3
    """Runs that may end in a crash on one version's probation; the next start leaves it out."""
    power_losses: Annotated[int, Meta(ge=1)] = 6
    probation_s: Annotated[float, Meta(gt=0)] = 30.0
    """How long a loaded version serves until it counts as good."""


def settle(
    state: InstallState, *, boot_id: str, agent_version: str, now: datetime, bounds: AttemptBounds
) -> InstallState:
    """The state after all marks were counted and taken off.

    Args:
        state: As the last run left it.
        boot_id: The kernel's now.
        agent_version: Of this agent; what it rejects, another version may try.
        now: Aware UTC.
        bounds: Limits.
    """
    marked = [m for m in state.models if m.marker is not None]
    unproved = [m for m in marked if not _is_confirmed(m)]
    for model in marked:
        counted = replace(model, marker=None)
        if model.marker is not None and (model in unproved or not unproved):
            counted = _count(counted, model.marker, boot_id, agent_version, now, bounds)
        state = state.put(counted)
    return state


def _is_confirmed(model: ModelState) -> bool:
    held = (model.active, model.good)
    return any(
        c is not None
        and c.is_confirmed
        and model.marker is not None
        and c.digest == model.marker.digest
        and model.marker.phase == "serve"
        for c in held
    )


def _count(
    model: ModelState,
    marker: Marker,
    boot_id: str,
    agent_version: str,
    now: datetime,
    bounds: AttemptBounds,
) -> ModelState:
    before = model.strikes_of(marker.digest)
    if marker.boot_id == boot_id:
        strikes = replace(before, crashes=before.crashes + 1)
    else:
        strikes = replace(before, power_losses=before.power_losses + 1)
    if strikes.crashes < bounds.crashes and strikes.power_losses < bounds.power_losses:
        return model.with_strikes(strikes)
    reason = (
        f"the device went down during {marker.phase} of this version: "
        f"{strikes.crashes} crashes, {strikes.power_losses} power losses"
    )
    rejection = Rejection(
        digest=marker.digest,
        agent_version=agent_version,
        reason=reason,
        generation=_generation(model, marker.digest),
        at=now,
    )
    return model.without_strikes(marker.digest).with_rejection(rejection)


def _generation(model: ModelState, digest: str) -> int:
    held = (model.active, model.good)
    return max((c.generation for c in held if c is not None and c.digest == digest), default=0)
