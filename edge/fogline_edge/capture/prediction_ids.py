"""Prediction ids: what a later outcome needs, carried by the application instead of stored.

An id is base64url of at most 48 bytes, so at most 64 characters:

    1   layout version (high four bits), bits of each carried prediction (low four; 0: none carried)
    6   model key: BLAKE2b-48 of the model's name
    4   model version
    8   event time, Unix microseconds
    4   rows of the request
    6   a serial number, counting from a random start in each process
    0-7 predicted classes of the first row, the second ..., `bits` each, the first in the lowest
        bits, as one little-endian number; absent where all rows do not fit
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
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from fogline.durable import write_durably
from fogline.errors import Corrupt, InvalidInput

KEY_BYTES = 32
MODEL_KEY_BYTES = 6
MAX_CHARS = 64
MAX_PREDICTION_BITS = 56

_LAYOUT = 1
_HEAD = struct.Struct(">B6sIQI6s")
_MAC_BYTES = 12
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
        self, key: bytes, version: int, event_us: int, rows: int, classes: Sequence[int], bits: int
    ) -> str:
        """The id of one answered request.

        Args:
            key: Of the model, see `model_key`.
            version: Of the model.
            event_us: Event time, Unix microseconds.
            rows: Rows of the request.
            classes: Predicted class of each row, or none.
            bits: See `prediction_bits`.
        """
        carried = b""
        if not classes or not bits or bits * rows > MAX_PREDICTION_BITS:
            bits = 0
        else:
            number = 0
            for i, place in enumerate(classes):
                number |= place << i * bits
            carried = number.to_bytes((bits * rows + 7) // 8, "little")
        serial = next(self._serial).to_bytes(6, "big")
        body = _HEAD.pack(_LAYOUT << 4 | bits, key, version, event_us, rows, serial) + carried
        return urlsafe_b64encode(body + self._code(body)).rstrip(b"=").decode()

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
        # One text an id: base64 has several for one value, and "once" is judged by the value.
        is_canonical = urlsafe_b64encode(data).rstrip(b"=").decode() == text
        if not is_canonical or not hmac.compare_digest(self._code(body), mac):
            raise InvalidInput(
                "the prediction id is not one of this device, or was changed; send the response "
                "parameter prediction_id as it came, to the device that answered"
            )
        return _unpacked(body, mac)

    def _code(self, body: bytes) -> bytes:
        code = self._keyed.copy()  # the key's own block is hashed once, not for each id
        code.update(body)
        return code.digest()


def _unpacked(body: bytes, mac: bytes) -> PredictionId:
    layout, key, version, event_us, rows, _ = _HEAD.unpack_from(body)
    if layout >> 4 != _LAYOUT:
        raise InvalidInput(f"the prediction id has layout {layout >> 4}, this build reads 1")
    bits = layout & _MAX_BITS
    number = int.from_bytes(body[_HEAD.size :], "little")
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
