"""Authentication codes over MQTT messages, end to end: the broker is not trusted.

HMAC-SHA256 (RFC 2104) over direction, topic and the deterministic serialization of the message
with its `mac` field cleared. Each device has two keys, one a direction, so a code made for one can
never pass for the other; the topic in the code stops a message for one device, stream or kind from
being replayed on another. Replay on the same topic is stopped by `Signed.counter` downwards, and
upwards by (outbox, stream, seq), which makes a repeated row the same row.

A symmetric code, not a signature: only the hub's signer and the one device hold the key, so a
stolen device can forge messages to itself alone, and the agent needs no cryptography package
(docs/decisions/0003).
"""

import hashlib
import hmac
from typing import TypeVar

from fogline.errors import Corrupt, Untrusted
from fogline.wire.fleet_pb2 import Log, Reported, Signed

MAC_BYTES = 32


M = TypeVar("M", Log, Reported, Signed)


def derive_key(master: bytes, direction: str, device: str) -> bytes:
    """The device's key of a direction ("up" or "down"): HMAC-SHA256(master, direction/device)."""
    return hmac.new(master, f"fogline/1/{direction}/{device}".encode(), hashlib.sha256).digest()


def seal(message: M, *, key: bytes, direction: str, topic: str) -> bytes:
    """Sets the message's `mac` and returns the bytes to publish on `topic`."""
    message.mac = _code(message, key, direction, topic)
    return message.SerializeToString(deterministic=True)


def unseal(kind: type[M], payload: bytes, *, key: bytes, direction: str, topic: str) -> M:
    """Reads and authenticates a received payload.

    Raises:
        Corrupt: the bytes are no such message.
        Untrusted: the code does not match key, direction, topic and content.
    """
    message = kind()
    try:
        message.ParseFromString(payload)
    except Exception as e:  # protobuf raises DecodeError, and ValueError on bad UTF-8
        raise Corrupt(f"{topic}: not a {kind.DESCRIPTOR.name} message") from e
    claimed = message.mac
    if not hmac.compare_digest(claimed, _code(message, key, direction, topic)):
        raise Untrusted(f"{topic}: the authentication code does not match")
    message.mac = claimed
    return message


def _code(message: M, key: bytes, direction: str, topic: str) -> bytes:
    message.ClearField("mac")
    content = message.SerializeToString(deterministic=True)
    return hmac.new(key, f"{direction}\0{topic}\0".encode() + content, hashlib.sha256).digest()
