"""One message from a device: read, authenticated and identified, its body still closed."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from fogline.errors import Corrupt, InvalidInput
from fogline.ids import check_id
from fogline.topics import MAX_PAYLOAD_BYTES, parse_up
from fogline.wire.auth import unseal
from fogline.wire.fleet_pb2 import Log
from fogline_hub.lake import MAX_SEQ, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What one authenticated message says; `source` and `seq` identify it for ever."""

    source: Source
    seq: int
    floor: int
    """The lowest number that the device still holds: 1 to `seq`."""
    body: bytes
    body_digest: int
    """First 8 bytes of the body's SHA-256, as a signed integer."""
    received_at: datetime


class KeyRing:
    """Keys that authenticate what devices send, asked for once and kept while they are used."""

    def __init__(self, ask: Callable[[str], bytes], limit: int) -> None:
        self._ask = ask
        self._limit = limit
        self._keys: OrderedDict[str, bytes] = OrderedDict()

    def key(self, device: str) -> bytes:
        """Raises: Unavailable: the signer does not answer."""
        key = self._keys.pop(device, None)
        if key is None:
            key = self._ask(device)
        self._keys[device] = key
        if len(self._keys) > self._limit:
            self._keys.popitem(last=False)
        return key


def read_message(topic: str, payload: bytes, keys: KeyRing, received_at: datetime) -> Received:
    """Reads one published message; its device is the topic's, which the broker enforces.

    Raises:
        Untrusted: the code is not made with the device's key for this topic and content.
        Corrupt: no `Log` on a topic of one, or one that cannot be identified.
        Unavailable: the device's key cannot be had now.
    """
    place = parse_up(topic)
    if not place.stream:
        raise Corrupt(f"{topic}: not a log topic")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Corrupt(f"{topic}: {len(payload)} bytes, at most {MAX_PAYLOAD_BYTES} are read")
    log = unseal(Log, payload, key=keys.key(place.device), direction="up", topic=topic)
    if log.stream != place.stream:
        raise Corrupt(f"{topic}: the message is of stream {log.stream[:40]!r}")
    try:
        check_id(log.outbox_id, "outbox id")
    except InvalidInput as e:
        raise Corrupt(f"{topic}: {e}") from e
    if not 1 <= log.floor <= log.seq <= MAX_SEQ:
        raise Corrupt(f"{topic}: seq {log.seq} with floor {log.floor}")
    return Received(
        source=Source(place.device, log.outbox_id, place.stream),
        seq=log.seq,
        floor=log.floor,
        body=log.body,
        body_digest=digest_of(log.body),
        received_at=received_at,
    )


def digest_of(body: bytes) -> int:
    return int.from_bytes(sha256(body).digest()[:8], "big", signed=True)
