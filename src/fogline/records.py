"""Records that cross a boundary: configuration, manifests, HTTP bodies.

`Record` is the base of all of them: frozen, keyword-only, unknown keys refused. Decoding checks
types and bounds and returns a whole record or raises; nothing half-read ever leaves here.
Canonical JSON (sorted keys, no spaces, UTF-8, no NaN) is what digests and signatures are taken of.
"""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fogline.errors import Corrupt, InvalidInput

MAX_JSON_BYTES = 16 * 1024 * 1024
"""Longest JSON or TOML text that is decoded at all, in bytes."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen, checked record.

    Subclasses repeat `frozen=True, kw_only=True`: msgspec does not inherit the second, and type
    checkers do not see the first.
    """


R = TypeVar("R")


def decode_json(data: bytes, kind: type[R], what: str, *, fault: type[Exception] = Corrupt) -> R:
    """Reads one JSON text as a `kind`.

    Args:
        data: UTF-8 JSON, at most `MAX_JSON_BYTES`.
        kind: A `Record`, or any type that msgspec reads.
        what: What the text is, for the error.
        fault: The error to raise: `Corrupt` for stored data, `InvalidInput` for a caller's.

    Raises:
        Corrupt: (or `fault`) not JSON, not of the type, out of bounds, or an unknown key.
    """
    if len(data) > MAX_JSON_BYTES:
        raise fault(f"{what}: {len(data)} bytes of JSON, at most {MAX_JSON_BYTES} are read")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise fault(f"{what}: {e}") from e


def convert(value: Any, kind: type[R], what: str, *, fault: type[Exception] = InvalidInput) -> R:
    """Checks plain dicts, lists and scalars against `kind`; errors as `decode_json`."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.MsgspecError, RecursionError) as e:
        raise fault(f"{what}: {e}") from e


def canonical_json(value: object) -> bytes:
    """The one byte string of a value: keys sorted, no spaces, UTF-8."""
    return msgspec.json.encode(value, order="sorted")


def pretty_json(value: object) -> str:
    return msgspec.json.format(canonical_json(value), indent=2).decode()


def to_plain(value: object) -> Any:
    """Dicts, lists, strings and numbers of a record."""
    return msgspec.to_builtins(value, order="sorted")


def load_config(path: Path, kind: type[R]) -> R:
    """Reads a process's one configuration record from TOML; a missing file means all defaults.

    Raises:
        InvalidInput: not TOML, an unknown key, or a value of the wrong type or out of bounds;
            the text names the file and the key.
    """
    if not path.exists():
        return convert({}, kind, str(path))
    data = path.read_bytes()
    if len(data) > MAX_JSON_BYTES:
        raise InvalidInput(f"{path}: {len(data)} bytes of configuration, at most {MAX_JSON_BYTES}")
    try:
        return msgspec.toml.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise InvalidInput(f"{path}: {e}") from e
