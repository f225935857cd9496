"""What the signer signs, and what it refuses: its keys, its rules, no socket.

The other hub processes are not trusted with keys, so each rule is checked here again: generations
and versions not far ahead of the clock, lives bounded, retrained versions only where the offline
targets delegate them, with an approval, and not too often.
"""

import logging
import threading
from collections import deque
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from fogline.clock import Clock
from fogline.desired import DesiredState, target_path
from fogline.errors import Conflict, Corrupt, Exhausted, Forbidden, InvalidInput
from fogline.ids import check_id
from fogline.records import decode_json
from fogline.topics import MAX_PAYLOAD_BYTES, down
from fogline.trust import AUTO, SNAPSHOT, TIMESTAMP, parse_target_path
from fogline.wire.auth import derive_key, seal
from fogline.wire.fleet_pb2 import Desired, Signed
from fogline_hub.delivery.metadata import (
    APPROVAL,
    SIGNED_AT,
    describe,
    is_delegated,
    read,
)
from fogline_hub.delivery.published import Published, load_published
from fogline_hub.signer.approval import Approval
from fogline_hub.signer.bounds import MAX_SEALS, SignerBounds
from fogline_hub.signer.counter import Counter
from fogline_hub.signer.keys import Keys
from fogline_hub.signer.messages import SealItem

_log = logging.getLogger(__name__)
_DAY_S = 24 * 3600


