"""Prediction ids: what a later outcome needs, carried by the application instead of stored.

An id is base64url of 42, 45 or 48 bytes, so of at most 64 characters and never padded:

    1   layout version (high four bits), bits of each carried prediction (low four; 0: none carried)
    6   model key: BLAKE2b-48 of the model's name
    4   model version
    8   event time, Unix microseconds
    4   rows of the request
    6   a serial number, counting from a random start in each process
    1   or 4 or 7, as few as hold them: predicted classes of the first row, the second ..., `bits`
        each, the first in the lowest bits, as one little-endian number; 0 where all rows do not fit
    12  keyed BLAKE2b-96 of all bytes before it

Numbers are big-endian. The key never leaves the device, so nobody else can make an id (2^-96 a
try), and an id is only ever as old as the key (docs/decisions/0004-prediction-ids.md).
"""

import hashlib
import hmac
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, count, pairwise
from pathlib import Path

from fogline.durable import write_durably
from fogline.errors import Corrupt, InvalidInput

KEY_BYTES = 32
MODEL_KEY_BYTES = 6
MAX_CHARS = 64
MAX_PREDICTION_BITS = 56

_LAYOUT = 2
_HEAD = struct.Struct(">B6sIQIHIB")
"""Up to the carried classes' lowest byte; the serial number in two parts."""
_VERSION = struct.Struct(">B6sI")
_REQUEST = struct.Struct(f">{_VERSION.size}sQIHIB")
_MAC_BYTES = 12
_SHORT_CHARS = (_HEAD.size + _MAC_BYTES) * 4 // 3
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_MAX_BITS = 15


@dataclass(frozen=True, slots=True)
class PredictionId:
    """What an id says.

    Attributes:
        model_key: See `model_key`.
        version: The model's version.
        event_us: Event time of the prediction, Unix microseconds.
        rows: Rows of the request.
        classes: Predicted class of each row, by its place among the labels, `len(labels)` for one
            that is none of them; empty where they are not carried.
        mac: The id's authentication code, unique to it.
    """

    model_key: bytes
    version: int
    event_us: int
    rows: int
    classes: tuple[int, ...]
    mac: bytes


def model_key(name: str) -> bytes:
    """The six bytes by which ids name a model."""
    return hashlib.blake2b(name.encode(), digest_size=MODEL_KEY_BYTES).digest()


def prediction_bits(labels: int) -> int:
    """Bits that one predicted class among `labels` takes; 0 where it is not carried.

    >>> [prediction_bits(n) for n in (0, 2, 3, 10, 100, 40_000)]
    [0, 2, 2, 4, 7, 0]
    """
    bits = labels.bit_length()
    return bits if bits <= _MAX_BITS else 0


class IdHead:
    """What the ids of one model version begin with.

    Args:
        key: Of the model, see `model_key`.
        version: Of the model.
        labels: How many classes it tells apart; 0 for a model that predicts none.
    """

    __slots__ = ("bits", "carrying", "plain")

    def __init__(self, key: bytes, version: int, labels: int) -> None:
        self.bits = prediction_bits(labels)
        self.carrying = _VERSION.pack(_LAYOUT << 4 | self.bits, key, version)
        self.plain = _VERSION.pack(_LAYOUT << 4, key, version)


