"""The hub's signed repository: takes what operators and the signer signed, and publishes it.

Holds no key. A publication writes numbered files first and `timestamp.json` last, by rename, so a
crash at any point leaves the state before or the state after, and the next publication overwrites
what no timestamp names. Publications exclude each other across processes by a file lock.
"""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from fogline.clock import Clock, wait_until
from fogline.durable import write_durably
from fogline.errors import NotFound, Unavailable, Untrusted
from fogline.trust import AUTO, MAX_ROOT_BYTES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from fogline_hub.delivery.metadata import (
    Target,
    auto_models,
    file_name,
    new_snapshot,
    new_timestamp,
    read,
    verify,
)
from fogline_hub.delivery.policy import DeliveryBounds, check_size, check_update
from fogline_hub.delivery.published import Published, load_published

_log = logging.getLogger(__name__)


class OnlineSigner(Protocol):
    """Signs what the hub may sign by itself; the signer process, or its core at set-up."""

    def sign_online(self, role: str, unsigned: bytes) -> bytes:
        """Signs snapshot or timestamp metadata."""

    def sign_auto(self, approval: bytes) -> bytes:
        """The `auto` metadata with the approved version added."""

    def renew_auto(self) -> bytes:
        """The `auto` metadata with a new expiry; an empty one where there was none."""


class Repository:
    """One published repository. Methods may be called from any thread and process."""

    def __init__(
        self,
        folder: Path,
        online: OnlineSigner,
        clock: Clock,
        bounds: DeliveryBounds | None = None,
    ) -> None:
        self._folder = folder
        self._online = online
        self._clock = clock
        self._bounds = bounds or DeliveryBounds()

    # -------------------------------------------------------------- reading

    def file(self, name: str) -> Path:
        """The published file of that name, to be served under `fogline.trust.TUF_URL`.

        Raises:
            NotFound: there is none, or the name is not one of published metadata.
        """
        number, _, role = name.removesuffix(".json").rpartition(".")
        is_numbered = number.isascii() and number.isdigit() and len(number) <= 20
        known = is_numbered and role in (ROOT, TARGETS, SNAPSHOT, AUTO)
        path = self._folder / name
        if not name.endswith(".json") or not (known or name == "timestamp.json"):
            raise NotFound(f"{name[:80]!r} is not the name of signed metadata")
        if not path.is_file():
            raise NotFound(f"there is no metadata {name}")
        return path

    def root(self, digest: str = "") -> bytes:
        """The newest root, or the one with that SHA-256, as an older token names it.

        Raises:
            NotFound: there is none with that digest.
        """
        roots = sorted(self._folder.glob("*.root.json"), key=_number, reverse=True)
        for path in roots:
            data = path.read_bytes()
            if not digest or sha256(data).hexdigest() == digest:
                return data
        raise NotFound(f"no root with SHA-256 {digest[:64] or '(any)'}; was this hub made anew?")

    def current_targets(self) -> bytes:
        """The targets metadata to sign the next version on top of."""
        return load_published(self._folder).targets_bytes

    def target(self, path: str) -> Target | None:
        """What is signed for a target path, as a device would find it; None if nothing is."""
        return load_published(self._folder).find(path)

    def auto_models(self) -> tuple[str, ...]:
        """Models whose retrained versions the hub may sign by itself."""
        return auto_models(load_published(self._folder).targets.signed)

    # ----------------------------------------------------------- publishing

    def check_targets(self, proposed: bytes) -> tuple[Target, ...]:
        """What `publish_targets` would add; same errors, and nothing is written."""
        return self._checked(load_published(self._folder), proposed)[1]

    def publish_targets(self, proposed: bytes) -> tuple[Target, ...]:
        """Publishes targets metadata that operators signed; returns what it adds.

        Giving the current metadata again changes nothing and adds nothing.

        Raises:
            Corrupt: not targets metadata.
            Untrusted: not signed by enough of the root's targets keys, or it delegates `auto` to a
                key that the signer does not hold.
            Conflict: another version was published in between; sign again.
            InvalidInput, Unsupported, Exhausted: see `policy.check_update`.
            Unavailable: the signer or another publication took too long.
        """
        check_size(proposed)
        with self._lock():
            current = load_published(self._folder)
            if proposed == current.targets_bytes:
                return ()
            new, added = self._checked(current, proposed)
            changed = {TARGETS: (new.version, proposed)}
            if auto_models(new) and not _is_signed(new, current.auto):
                changed[AUTO] = self._signed_auto(new, self._online.renew_auto())
            self._publish(current, changed)
        return added

    def publish_auto(self, approval: bytes) -> Target:
        """Has the signer sign a retrained version, and publishes it.

        Args:
            approval: Canonical JSON of a `fogline_hub.signer.Approval`.

        Raises:
            Forbidden: no operator delegated this model, or the approval does not hold.
            Exhausted: more retrained versions than the signer signs in a day.
        """
        with self._lock():
            current = load_published(self._folder)
            data = self._online.sign_auto(approval)
            version = self._signed_auto(current.targets.signed, data)
            check_size(data)
            before = current.auto.signed.targets if current.auto is not None else {}
            after = read(Targets, data, AUTO).signed.targets
            self._publish(current, {AUTO: version})
            found = [load_published(self._folder).find(p) for p in after if p not in before]
        if len(found) != 1 or found[0] is None:
            raise Untrusted(f"{AUTO}: the signer added {len(found)} targets, not the one asked for")
        return found[0]

    def tick(self, now: datetime) -> bool:
        """Renews online metadata past half of its life; returns whether it did.

        To be called every few minutes and at start. Warns of offline metadata that runs out.
        """
        current = load_published(self._folder)
        self._warn(current, now)
        if not self._is_due(current, now):
            return False
        with self._lock():
            current = load_published(self._folder)
            changed = {}
            auto = current.auto
            half = timedelta(days=self._bounds.targets_days) / 2
            if auto is not None and auto.signed.expires - now < half:
                renewed = self._signed_auto(current.targets.signed, self._online.renew_auto())
                changed[AUTO] = renewed
            self._publish(current, changed)
        return True

    def _is_due(self, current: Published, now: datetime) -> bool:
        life = timedelta(hours=self._bounds.timestamp_hours)
        snapshot_life = timedelta(hours=self._bounds.snapshot_hours)
        return (
            current.timestamp.signed.expires - now < life / 2
            or current.snapshot.signed.expires - now < snapshot_life / 2
        )

    def _warn(self, current: Published, now: datetime) -> None:
        for role, expires in (
            (ROOT, current.root.expires),
            (TARGETS, current.targets.signed.expires),
        ):
            if expires - now < timedelta(days=30):
                _log.warning(
                    "offline metadata runs out; sign a new version",
                    extra={"role": role, "expires": expires.isoformat()},
                )

    def _checked(self, current: Published, proposed: bytes) -> tuple[Targets, tuple[Target, ...]]:
        check_size(proposed)
        new = read(Targets, proposed, TARGETS)
        verify(current.root, TARGETS, new, TARGETS)
        added = check_update(
            current.targets.signed, new, now=self._clock.now(), bounds=self._bounds
        )
        return new.signed, added

    def _signed_auto(self, targets: Targets, data: bytes) -> tuple[int, bytes]:
        auto = read(Targets, data, AUTO)
        if auto_models(targets):
            verify(targets, AUTO, auto, AUTO)
        return auto.signed.version, data

    def _publish(self, current: Published, changed: dict[str, tuple[int, bytes]]) -> None:
        held = {TARGETS: (current.targets.signed.version, current.targets_bytes)}
        if current.auto is not None and current.auto_bytes is not None:
            held[AUTO] = (current.auto.signed.version, current.auto_bytes)
        publish(
            self._folder,
            self._online,
            held | changed,
            now=self._clock.now(),
            bounds=self._bounds,
        )
        self._prune()

    def _prune(self) -> None:
        for role in (TARGETS, SNAPSHOT, AUTO):
            numbered = sorted(self._folder.glob(f"*.{role}.json"), key=_number)
            for path in numbered[: -self._bounds.keep_versions]:
                path.unlink(missing_ok=True)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._folder / ".lock").open("wb") as file:

            def is_taken() -> bool:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True

            if not wait_until(is_taken, timeout_s=self._bounds.lock_timeout_s):
                raise Unavailable("another publication still runs; try again")
            yield


