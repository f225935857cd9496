"""What is said on the signer's socket: MessagePack records, each after its length.

Four bytes of length, big-endian, then one record with a `type` tag. An answer follows each request
in order.
"""

import socket
import struct
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from fogline.errors import Corrupt, Unavailable
from fogline.records import Record
from fogline_hub.signer.bounds import MAX_FRAME_BYTES, MAX_SEALS

Kind = Literal["desired", "ack", "cmd"]
Device = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]

T = TypeVar("T")
_HEAD = struct.Struct(">I")


class SealItem(Record, frozen=True, kw_only=True):
    """One body to be sealed for `down/<device>/<kind>`."""

    device: Device
    kind: Kind
    body: bytes
    ttl_s: float


class Seal(Record, frozen=True, kw_only=True, tag="seal"):
    items: Annotated[tuple[SealItem, ...], Meta(max_length=MAX_SEALS)]


class AskDeviceKeys(Record, frozen=True, kw_only=True, tag="device_keys"):
    device: Device


class AskUpKey(Record, frozen=True, kw_only=True, tag="up_key"):
    device: Device


class SignOnline(Record, frozen=True, kw_only=True, tag="sign_online"):
    role: str
    unsigned: bytes


class SignAuto(Record, frozen=True, kw_only=True, tag="sign_auto"):
    approval: bytes


class RenewAuto(Record, frozen=True, kw_only=True, tag="renew_auto"):
    pass


Request = Seal | AskDeviceKeys | AskUpKey | SignOnline | SignAuto | RenewAuto


class DeviceKeys(Record, frozen=True, kw_only=True, tag="keys"):
    """A device's two message keys, 32 bytes each."""

    up: bytes
    down: bytes

    def __repr__(self) -> str:
        return "DeviceKeys(…)"


class Payloads(Record, frozen=True, kw_only=True, tag="payloads"):
    payloads: tuple[bytes, ...]


class Data(Record, frozen=True, kw_only=True, tag="data"):
    data: bytes


class Failed(Record, frozen=True, kw_only=True, tag="failed"):
    """The request was refused; `fault` is the name of a class of `fogline.errors`."""

    fault: str
    text: str


Answer = Payloads | DeviceKeys | Data | Failed


def send(connection: socket.socket, message: Request | Answer) -> None:
    """Sends one record.

    Raises:
        OSError: the peer is gone or does not read.
    """
    data = msgspec.msgpack.encode(message)
    if len(data) > MAX_FRAME_BYTES:
        raise Corrupt(f"a message of {len(data)} bytes; at most {MAX_FRAME_BYTES} are sent")
    connection.sendall(_HEAD.pack(len(data)) + data)


def receive_frame(connection: socket.socket, timeout_s: float) -> bytes | None:
    """One record's bytes; None if the peer closed between two.

    Waits for the first byte as long as the socket's own timeout says, then `timeout_s` a read.

    Raises:
        Corrupt: the length is out of bounds.
        Unavailable: the peer closed within a record.
        OSError: the connection failed, or a read took longer than `timeout_s`.
    """
    first = connection.recv(1)
    if not first:
        return None
    before = connection.gettimeout()
    connection.settimeout(timeout_s)
    try:
        (length,) = _HEAD.unpack(first + _exactly(connection, _HEAD.size - 1))
        if length > MAX_FRAME_BYTES:
            raise Corrupt(f"a message of {length} bytes; at most {MAX_FRAME_BYTES} are read")
        return _exactly(connection, length)
    finally:
        connection.settimeout(before)


def decode_request(data: bytes) -> Request:
    """Raises: Corrupt: not a request."""
    return _decode(data, Request)  # type: ignore[arg-type]


def decode_answer(data: bytes) -> Answer:
    """Raises: Corrupt: not an answer."""
    return _decode(data, Answer)  # type: ignore[arg-type]


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Corrupt(f"on the signer's socket: {e}") from e


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts: list[bytes] = []
    while count > 0:
        part = connection.recv(min(count, 1 << 18))
        if not part:
            raise Unavailable("the peer closed the signer's socket within a message")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
