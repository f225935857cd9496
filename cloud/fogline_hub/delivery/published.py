"""The published folder as one verified state: what a client that follows the rules would see.

Read from `timestamp.json` downwards, so files of a publication that a crash cut short are not part
of it. Expiry is not looked at: an expired repository is still the one to go on from.
"""

from dataclasses import dataclass
from pathlib import Path

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from fogline.errors import Corrupt, NotFound, Untrusted
from fogline.trust import (
    AUTO,
    MAX_ROOT_BYTES,
    MAX_SNAPSHOT_BYTES,
    MAX_TARGETS_BYTES,
    MAX_TIMESTAMP_BYTES,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
)
from fogline_hub.delivery.metadata import (
    Target,
    describe,
    file_name,
    is_delegated,
    next_root,
    read,
    verify,
)

MAX_ROOTS = 1024
"""Most root versions that are followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A verified state of the repository."""

    root: Root
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    auto: Metadata[Targets] | None
    targets_bytes: bytes
    auto_bytes: bytes | None

    def find(self, path: str) -> Target | None:
        """What is signed for a path; an operator's word goes before that of `auto`."""
        if path in self.targets.signed.targets:
            return describe(self.targets.signed.targets[path], TARGETS)
        auto = self.auto.signed.targets if self.auto is not None else {}
        if path in auto and is_delegated(self.targets.signed, path):
            return describe(auto[path], AUTO)
        return None


def first_root(data: bytes, what: str) -> Root:
    """A root that is trusted by being held; it must at least be signed by its own keys."""
    root = read(Root, data, what)
    return verify(root.signed, ROOT, root, what).signed


def newest_root(trusted: Root, folder: Path) -> Root:
    """Follows the roots in `folder` as far as each is signed by the one before."""
    for _ in range(MAX_ROOTS):
        path = folder / file_name(ROOT, trusted.version + 1)
        if not path.exists():
            break
        trusted = next_root(trusted, _bounded(path, MAX_ROOT_BYTES))
    return trusted


def load_published(folder: Path, trusted: Root | None = None) -> Published:
    """Reads and verifies the current state.

    Args:
        folder: Where the metadata is published.
        trusted: The root to start from; the folder's own first root if None.

    Raises:
        NotFound: nothing is published there.
        Corrupt: a file is not what the one above it says.
        Untrusted: a signature is missing.
    """
    if trusted is None:
        trusted = first_root(_bounded(folder / file_name(ROOT, 1), MAX_ROOT_BYTES), "root 1")
    root = newest_root(trusted, folder)
    timestamp = read(
        Timestamp, _bounded(folder / f"{TIMESTAMP}.json", MAX_TIMESTAMP_BYTES), TIMESTAMP
    )
    verify(root, TIMESTAMP, timestamp, TIMESTAMP)
    meta = timestamp.signed.snapshot_meta
    data = _named(folder, SNAPSHOT, meta, MAX_SNAPSHOT_BYTES)
    snapshot = verify(root, SNAPSHOT, read(Snapshot, data, SNAPSHOT), SNAPSHOT)
    targets_bytes = _named(
        folder, TARGETS, snapshot.signed.meta[f"{TARGETS}.json"], MAX_TARGETS_BYTES
    )
    targets = verify(root, TARGETS, read(Targets, targets_bytes, TARGETS), TARGETS)
    auto_bytes, auto = None, None
    if (auto_meta := snapshot.signed.meta.get(f"{AUTO}.json")) is not None:
        auto_bytes = _named(folder, AUTO, auto_meta, MAX_TARGETS_BYTES)
        auto = read(Targets, auto_bytes, AUTO)
        if targets.signed.delegations is not None:
            verify(targets.signed, AUTO, auto, AUTO)
    return Published(
        root=root,
        timestamp=timestamp,
        snapshot=snapshot,
        targets=targets,
        auto=auto,
        targets_bytes=targets_bytes,
        auto_bytes=auto_bytes,
    )


def _named(folder: Path, role: str, meta: MetaFile, limit: int) -> bytes:
    name = file_name(role, meta.version)
    data = _bounded(folder / name, limit)
    try:
        meta.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as e:
        raise Untrusted(f"{name}: {e}") from e
    return data


def _bounded(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError as e:
        raise NotFound(f"no published metadata {path}; run `fogline hub init` first") from e
    if len(data) > limit:
        raise Corrupt(f"{path.name} is longer than {limit} bytes")
    return data
