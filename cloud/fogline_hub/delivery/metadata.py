"""Signed metadata as values: read, verified, extended. No disk, no network, no private key.

Everything here is a thin, typed layer over python-tuf's Metadata API; its errors end here.
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TypeVar, cast

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError

from fogline.errors import Corrupt, InvalidInput, Untrusted
from fogline.trust import AUTO, ROOT, auto_pattern, parse_target_path

APPROVAL = "approval"
SIGNED_AT = "signed_at"
"""Keys in a target's custom part: digest of the approval record; Unix seconds of the signature."""

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One signed manifest."""

    path: str
    sha256: str
    length: int
    role: str
    """`targets` when an operator signed it, `auto` when the hub did."""
    approval: str = ""
    """SHA-256 of the approval record, of `auto` targets."""
    signed_at: int = 0
    """Unix seconds at which `auto` signed; 0 for an operator's."""


def read(kind: type[S], data: bytes, what: str) -> Metadata[S]:
    """Reads metadata of one role; verifies nothing.

    Raises:
        Corrupt: not TUF metadata, or of another role.
    """
    try:
        found = cast("Metadata[S]", Metadata.from_bytes(data))
    except (DeserializationError, RepositoryError, RecursionError) as e:
        raise Corrupt(f"{what}: not TUF metadata: {e}") from e
    if not isinstance(found.signed, kind):
        raise Corrupt(f"{what}: metadata of role {found.signed.type}, not {kind.type}")
    return found


def verify(delegator: Root | Targets, role: str, signed: Metadata[S], what: str) -> Metadata[S]:
    """Returns `signed` if enough keys of `role` in `delegator` signed it.

    Raises:
        Untrusted: they did not, or the role is not delegated.
    """
    try:
        delegator.verify_delegate(role, signed.signed_bytes, signed.signatures)
    except (RepositoryError, ValueError) as e:
        raise Untrusted(f"{what}: {e}") from e
    return signed


def next_root(trusted: Root, data: bytes) -> Root:
    """The root after `trusted`; signed by the keys of both (TUF specification 5.3).

    Raises:
        Corrupt: not root metadata.
        Untrusted: not its successor, or not signed by both.
    """
    what = f"root {trusted.version + 1}"
    new = read(Root, data, what)
    verify(trusted, ROOT, new, what)
    verify(new.signed, ROOT, new, what)
    if new.signed.version != trusted.version + 1:
        raise Untrusted(f"{what}: carries version {new.signed.version}")
    return new.signed


def manifest_target(path: str, manifest: bytes) -> TargetFile:
    """What signed metadata says of a manifest.

    Raises:
        InvalidInput: the path is not a manifest's.
    """
    parse_target_path(path)
    return TargetFile(len(manifest), {"sha256": sha256(manifest).hexdigest()}, path)


def describe(file: TargetFile, role: str) -> Target:
    """Checks the shape of one signed target.

    Raises:
        InvalidInput: another path, hash, or custom part than Fogline writes.
    """
    parse_target_path(file.path)
    digest = file.hashes.get("sha256", "")
    if len(file.hashes) != 1 or not _is_digest(digest):
        raise InvalidInput(f"target {file.path} must carry a sha256 and no other hash")
    custom = file.custom if isinstance(file.custom, dict) else {}
    approval, signed_at = custom.get(APPROVAL, ""), custom.get(SIGNED_AT, 0)
    if set(file.unrecognized_fields) - {"custom"} or set(custom) - {APPROVAL, SIGNED_AT}:
        raise InvalidInput(f"target {file.path} carries fields that Fogline does not write")
    if not isinstance(approval, str) or type(signed_at) is not int:
        raise InvalidInput(f"target {file.path}: its custom part has values of another type")
    return Target(
        path=file.path,
        sha256=digest,
        length=file.length,
        role=role,
        approval=approval,
        signed_at=signed_at,
    )


def auto_models(targets: Targets) -> tuple[str, ...]:
    """Names of the models whose retrained versions role `auto` may sign, in signed order.

    Raises:
        InvalidInput: there are delegations of another kind than Fogline writes.
    """
    roles = targets.delegations.roles if targets.delegations else {}
    if targets.delegations is not None and targets.delegations.succinct_roles is not None:
        raise InvalidInput("targets must not delegate to hash bins")
    if set(roles or {}) - {AUTO}:
        raise InvalidInput(f"targets may delegate to {AUTO} alone, not to {sorted(roles or {})}")
    return _models_of(roles[AUTO]) if roles else ()


def _models_of(role: DelegatedRole) -> tuple[str, ...]:
    names = tuple(pattern.split("/")[1] for pattern in role.paths or () if pattern.count("/") == 3)
    if role.paths != [auto_pattern(name) for name in names] or not names:
        raise InvalidInput(
            f"{AUTO} must be delegated paths of the form models/NAME/*/manifest.json"
        )
    if not role.terminating or role.threshold != 1 or len(role.keyids) != 1:
        raise InvalidInput(f"{AUTO} must be a terminating delegation to one key")
    return names


def is_delegated(targets: Targets, path: str) -> bool:
    """Whether role `auto` may sign the path: delegated, and not taken by an operator's target."""
    if path in targets.targets or targets.delegations is None:
        return False
    roles = targets.delegations.roles or {}
    return AUTO in roles and roles[AUTO].is_delegated_path(path)


def new_snapshot(
    contents: dict[str, tuple[int, bytes]], version: int, expires: datetime
) -> Metadata[Snapshot]:
    """An unsigned snapshot over `{role: (version, bytes)}` of targets and, where held, auto."""
    meta = {f"{role}.json": meta_file(number, data) for role, (number, data) in contents.items()}
    return Metadata(Snapshot(version=version, expires=expires, meta=meta))


def new_timestamp(
    version: int, expires: datetime, snapshot: tuple[int, bytes]
) -> Metadata[Timestamp]:
    """An unsigned timestamp over a snapshot's version and bytes."""
    return Metadata(Timestamp(version=version, expires=expires, snapshot_meta=meta_file(*snapshot)))


def meta_file(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, len(data), {"sha256": sha256(data).hexdigest()})


def file_name(role: str, version: int) -> str:
    """Name of a published file; with consistent snapshots only `timestamp.json` has no number."""
    return f"{version}.{role}.json"


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)
