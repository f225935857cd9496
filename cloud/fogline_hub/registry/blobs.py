"""Content-addressed files on disk: `<aa>/<sha256>`, where `aa` is the digest's first two digits.

Invariant: a file that stands under its digest is whole and has that digest, through any crash: it
is written under a temporary name, checked while streaming, fsynced, and renamed; then its folder is
fsynced. What is there is never written again.
"""

import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, BinaryIO

from msgspec import Meta

from fogline.errors import Exhausted, InvalidInput, NotFound, Unavailable
from fogline.records import Record

MAX_UPLOAD = timedelta(days=1)
"""Longest time that one blob may be on its way."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobBounds(Record, frozen=True, kw_only=True):
    max_blob_bytes: Annotated[int, Meta(ge=1)] = 2 * 1024**3
    """Largest blob, in bytes: a model file is under 2 GiB."""


class Blobs:
    def __init__(self, folder: Path, bounds: BlobBounds | None = None) -> None:
        self._folder = folder
        self._bounds = bounds or BlobBounds()

    def path(self, digest: str) -> Path:
        """Where a blob is or would be.

        Raises:
            InvalidInput: `digest` is not 64 lower-case hexadecimal digits.
        """
        if not _DIGEST.fullmatch(digest):
            raise InvalidInput(
                f"{digest[:80]!r} is not a SHA-256 digest of 64 lower-case hexadecimal digits"
            )
        return self._folder / digest[:2] / digest

    def size(self, digest: str) -> int | None:
        """Bytes of a blob, or None where it is not held."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def writing(self, digest: str) -> "BlobWriter":
        """A writer that takes the blob piece by piece; end it with `finish` or `discard`."""
        return BlobWriter(self.path(digest), self._bounds.max_blob_bytes)

    def put(self, digest: str, data: bytes) -> None:
        """Stores bytes that are at hand; errors as `BlobWriter`."""
        if self.size(digest) is not None:
            return
        writer = self.writing(digest)
        try:
            writer.write(data)
            writer.finish()
        finally:
            writer.discard()

    def open(self, digest: str) -> BinaryIO:
        """Opens a blob for reading.

        Raises:
            NotFound: it is not held.
        """
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            raise NotFound(f"there is no blob {digest}") from None

    def read(self, digest: str, limit: int) -> bytes:
        """A whole blob of at most `limit` bytes.

        Raises:
            NotFound: it is not held.
            InvalidInput: it is longer.
        """
        with self.open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InvalidInput(f"blob {digest} is longer than the {limit} bytes that are read")
        return data

    def missing(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Those of the digests that are not held, in order."""
        return tuple(d for d in digests if self.size(d) is None)

    def sweep(self, now: datetime) -> int:
        """Removes what killed writers left over `MAX_UPLOAD` ago; returns how many files."""
        oldest = (now - MAX_UPLOAD).timestamp()
        stale = [p for p in self._folder.glob("*/.*.part") if p.stat().st_mtime < oldest]
        for part in stale:
            part.unlink(missing_ok=True)
        return len(stale)


class BlobWriter:
    """One blob on its way to the disk; made by `Blobs.writing`. One thread at a time."""

    def __init__(self, target: Path, limit: int) -> None:
        self._target = target
        self._limit = limit
        self._size = 0
        self._hash = sha256()
        self._temporary = target.parent / f".{secrets.token_hex(8)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = os.open(self._temporary, flags, 0o600)
        except OSError as e:
            raise _write_error(target, e) from e

    def write(self, data: bytes) -> None:
        """Appends bytes.

        Raises:
            Exhausted: the blob is larger than the bound.
            Unavailable: the disk is full or failed.
        """
        self._size += len(data)
        if self._size > self._limit:
            raise Exhausted(
                f"blob {self._target.name}: larger than the bound of {self._limit} bytes"
            )
        self._hash.update(data)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError as e:
            raise _write_error(self._target, e) from e

    def finish(self) -> int:
        """Puts the whole blob in place, durable; returns its size in bytes.

        Raises:
            InvalidInput: the bytes do not have the digest; nothing is kept.
        """
        found = self._hash.hexdigest()
        if found != self._target.name:
            raise InvalidInput(
                f"blob {self._target.name}: the {self._size} bytes sent have digest {found}; "
                "send the file that has this digest"
            )
        try:
            os.fsync(self._handle)
            self._temporary.replace(self._target)
            _sync_folder(self._target.parent)
        except OSError as e:
            raise _write_error(self._target, e) from e
        return self._size

    def discard(self) -> None:
        """Ends the writer; removes what did not become a blob. Harmless after `finish`."""
        if self._handle < 0:
            return
        os.close(self._handle)
        self._handle = -1
        with suppress(FileNotFoundError):
            self._temporary.unlink()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_error(path: Path, error: OSError) -> Unavailable:
    return Unavailable(f"blob {path.name} cannot be written: {error.strerror}")
