"""What gRPC adds to HTTP/2: framing, status, timeouts, metadata, compression. Pure.

Source: `doc/PROTOCOL-HTTP2.md` of grpc/grpc, "gRPC over HTTP2", called "the specification" here.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from urllib.parse import quote_from_bytes

from fogline.errors import Exhausted, FoglineError, InvalidInput, Unsupported
from fogline.wire.status import Status, status_of

Headers = tuple[tuple[bytes, bytes], ...]

PREFIX_BYTES = 5
"""Before each message: one byte that says whether it is compressed, four of its length."""
MAX_DETAILS_BYTES = 2000
"""Longest error text; percent-encoded it must fit the 8 KiB of metadata that peers take."""
MAX_TIMEOUT_S = 10.0 * 365 * 86_400
"""A longer one is the same as none."""

_STATUS_200 = (b":status", b"200")
_CONTENT_TYPE = (b"content-type", b"application/grpc")
_ACCEPTS = (b"grpc-accept-encoding", b"identity,gzip")
RESPONSE = (_STATUS_200, _CONTENT_TYPE, _ACCEPTS)
RESPONSE_GZIP = (*RESPONSE, (b"grpc-encoding", b"gzip"))
OK_TRAILERS = ((b"grpc-status", b"0"),)

_UNIT_S = MappingProxyType({72: 3600.0, 77: 60.0, 83: 1.0, 109: 1e-3, 117: 1e-6, 110: 1e-9})
"""Seconds of each unit by its ASCII code: H M S m u n."""
_TIMEOUT = re.compile(rb"[0-9]{1,8}[HMSmun]")
_PLAIN = "".join(chr(c) for c in range(0x20, 0x7F) if c != 0x25)
"""What the specification leaves as it is in `grpc-message`; the rest is percent-encoded."""
_NO_METADATA = frozenset({b"te", b"content-type"})


def refusal_of(fields: Mapping[bytes, bytes]) -> bytes | None:
    """The HTTP status of a request that is not gRPC at all; None if it is."""
    if fields.get(b":method") != b"POST":
        return b"405"
    kind = fields.get(b"content-type", b"").lower()
    if kind == b"application/grpc" or kind.startswith((b"application/grpc+", b"application/grpc;")):
        return None
    return b"415"


def timeout_of(value: bytes) -> float | None:
    """Seconds of a `grpc-timeout`; None if it is too long to matter.

    Raises:
        InvalidInput: not one to eight digits and a unit.
    """
    if not _TIMEOUT.fullmatch(value):
        raise InvalidInput(
            f"grpc-timeout {value[:20]!r}: write one to eight digits and one of H M S m u n"
        )
    timeout_s = int(value[:-1]) * _UNIT_S[value[-1]]
    return timeout_s if timeout_s < MAX_TIMEOUT_S else None


def is_gzip(encoding: bytes | None) -> bool:
    """Whether messages of a call may be compressed.

    Raises:
        Unsupported: by something else than gzip.
    """
    if encoding is None or encoding == b"identity":
        return False
    if encoding == b"gzip":
        return True
    raise Unsupported(f"grpc-encoding {encoding[:40]!r} is not known; use identity or gzip")


def accepts_gzip(accepted: bytes | None) -> bool:
    return accepted is not None and b"gzip" in accepted.replace(b" ", b"").split(b",")


def metadata_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str | bytes]:
    """Custom metadata, as `Call.metadata` says.

    Raises:
        InvalidInput: a value of a `-bin` key is not base64.
    """
    pairs: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name[:1] != b":" and name not in _NO_METADATA and name[:5] != b"grpc-":
            key = name.decode("ascii")
            one = _binary(key, value) if key.endswith("-bin") else value.decode("latin-1")
            pairs.append((key, one))
    return join_metadata(pairs)


def join_metadata(pairs: Iterable[tuple[str, str | bytes]]) -> dict[str, str | bytes]:
    """One value a key: several are joined by commas. Leaves out what gRPC keeps for itself."""
    found: dict[str, str | bytes] = {}
    for key, value in pairs:
        if key.startswith("grpc-"):
            continue
        before = found.get(key)
        if isinstance(before, bytes) and isinstance(value, bytes):
            found[key] = before + b"," + value
        else:
            found[key] = value if before is None else f"{before!s},{value!s}"
    return found


def _binary(key: str, value: bytes) -> bytes:
    """Of base64 with or without its padding; a peer may join several by commas."""
    try:
        parts = (p.strip() for p in value.split(b","))
        return b",".join(base64.b64decode(p + b"=" * (-len(p) % 4), validate=True) for p in parts)
    except binascii.Error:
        raise InvalidInput(f"metadata {key!r} is not base64") from None


def prefix(message: bytes, *, compressed: bool = False) -> bytes:
    return (b"\1" if compressed else b"\0") + len(message).to_bytes(4, "big")


def check_length(length: int, limit: int) -> None:
    """Raises `Exhausted` for a message longer than the bound, in bytes."""
    if length > limit:
        raise Exhausted(f"the request has {length} bytes, at most {limit} are taken")


def compress(message: bytes) -> bytes:
    deflater = zlib.compressobj(1, zlib.DEFLATED, 31)
    return deflater.compress(message) + deflater.flush()


def decompress(data: bytes, limit: int) -> bytes:
    """One gzip member.

    Never makes more than `limit` + 1 bytes, whatever the data would become.

    Raises:
        FoglineError: (INTERNAL, as the specification wants) not one whole gzip member.
        Exhausted: it becomes longer than `limit` bytes.
    """
    inflater = zlib.decompressobj(31)
    try:
        message = inflater.decompress(data, limit + 1)
    except zlib.error as e:
        raise FoglineError(f"the request is not gzip ({e})") from None
    if len(message) > limit:
        raise Exhausted(f"the request becomes longer than {limit} bytes")
    if not inflater.eof or inflater.unused_data:
        raise FoglineError("the request is not one whole gzip stream")
    return message


def message_of(data: bytes, flag: int, *, gzip: bool, limit: int) -> bytes:
    """A message behind its prefix.

    Raises:
        FoglineError: (INTERNAL) the flag says compressed and the headers do not, or is unknown.
        FoglineError, Exhausted: as `decompress`.
    """
    if flag == 0:
        return data
    if flag != 1:
        raise FoglineError(f"the message's first byte is {flag}; only 0 and 1 are known")
    if not gzip:
        raise FoglineError("a compressed message came without grpc-encoding")
    return decompress(data, limit)


def trailers_of(error: FoglineError) -> tuple[tuple[bytes, bytes], ...]:
    """Status and text of an error."""
    return status_trailers(status_of(error), str(error))


def details_of(text: str) -> str:
    """An error's text, as long as peers take it."""
    return text.encode(errors="replace")[:MAX_DETAILS_BYTES].decode(errors="ignore")


def status_trailers(status: Status, text: str) -> tuple[tuple[bytes, bytes], ...]:
    code = (b"grpc-status", b"%d" % status)
    message = quote_from_bytes(details_of(text).encode(), safe=_PLAIN).encode()
    return (code, (b"grpc-message", message))