class PredictionIds:
    """Makes and reads the ids of one device. Safe for use by several threads.

    Args:
        key: The device's secret, 32 bytes.
        start: First serial number; random unless given.
    """

    def __init__(self, key: bytes, start: int | None = None) -> None:
        self._keyed = hashlib.blake2b(digest_size=_MAC_BYTES, key=key)
        self._serial = count(secrets.randbits(47) if start is None else start)

    def make(
        self,
        head: IdHead,
        event_us: Sequence[int],
        rows: Sequence[int],
        classes: Sequence[int],
    ) -> list[str]:
        """The ids of requests that were answered together.

        Args:
            head: Of the version that answered.
            event_us: Event time of each request, Unix microseconds.
            rows: Rows of each request.
            classes: Predicted class of each row, those of the first request first; or none.
        """
        keyed = self._keyed.copy
        parts: list[bytes] = []
        add = parts.append
        for body in self._bodies(head, event_us, rows, classes):
            code = keyed()  # the key's own block is hashed once, not for each id
            code.update(body)
            add(body)
            add(code.digest())
        # Each id's length divides by three, so all are written as base64 in one go.
        text = b2a_base64(b"".join(parts), newline=False).translate(_URL_SAFE).decode("ascii")
        if len(text) == _SHORT_CHARS * len(rows):
            return [text[at : at + _SHORT_CHARS] for at in range(0, len(text), _SHORT_CHARS)]
        ends = accumulate(((len(b) + _MAC_BYTES) * 4 // 3 for b in parts[::2]), initial=0)
        return [text[start:end] for start, end in pairwise(ends)]

    def _bodies(
        self,
        head: IdHead,
        event_us: Sequence[int],
        rows: Sequence[int],
        classes: Sequence[int],
    ) -> list[bytes]:
        """What stands before the codes."""
        pack = _REQUEST.pack
        bits = head.bits if classes else 0
        bodies = []
        row = 0
        for when, taken, serial in zip(event_us, rows, self._serial, strict=False):
            high, low = serial >> 32, serial & 0xFFFFFFFF
            if taken == 1 and 0 < bits <= 8:  # as most requests are
                bodies.append(pack(head.carrying, when, 1, high, low, classes[row]))
            elif 0 < bits * taken <= MAX_PREDICTION_BITS:
                number = 0
                for place in reversed(classes[row : row + taken]):
                    number = number << bits | place
                body = pack(head.carrying, when, taken, high, low, number & 0xFF)
                if bits * taken > 8:
                    number >>= 8
                    body += number.to_bytes(3 if bits * taken <= 32 else 6, "little")
                bodies.append(body)
            else:
                bodies.append(pack(head.plain, when, taken, high, low, 0))
            row += taken
        return bodies

    def read(self, text: str) -> PredictionId:
        """What `text` says.

        Raises:
            InvalidInput: it is no id, or not one of this device; the text is not repeated.
        """
        if not 1 <= len(text) <= MAX_CHARS:
            raise InvalidInput(f"a prediction id of {len(text)} characters; they have 1 to 64")
        try:
            data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        except (Base64Error, ValueError) as e:
            raise InvalidInput("the prediction id is not base64url; send it as it came") from e
        body, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
        # One text an id, because "once" is judged by the value: the decoder skips other characters.
        is_canonical = urlsafe_b64encode(data).rstrip(b"=").decode() == text
        if not is_canonical or not hmac.compare_digest(self._code(body), mac):
            raise InvalidInput(
                "the prediction id is not one of this device, or was changed; send the response "
                "parameter prediction_id as it came, to the device that answered"
            )
        return _unpacked(body, mac)

    def _code(self, body: bytes) -> bytes:
        code = self._keyed.copy()
        code.update(body)
        return code.digest()


def _unpacked(body: bytes, mac: bytes) -> PredictionId:
    layout = body[0] if body else 0
    if layout >> 4 != _LAYOUT:
        raise InvalidInput(
            f"the prediction id has layout {layout >> 4}, this build reads {_LAYOUT}"
        )
    _, key, version, event_us, rows, _, _, _ = _HEAD.unpack_from(body)
    bits = layout & _MAX_BITS
    number = int.from_bytes(body[_HEAD.size - 1 :], "little")
    classes = tuple(number >> i * bits & (1 << bits) - 1 for i in range(rows)) if bits else ()
    return PredictionId(key, version, event_us, rows, classes, mac)


def load_id_key(path: Path) -> bytes:
    """The device's key in the file `path` (0600), made at the first call.

    Raises:
        Corrupt: the file does not hold 32 bytes.
    """
    if not path.exists():
        write_durably(path, secrets.token_bytes(KEY_BYTES))
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise Corrupt(
            f"{path}: {len(key)} bytes, not {KEY_BYTES}; removing it makes a new key, and outcomes "
            "of earlier predictions are then refused"
        )
    return key