class Desk:
    """The signer's core. Methods may be called from any thread."""

    def __init__(
        self,
        keys: Keys,
        *,
        root: Root,
        published: Path,
        counter: Counter,
        clock: Clock,
        bounds: SignerBounds | None = None,
    ) -> None:
        self._keys = keys
        self._root = root
        self._published = published
        self._counter = counter
        self._clock = clock
        self._bounds = bounds or SignerBounds()
        self._lock = threading.Lock()
        self._signed: dict[str, tuple[int, str]] = {}
        self._auto_signed: dict[str, int] = {}
        self._enrolled: deque[datetime] = deque(maxlen=self._bounds.enrolments_per_minute)

    # ------------------------------------------------------------- messages

    def seal(self, items: tuple[SealItem, ...]) -> tuple[bytes, ...]:
        """Seals bodies for `down/` topics, with growing counters.

        Raises:
            InvalidInput: a body, life or device id is out of bounds.
            Forbidden: a desired state's generation is too far ahead of the clock.
        """
        if len(items) > MAX_SEALS:
            raise Exhausted(f"{len(items)} messages to seal; one request takes {MAX_SEALS}")
        with self._lock:
            now = self._clock.now()
            for item in items:
                self._check_body(item, now)
            return tuple(self._seal_one(item, now) for item in items)

    def device_keys(self, device: str) -> tuple[bytes, bytes]:
        """A device's keys for messages up and down, 32 bytes each, for its enrolment.

        Raises:
            Exhausted: more were given out in the last minute than devices can be enrolled.
        """
        check_id(device, "device")
        with self._lock:
            now = self._clock.now()
            asked = self._enrolled
            if len(asked) == asked.maxlen and now - asked[0] < timedelta(minutes=1):
                raise Exhausted(f"over {asked.maxlen} enrolments in a minute; try again later")
            asked.append(now)
        return self.up_key(device), derive_key(self._keys.down, "down", device)

    def up_key(self, device: str) -> bytes:
        """The key that authenticates what a device sends; for who reads its messages."""
        return derive_key(self._keys.up, "up", check_id(device, "device"))

    def _check_body(self, item: SealItem, now: datetime) -> None:
        if not 1 <= item.ttl_s <= self._bounds.max_ttl_s:
            raise InvalidInput(
                f"a message's life of {item.ttl_s} s is not within 1 to {self._bounds.max_ttl_s}"
            )
        if len(item.body) > MAX_PAYLOAD_BYTES - 128:
            raise InvalidInput(
                f"a body of {len(item.body)} bytes does not fit a payload of {MAX_PAYLOAD_BYTES}"
            )
        if item.kind == "desired":
            self._check_desired(item, now)

    def _check_desired(self, item: SealItem, now: datetime) -> None:
        desired = Desired()
        try:
            desired.ParseFromString(item.body)
        except Exception as e:  # protobuf raises DecodeError, and ValueError on bad UTF-8
            raise InvalidInput("the body is not a Desired message") from e
        limit = int(now.timestamp()) + self._bounds.max_ahead_s
        if not 1 <= desired.generation <= limit:
            raise Forbidden(
                f"generation {desired.generation} of device {item.device} is more than "
                f"{self._bounds.max_ahead_s} s ahead of the clock; check this machine's time"
            )
        if desired.WhichOneof("where") != "document":
            return
        state = decode_json(desired.document, DesiredState, "desired state", fault=InvalidInput)
        if state.generation != desired.generation:
            raise InvalidInput("the document is of another generation than its message")
        if sha256(desired.document).hexdigest() != desired.digest:
            raise InvalidInput("the document does not have the digest that its message says")

    def _seal_one(self, item: SealItem, now: datetime) -> bytes:
        expires = int((now.timestamp() + item.ttl_s) * 1e6)
        message = Signed(body=item.body, counter=self._counter.next(), expires_us=expires)
        key = derive_key(self._keys.down, "down", item.device)
        return seal(message, key=key, direction="down", topic=down(item.device, item.kind))

    # ------------------------------------------------------------- metadata

    def sign_online(self, role: str, unsigned: bytes) -> bytes:
        """Signs snapshot or timestamp metadata.

        Raises:
            InvalidInput: another role, or a life or version out of bounds.
            Conflict: a later version, or another content of this one, was signed before.
            Corrupt: not metadata of that role.
        """
        metadata: Metadata[Snapshot] | Metadata[Timestamp]
        if role == SNAPSHOT:
            metadata, signer = read(Snapshot, unsigned, role), self._keys.snapshot
        elif role == TIMESTAMP:
            metadata, signer = read(Timestamp, unsigned, role), self._keys.timestamp
        else:
            raise InvalidInput(f"role {role[:40]!r} is not signed online")
        now = self._clock.now()
        version, content = metadata.signed.version, sha256(metadata.signed_bytes).hexdigest()
        if version > int(now.timestamp()) + self._bounds.max_ahead_s:
            raise InvalidInput(f"{role} version {version} is too far ahead of the clock")
        if metadata.signed.expires > now + timedelta(days=self._bounds.max_online_days):
            raise InvalidInput(f"{role} would hold over {self._bounds.max_online_days} days")
        with self._lock:
            last = self._signed.get(role, (0, ""))
            if version < last[0] or (version == last[0] and content != last[1]):
                raise Conflict(
                    f"{role} version {last[0]} was signed already, not signing {version}"
                )
            self._signed[role] = (version, content)
        metadata.sign(signer)
        return metadata.to_bytes()

    def sign_auto(self, approval: bytes) -> bytes:
        """The next `auto` metadata: the published one and the approved version.

        Raises:
            InvalidInput: not an approval.
            Forbidden: no operator delegated the model, the path is signed already for another
                manifest, or the approval is older than a day.
            Exhausted: as many versions of the model as a day allows were signed.
        """
        given = decode_json(approval, Approval, "approval", fault=InvalidInput)
        now = self._clock.now()
        age = (now - given.judged_at).total_seconds() if given.judged_at.tzinfo else None
        if age is None or not -60 <= age <= self._bounds.approval_age_s:
            raise Forbidden(
                f"the approval of {given.model}@{given.version} is not of the last "
                f"{self._bounds.approval_age_s} s; judge again"
            )
        path = target_path(given.model, given.version)
        parse_target_path(path)
        current = load_published(self._published, self._root)
        if not is_delegated(current.targets.signed, path):
            raise Forbidden(
                f"no operator lets the hub sign {path}; "
                "an operator must delegate the model first (fogline models --help)"
            )
        auto = self._auto_of(current)
        with self._lock:
            self._check_rate(auto, path, now)
            self._auto_signed[path] = int(now.timestamp())
        target = TargetFile(given.manifest_bytes, {"sha256": given.manifest}, path)
        target.unrecognized_fields["custom"] = {
            APPROVAL: sha256(approval).hexdigest(),
            SIGNED_AT: int(now.timestamp()),
        }
        if path in auto.targets and auto.targets[path].hashes != target.hashes:
            raise Forbidden(f"{path} is signed already, for another manifest")
        auto.targets[path] = target
        _log.info(
            "signed a retrained version",
            extra={"path": path, "approval": target.custom[APPROVAL], "by": given.by},
        )
        return self._signed_auto(auto, now)

    def renew_auto(self) -> bytes:
        """The published `auto` metadata with a new expiry; an empty one where there is none."""
        current = load_published(self._published, self._root)
        return self._signed_auto(self._auto_of(current), self._clock.now())

    def _auto_of(self, current: Published) -> Targets:
        if current.auto is None:
            return Targets(version=1, expires=self._clock.now().replace(microsecond=0))
        try:
            self._keys.auto.public_key.verify_signature(
                current.auto.signatures[self._keys.auto.public_key.keyid],
                current.auto.signed_bytes,
            )
        except (KeyError, UnverifiedSignatureError) as e:
            raise Corrupt("the published auto metadata is not of this signer") from e
        current.auto.signed.version += 1
        return current.auto.signed

    def _check_rate(self, auto: Targets, path: str, now: datetime) -> None:
        """Counts what is published and what this process signed: either may be wound back."""
        since = int(now.timestamp()) - _DAY_S
        signed = {p: describe(file, AUTO).signed_at for p, file in auto.targets.items()}
        self._auto_signed = {p: at for p, at in self._auto_signed.items() if at > since}
        recent = {p for p, at in (signed | self._auto_signed).items() if at > since} - {path}
        name, _ = parse_target_path(path)
        same = [p for p in recent if parse_target_path(p)[0] == name]
        if len(same) >= self._bounds.auto_per_day:
            raise Exhausted(
                f"{len(same)} retrained versions of {name} were signed in the last day, "
                f"at most {self._bounds.auto_per_day} are; an operator can push one"
            )

    def _signed_auto(self, auto: Targets, now: datetime) -> bytes:
        auto.expires = (now + timedelta(days=self._bounds.auto_days)).replace(microsecond=0)
        metadata = Metadata(auto)
        metadata.sign(self._keys.auto)
        return metadata.to_bytes()