def publish(
    folder: Path,
    online: OnlineSigner,
    contents: dict[str, tuple[int, bytes]],
    *,
    now: datetime,
    bounds: DeliveryBounds,
) -> None:
    """Writes a whole new state: `{role: (version, bytes)}` of targets and auto, and what is above.

    Snapshot and timestamp share one version, max(highest on disk + 1, Unix seconds): a hub that was
    restored from a backup is not refused for going back, and a number that a crash left behind is
    not signed twice.

    Args:
        folder: Where it is published; the caller holds its lock.
        online: Signs snapshot and timestamp.
        contents: Signed metadata that the new snapshot names.
        now: Aware UTC.
        bounds: Lives of snapshot and timestamp.
    """
    for role, (version, data) in contents.items():
        _write(folder / file_name(role, version), data)
    number = max(_highest(folder, SNAPSHOT) + 1, int(now.timestamp()))
    snapshot = new_snapshot(contents, number, _until(now, bounds.snapshot_hours))
    signed = online.sign_online(SNAPSHOT, snapshot.to_bytes())
    _write(folder / file_name(SNAPSHOT, number), signed)
    expires = _until(now, bounds.timestamp_hours)
    timestamp = new_timestamp(number, expires, (number, signed))
    data = online.sign_online(TIMESTAMP, timestamp.to_bytes())
    _check_online(folder, signed, data)
    write_durably(folder / f"{TIMESTAMP}.json", data, mode=0o644)


def _check_online(folder: Path, snapshot: bytes, timestamp: bytes) -> None:
    """A signer with another hub's keys is found out before anything is published."""
    newest = max(folder.glob("*.root.json"), key=_number, default=None)
    if newest is None or newest.stat().st_size > MAX_ROOT_BYTES:
        raise NotFound(f"no root in {folder}; run `fogline hub init` first")
    root = read(Root, newest.read_bytes(), ROOT).signed
    verify(root, SNAPSHOT, read(Snapshot, snapshot, SNAPSHOT), SNAPSHOT)
    verify(root, TIMESTAMP, read(Timestamp, timestamp, TIMESTAMP), TIMESTAMP)


def _write(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        write_durably(path, data, mode=0o644)


def _is_signed(targets: Targets, auto: Metadata[Targets] | None) -> bool:
    if auto is None:
        return False
    try:
        verify(targets, AUTO, auto, AUTO)
    except Untrusted:
        return False
    return True


def _until(now: datetime, hours: int) -> datetime:
    return (now + timedelta(hours=hours)).replace(microsecond=0)


def _highest(folder: Path, role: str) -> int:
    return max(map(_number, folder.glob(f"*.{role}.json")), default=0)


def _number(path: Path) -> int:
    head = path.name.partition(".")[0]
    return int(head) if head.isdigit() else 0
