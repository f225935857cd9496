"""The wire format of protobuf, as far as it is read and written without protobuf.

A message is fields, each a tag (number and wire type, a varint) and its value; the order of fields
is free and all serialisers write them by ascending number. Source: protobuf's "Encoding" guide.
"""

from collections.abc import Iterator
from typing import NamedTuple

from fogline.errors import InvalidInput

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; groups (3, 4) are in no message of this protocol."""

MAX_VARINT = 10
"""Bytes of the longest varint."""


MAX_FIELDS = 65_536
"""Of one message, those of its tensors included: four times what the largest schema needs. Each
takes about a microsecond."""


def varint(value: int) -> bytes:
    """The bytes of a number from 0 to 2**64 - 1."""
    if value < 128:
        return bytes((value,))
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def tag(number: int) -> bytes:
    """The tag of a field of bytes."""
    return varint(number << 3 | BYTES)


def delimited(number: int, data: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return b"".join((tag(number), varint(len(data)), data))


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint at `at`: (value, where it ends).

    Raises:
        InvalidInput: it does not end within the data or its longest form.
    """
    value = shift = 0
    for end in range(at, min(at + MAX_VARINT, len(data))):
        byte = data[end]
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFF_FFFF_FFFF_FFFF, end + 1
        shift += 7
    raise InvalidInput("a varint does not end")


class Span(NamedTuple):
    """Where a field of a message stands."""

    number: int
    kind: int
    """Its wire type."""
    start: int
    """Where its tag begins."""
    value: int
    """Where its value begins, behind the length if it has one."""
    end: int


def scan(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Span]:
    """The fields of a message in their order; their contents are not looked at.

    Args:
        data: What holds the message.
        start: Where it begins.
        end: Where it ends; None for the end of the data.

    Raises:
        InvalidInput: the data is no message, has groups, or more than `MAX_FIELDS` fields.
    """
    limit = len(data) if end is None else end
    at = start
    count = 0
    while at < limit:
        begin = at
        key, value = read_varint(data, begin)
        kind = key & 7
        if kind == BYTES:
            length, value = read_varint(data, value)
            at = value + length
        elif kind == VARINT:
            _, at = read_varint(data, value)
        elif kind in (FIXED32, FIXED64):
            at = value + (4 if kind == FIXED32 else 8)
        else:
            raise InvalidInput(f"a field has wire type {kind}")
        count += 1
        if at > limit or count > MAX_FIELDS:
            raise InvalidInput(
                "a field does not end" if at > limit else f"more than {MAX_FIELDS} fields"
            )
        yield Span(key >> 3, kind, begin, value, at)
