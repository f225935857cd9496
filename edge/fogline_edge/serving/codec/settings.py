"""Parameters of a request that are plain numbers, read without protobuf.

22 <length> | 0a <length> <key> | 12 <length> | 10 (int64_param) or 28 (uint64_param) <varint>
"""

from fogline.errors import InvalidInput
from fogline_edge.serving.codec import parameters
from fogline_edge.serving.codec.fields import delimited

PARAMETERS_TAG = 0x22
_KEY_TAG, _VALUE_TAG = 0x0A, 0x12
_INT64, _UINT64 = 0x10, 0x28
_SHORT = 128
"""Lengths below this take one byte."""

_EVENT_TIME = parameters.EVENT_TIME.encode()
_TIMEOUT = parameters.TIMEOUT.encode()
_PRIORITY = parameters.PRIORITY.encode()
_KEYS = frozenset((_EVENT_TIME, _TIMEOUT, _PRIORITY))

_EVENT_SIZE = 8
"""Bytes of an event time from 1987 to 4253."""
_EVENT_LEAD = delimited(
    4, delimited(1, _EVENT_TIME) + delimited(2, bytes((_INT64,)) + bytes(_EVENT_SIZE))
)[:-_EVENT_SIZE]
"""What stands before one, where it is an int64_param."""
_EVENT_LEAD_SIZE = len(_EVENT_LEAD)

_MORE = 0x8080_8080_8080_8080
"""The bit of each byte of a varint that says that another one follows."""

Settings = tuple[int | None, float | None, int]
"""Event time, timeout and priority, as of a `Request`; no event time where there is none."""


def read_settings(message: bytes, at: int) -> tuple[int, Settings]:
    """Where the parameters that begin at `at` end, and what they say.

    Raises:
        InvalidInput: they are not all plain numbers of the ones known here, or cannot be right.
        IndexError: the message ends.
    """
    if message.startswith(_EVENT_LEAD, at):  # alone, in most messages that have any
        start = at + _EVENT_LEAD_SIZE
        end = start + _EVENT_SIZE
        if message[end] != PARAMETERS_TAG:
            return end, (parameters.check_event_us(_number(message[start:end])), None, 0)
    found: dict[bytes, int] = {}
    while message[at] == PARAMETERS_TAG:
        end = at + 2 + message[at + 1]
        value = at + 4 + message[at + 3]
        key = message[at + 4 : value]
        if (
            message[at + 1] >= _SHORT
            or message[at + 2] != _KEY_TAG
            or message[value] != _VALUE_TAG
            or message[value + 1] != end - value - 2
            or message[value + 2] not in (_INT64, _UINT64)
            or key not in _KEYS
        ):
            raise InvalidInput("a parameter of another form")
        found[key] = _number(message[value + 3 : end])
        at = end
    event_us = found.get(_EVENT_TIME)
    return at, (
        None if event_us is None else parameters.check_event_us(event_us),
        parameters.check_timeout(found.get(_TIMEOUT, 0)),
        parameters.check_priority(found.get(_PRIORITY, 0)),
    )


def _number(data: bytes) -> int:
    """The varint that `data` is: seven bits of each byte, moved together in three steps.

    Raises:
        InvalidInput: it is none, or has more than eight bytes.
    """
    size = len(data)
    bits = int.from_bytes(data, "little")
    if not 1 <= size <= 8 or bits & _MORE != _MORE & ((1 << 8 * (size - 1)) - 1):
        raise InvalidInput("a parameter of another form")
    bits &= 0x7F7F_7F7F_7F7F_7F7F
    bits = (bits & 0x007F_007F_007F_007F) | (bits & 0x7F00_7F00_7F00_7F00) >> 1
    bits = (bits & 0x0000_3FFF_0000_3FFF) | (bits & 0x3FFF_0000_3FFF_0000) >> 2
    return (bits & 0x0000_0000_0FFF_FFFF) | (bits & 0x0FFF_FFFF_0000_0000) >> 4
