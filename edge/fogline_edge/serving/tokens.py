"""Tokens of local applications: a file of their digests, and what each may do.

A token is a random secret that only its application holds; the server keeps its SHA-256. So the
file gives nobody a token, but it does give rights to whoever writes it, hence its mode. Digests
are not salted or stretched: nothing shorter than `MIN_TOKEN_CHARS` is ever taken for a token, and
random secrets of that length cannot be searched.
"""

import hashlib
import hmac
import os
import stat
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from fogline.errors import Forbidden, InvalidInput, NotFound
from fogline.records import Record

MIN_TOKEN_CHARS = 32
"""Shorter ones could be guessed from their digest."""
MAX_TOKEN_CHARS = 256
MAX_TOKENS = 64
"""Most tokens in one file; every one of them is compared with what a caller sends."""
MAX_FILE_BYTES = 64 * 1024

_SCHEME = "bearer "


class Right(StrEnum):
    """What a method asks of its caller."""

    READ = "read"
    """Health, metadata, configuration, statistics, reflection."""
    INFER = "infer"
    FEEDBACK = "feedback"
    REPOSITORY = "repository"
    """List, load and unload models."""
    MEMORY = "memory"
    """Register shared memory."""
    SETTINGS = "settings"


class Token(Record, frozen=True, kw_only=True):
    """One application's token."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    """Who holds it, for the operator."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """Of the token's characters, in lower-case hexadecimal digits."""
    rights: Annotated[frozenset[Right], Meta(min_length=1)]
    expires: Annotated[datetime, Meta(tz=True)] | None = None
    """From when on it is worthless, with its time zone; None: never."""


class TokenFile(Record, frozen=True, kw_only=True):
    tokens: Annotated[tuple[Token, ...], Meta(max_length=MAX_TOKENS)] = ()

    def __post_init__(self) -> None:
        for key in ("name", "sha256"):
            values = [getattr(t, key) for t in self.tokens]
            if len(set(values)) != len(values):
                raise ValueError(f"two tokens have the same {key}")


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Reads a file of tokens, TOML: a table `[[tokens]]` for each.

    Raises:
        NotFound: no such file.
        Forbidden: somebody else owns it, or can read or write it.
        InvalidInput: it is no such file.
    """
    data = _read_private(path)
    try:
        return msgspec.toml.decode(data, type=TokenFile).tokens
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise InvalidInput(f"{path}: {e}") from e


def holder_of(authorization: str | bytes, tokens: tuple[Token, ...], now: datetime) -> Token:
    """The token that the metadata `authorization: Bearer TOKEN` holds.

    Takes the same time whichever token it is, or none.

    Raises:
        Forbidden: it is not in that form, not known, or has expired.
    """
    text = authorization if isinstance(authorization, str) else ""
    secret = text[len(_SCHEME) :]
    if (
        text[: len(_SCHEME)].lower() != _SCHEME
        or not secret.isascii()
        or not MIN_TOKEN_CHARS <= len(secret) <= MAX_TOKEN_CHARS
    ):
        raise Forbidden(
            "the metadata 'authorization' must be 'Bearer TOKEN' with a token of "
            f"{MIN_TOKEN_CHARS} to {MAX_TOKEN_CHARS} characters"
        )
    digest = hashlib.sha256(secret.encode()).hexdigest()
    found = None
    for token in tokens:
        if hmac.compare_digest(token.sha256, digest):
            found = token
    if found is None:
        raise Forbidden("the token is not known here")
    if found.expires is not None and found.expires <= now:
        raise Forbidden(f"the token of {found.name!r} has expired")
    return found


def _read_private(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file") from None
    except OSError as e:
        raise InvalidInput(f"{path}: cannot be read: {e.strerror or e}") from e
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"{path}: not a regular file")
        if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o077:
            raise Forbidden(
                f"{path}: has mode {status.st_mode & 0o777:04o} and owner {status.st_uid}; what it "
                f"grants must be this user's alone: chmod 0600 {path}"
            )
        data = os.read(descriptor, MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInput(f"{path}: more than {MAX_FILE_BYTES} bytes")
    return data
