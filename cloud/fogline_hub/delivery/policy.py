"""What a new version of the targets metadata may change; pure.

Operators sign offline and the hub publishes, so the hub checks what it is handed: the signature is
theirs, the version follows, and the difference is one that Fogline knows how to act on. Taking a
version back or changing one is not among them: a signed manifest stays what it is for ever.
"""

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta
from tuf.api.metadata import Metadata, Targets

from fogline.bundle.manifest import MAX_MANIFEST_BYTES
from fogline.errors import Conflict, Exhausted, InvalidInput, Unsupported
from fogline.records import Record
from fogline.trust import MAX_TARGETS_BYTES, TARGETS
from fogline_hub.delivery.metadata import Target, auto_models, describe

Hours = Annotated[int, Meta(ge=1)]


class DeliveryBounds(Record, frozen=True, kw_only=True):
    """How long metadata holds, and how much of it there may be."""

    root_days: Annotated[int, Meta(ge=1)] = 5 * 365
    targets_days: Annotated[int, Meta(ge=1)] = 365
    """Each push renews it."""
    snapshot_hours: Hours = 7 * 24
    timestamp_hours: Hours = 24
    """How long a device can be kept from news without noticing."""
    max_additions: Annotated[int, Meta(ge=1)] = 16
    """Most new targets in one publication."""
    max_manifest_bytes: Annotated[int, Meta(ge=1)] = MAX_MANIFEST_BYTES
    keep_versions: Annotated[int, Meta(ge=2)] = 16
    """Superseded files of a role that stay, for devices amid a refresh. Roots stay for ever."""
    lock_timeout_s: Annotated[float, Meta(gt=0)] = 30.0
    """Longest wait for another publication."""


def check_update(
    current: Targets, proposed: Metadata[Targets], *, now: datetime, bounds: DeliveryBounds
) -> tuple[Target, ...]:
    """The targets that `proposed` adds to `current`; its signature is the caller's to verify.

    Raises:
        Conflict: its version does not follow; sign again on top of the current metadata.
        InvalidInput: an addition or delegation is not of Fogline's form, or it is expired.
        Unsupported: it changes or removes what was signed before.
        Exhausted: it adds more than a publication may.
    """
    new = proposed.signed
    if new.version != current.version + 1:
        raise Conflict(
            f"{TARGETS} version {new.version} does not follow {current.version}; "
            "fetch the current metadata and sign again"
        )
    limit = now + 2 * timedelta(days=bounds.targets_days)
    if not now < new.expires <= limit:
        raise InvalidInput(
            f"{TARGETS} version {new.version} expires at {new.expires.isoformat()}; "
            f"it must be after now and before {limit.isoformat()}"
        )
    for path, file in current.targets.items():
        if new.targets.get(path) != file:
            raise Unsupported(f"{path} was signed before and cannot be changed or removed")
    auto_models(new)
    added = [file for path, file in new.targets.items() if path not in current.targets]
    if len(added) > bounds.max_additions:
        raise Exhausted(f"{len(added)} new targets; one publication adds {bounds.max_additions}")
    return tuple(_checked(describe(file, TARGETS), bounds) for file in added)


def _checked(target: Target, bounds: DeliveryBounds) -> Target:
    if target.length > bounds.max_manifest_bytes:
        raise InvalidInput(
            f"{target.path}: a manifest of {target.length} bytes, "
            f"at most {bounds.max_manifest_bytes} are read"
        )
    if target.approval or target.signed_at:
        raise InvalidInput(f"{target.path}: an operator's target carries no approval")
    return target


def check_size(data: bytes) -> None:
    """Refuses targets metadata that no device would read.

    Raises:
        Exhausted: it is longer than devices accept.
    """
    if len(data) > MAX_TARGETS_BYTES:
        raise Exhausted(
            f"{len(data)} bytes of {TARGETS} metadata; devices read at most {MAX_TARGETS_BYTES}"
        )
