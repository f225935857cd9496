"""Identifiers and references: what a legal one looks like, and where new ones come from."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from fogline.errors import InvalidInput

IdSource = Callable[[], str]
"""Gives a new unguessable identifier at each call; tests pass a counter."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def random_id() -> str:
    """128 random bits as 32 lower-case hexadecimal digits."""
    return secrets.token_hex(16)


def check_id(value: str, what: str) -> str:
    """Returns `value` if it can stand in a topic level.

    Raises:
        InvalidInput: it has other characters than `A-Za-z0-9_-`, or not 1 to 64 of them.
    """
    if not _ID.fullmatch(value):
        raise InvalidInput(f"{what} {value[:80]!r} must be 1 to 64 of A-Z a-z 0-9 _ -")
    return value


def check_name(value: str, what: str) -> str:
    """Returns `value` if it can name a model, group, device or alias.

    Raises:
        InvalidInput: it does not start with a letter or digit, or goes beyond `A-Za-z0-9._-`
            or 63 characters.
    """
    if not _NAME.fullmatch(value):
        raise InvalidInput(
            f"{what} {value[:80]!r} must start with a letter or digit "
            "and hold at most 63 of A-Z a-z 0-9 . _ -"
        )
    return value


def shard_of(device: str) -> int:
    """The ingest shard, 0 to 15, of a device id; fixed for the device's life."""
    return sha256(device.encode()).digest()[0] & 15


@dataclass(frozen=True, slots=True)
class ModelRef:
    """`NAME@3` or `NAME@alias`; exactly one of `version` and `alias` is set."""

    name: str
    version: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.version if self.alias is None else self.alias}"


def parse_ref(text: str) -> ModelRef:
    """Reads `NAME@VERSION` or `NAME@ALIAS`.

    Raises:
        InvalidInput: there is no `@`, or a part is not a legal name.
    """
    name, at, tail = text.partition("@")
    if not at or not tail:
        raise InvalidInput(f"{text[:80]!r} is not a model reference; write NAME@3 or NAME@champion")
    check_name(name, "model name")
    if tail.isascii() and tail.isdigit() and len(tail) <= 9:
        return ModelRef(name, version=int(tail))
    return ModelRef(name, alias=check_name(tail, "alias"))
