"""Reads a bundle's folder that a stranger may have made.

Every name is opened from its parent folder's descriptor without following links, so nothing outside
the bundle is ever read; only regular files with one link are, and all of them must be listed, of
the listed size and digest. Whoever can write to the folder can still change it afterwards: what
goes on to matter is copied by digest, or read with `Bundle.read_file`, which checks again.
"""

import os
import stat
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from fogline.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
    read_manifest,
)
from fogline.errors import Corrupt, NotFound, Untrusted

_CHUNK = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose every file matched its manifest when it was read."""

    folder: Path
    manifest: Manifest
    digest: str
    """SHA-256 of the manifest's bytes: the version's identity."""

    def path(self, relative: str) -> Path:
        """Where a listed file lies.

        Raises:
            NotFound: the manifest does not list it.
        """
        return self.folder / self._entry(relative).path

    def read_file(self, relative: str, limit_bytes: int) -> bytes:
        """The bytes of a listed file, checked again.

        Raises:
            NotFound: the manifest does not list it.
            Corrupt: it is longer than `limit_bytes`, or changed since.
        """
        entry = self._entry(relative)
        if entry.size_bytes > limit_bytes:
            raise Corrupt(f"{relative}: {entry.size_bytes} bytes, at most {limit_bytes} are read")
        with _opened_folder(self.folder) as root, _opened_file(root, entry.path) as handle:
            data = b"".join(_chunks(handle, entry))
        if sha256(data).hexdigest() != entry.sha256:
            raise Untrusted(f"{relative}: changed since the bundle was read")
        return data

    def _entry(self, relative: str) -> FileEntry:
        for entry in self.manifest.files:
            if entry.path == relative:
                return entry
        raise NotFound(f"the bundle of {self.manifest.name} lists no file {relative[:200]!r}")


def read_bundle(folder: Path) -> Bundle:
    """Reads a folder and checks all of it.

    Raises:
        NotFound: there is no such folder.
        Corrupt: the manifest is not one, or a file is missing, unlisted, not a regular file with
            one link, or of another size.
        Untrusted: a file has another digest than the manifest says.
    """
    with _opened_folder(folder) as root:
        with _opened_file(root, MANIFEST_NAME) as handle:
            size = os.fstat(handle).st_size
            if size > MAX_MANIFEST_BYTES:
                raise Corrupt(
                    f"{folder / MANIFEST_NAME}: {size} bytes, at most {MAX_MANIFEST_BYTES}"
                )
            data = _read_up_to(handle, MAX_MANIFEST_BYTES + 1)
        manifest = read_manifest(data, str(folder / MANIFEST_NAME))
        files = {f.path for f in manifest.files}
        folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
        _refuse_unlisted(root, "", files | {MANIFEST_NAME}, folders)
        for entry in manifest.files:
            with _opened_file(root, entry.path) as handle:
                _check(handle, entry, entry.path)
    return Bundle(folder=folder, manifest=manifest, digest=sha256(data).hexdigest())


def check_file(path: Path, entry: FileEntry) -> None:
    """Holds one file, wherever it lies, against its entry.

    Raises:
        Corrupt: it is missing, not a regular file with one link, or of another size.
        Untrusted: its digest is not the entry's.
    """
    with _opened_folder(path.parent) as root, _opened_file(root, path.name) as handle:
        _check(handle, entry, str(path))


def _check(handle: int, entry: FileEntry, what: str) -> None:
    digest = sha256()
    for chunk in _chunks(handle, entry):
        digest.update(chunk)
    if digest.hexdigest() != entry.sha256:
        raise Untrusted(
            f"{what}: SHA-256 is {digest.hexdigest()}, the manifest says {entry.sha256}"
        )


def _chunks(handle: int, entry: FileEntry) -> Iterator[bytes]:
    """All bytes of a file that has exactly the listed size, before and while it is read."""
    size = os.fstat(handle).st_size
    if size != entry.size_bytes:
        raise Corrupt(f"{entry.path}: {size} bytes, the manifest says {entry.size_bytes}")
    left = size
    while left and (chunk := os.read(handle, min(left, _CHUNK))):
        left -= len(chunk)
        yield chunk
    if left or os.read(handle, 1):
        raise Corrupt(f"{entry.path}: changed while it was read")


def _read_up_to(handle: int, limit: int) -> bytes:
    parts = []
    while limit and (part := os.read(handle, min(limit, _CHUNK))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def _refuse_unlisted(folder: int, prefix: str, files: Set[str], folders: Set[str]) -> None:
    """Stops at the first name that no listed path leads to, so a full folder costs nothing."""
    with os.scandir(folder) as names:
        for item in names:
            path = f"{prefix}{item.name}"
            if path in files:
                continue
            if path not in folders:
                raise Corrupt(f"{path[:200]!r} lies in the bundle, but is not in its manifest")
            inner = _open(item.name, _FOLDER, folder, path)
            try:
                _refuse_unlisted(inner, f"{path}/", files, folders)
            finally:
                os.close(inner)


@contextmanager
def _opened_folder(folder: Path) -> Iterator[int]:
    """The root, which is the caller's own word: a link to it is followed."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise NotFound(f"{folder}: {e.strerror}; a bundle is a folder") from e
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _opened_file(root: int, path: str) -> Iterator[int]:
    """A regular file with one link, reached through real folders alone."""
    *folders, name = path.split("/")
    at = os.dup(root)
    try:
        for folder in folders:
            below = _open(folder, _FOLDER, at, path)
            os.close(at)
            at = below
        _check_kind(os.stat(name, dir_fd=at, follow_symlinks=False), path)
        handle = _open(name, _FILE, at, path)
    except FileNotFoundError as e:
        raise Corrupt(f"{path}: there is no such file in the bundle") from e
    finally:
        os.close(at)
    try:
        _check_kind(os.fstat(handle), path)  # what was opened, had it been exchanged since
        yield handle
    finally:
        os.close(handle)


def _open(name: str, flags: int, folder: int, path: str) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as e:  # ELOOP and ENOTDIR: a link
        raise Corrupt(
            f"{path}: {name!r} cannot be opened as what it should be: {e.strerror}"
        ) from e


def _check_kind(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Corrupt(f"{path}: not a regular file; links, devices and pipes are refused")
    if status.st_nlink != 1:
        raise Corrupt(
            f"{path}: {status.st_nlink} hard links to it; copy the bundle, then read that"
        )
