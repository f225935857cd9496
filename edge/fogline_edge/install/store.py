"""The models that this device holds on its disk.

    store/<sha256>                    fetched and verified, not yet part of a version
    store/.part-<sha256>              half fetched
    versions/<manifest digest>.<variant>/   manifest.json and its files: what can be loaded

A version's folder appears by one rename, with every file in it checked against the manifest, so it
is whole or not there. Its files have one link each, as the runtime asks of external data: they are
linked out of `store/` while it is built, and leave `store/` once it stands.
"""

import logging
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from fogline.bundle import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    check_file,
    device_files,
    read_manifest,
)
from fogline.bundle.manifest import MAX_MANIFEST_BYTES
from fogline.durable import flush_folder, make_private_folder, write_durably
from fogline.errors import Corrupt, FoglineError, NotFound, Untrusted

_log = logging.getLogger(__name__)
_BUILDING = ".new-"


@dataclass(frozen=True, slots=True)
class VersionKey:
    """What names a folder of a version: digest of its manifest, and the variant."""

    digest: str
    variant: str

    def __str__(self) -> str:
        return f"{self.digest}.{self.variant}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldVersion:
    """A version whose every file was just checked."""

    key: VersionKey
    folder: Path
    manifest: Manifest

    @property
    def size_bytes(self) -> int:
        return sum(f.size_bytes for f in device_files(self.manifest, self.key.variant))


class Store:
    """The disk's models. One process at a time; not thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.blobs = make_private_folder(folder / "store")
        self._versions = make_private_folder(folder / "versions")

    def recover(self) -> None:
        """Ends what a crash interrupted: half-built folders go, whole ones let go of `store/`."""
        for path in self._versions.glob(f"{_BUILDING}*"):
            shutil.rmtree(path, ignore_errors=True)
        for folder in self._folders():
            self._release(folder)

    def open(self, key: VersionKey) -> HeldVersion:
        """A version, after reading all its files.

        Raises:
            NotFound: it is not held.
            Corrupt: a file is missing or damaged.
            Untrusted: a file or the manifest has another digest.
        """
        folder = self._versions / str(key)
        manifest = _manifest_in(folder, key.digest)
        for entry in device_files(manifest, key.variant):
            check_file(folder / entry.path, entry)
        return HeldVersion(key=key, folder=folder, manifest=manifest)

    def assemble(self, key: VersionKey) -> HeldVersion:
        """Builds a version's folder from fetched files and those of other held versions.

        A damaged folder of the same version is replaced.

        Raises:
            NotFound: a file is nowhere to be found; fetch again.
            Corrupt, Untrusted: as `open`; the file that is at fault is removed.
            OSError: the disk is full or failed.
        """
        with suppress(NotFound, Corrupt):
            return self.open(key)
        data = self._fetched_manifest(key.digest)
        manifest = read_manifest(data)
        building = self._versions / f"{_BUILDING}{key}"
        shutil.rmtree(building, ignore_errors=True)
        make_private_folder(building)
        elsewhere = dict(self._held_files())
        for entry in device_files(manifest, key.variant):
            self._place(entry, building / entry.path, elsewhere)
        write_durably(building / MANIFEST_NAME, data)
        for folder in sorted({p.parent for p in building.rglob("*")}, reverse=True):
            flush_folder(folder)
        final = self._versions / str(key)
        if final.exists():
            final.rename(self._versions / f"{_BUILDING}damaged-{key}")
        building.rename(final)
        flush_folder(self._versions)
        self._release(final)
        self.recover()
        return self.open(key)

    def held_digests(self) -> frozenset[str]:
        """Digests of files that a version's folder holds, so that they need not be fetched."""
        return frozenset(digest for digest, _ in self._held_files())

    def offer_manifest(self, digest: str) -> None:
        """Puts a held version's manifest where the fetching child looks for it."""
        with suppress(NotFound):
            data = self._fetched_manifest(digest)
            if not (self.blobs / digest).exists():
                write_durably(self.blobs / digest, data)

    def used_bytes(self) -> int:
        """Bytes of all held versions and of what was fetched, finished or not."""
        roots = (self.blobs, self._versions)
        return sum(p.stat().st_size for root in roots for p in root.rglob("*") if p.is_file())

    def collect(self, keep: Collection[VersionKey]) -> None:
        """Removes every version but these, and all that was fetched for no version."""
        kept = {str(key) for key in keep}
        for path in self._versions.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
        for path in self.blobs.iterdir():
            path.unlink(missing_ok=True)

    def remove(self, key: VersionKey) -> None:
        shutil.rmtree(self._versions / str(key), ignore_errors=True)

    def _fetched_manifest(self, digest: str) -> bytes:
        path = self.blobs / digest
        for candidate in (path, *(f / MANIFEST_NAME for f in self._folders())):
            with suppress(FileNotFoundError):
                data = _bounded(candidate)
                if sha256(data).hexdigest() == digest:
                    return data
        path.unlink(missing_ok=True)
        raise NotFound(f"the manifest {digest} was not fetched")

    def _place(self, entry: FileEntry, target: Path, elsewhere: dict[str, Path]) -> None:
        make_private_folder(target.parent)
        fetched = self.blobs / entry.sha256
        source = fetched if fetched.exists() else elsewhere.get(entry.sha256)
        if source is None:
            raise NotFound(f"{entry.path} ({entry.sha256}) was not fetched")
        if source is fetched:
            with suppress(OSError):  # a file system without links, or two entries of one file
                os.link(source, target)
        if not target.exists():
            _copy(source, target)
        # With two links it cannot be checked as `open` does; its size and digest can.
        if not _has_digest(target, entry):
            source.unlink(missing_ok=True)
            raise Untrusted(f"{entry.path}: not the bytes of {entry.sha256}; removed")

    def _release(self, folder: Path) -> None:
        with suppress(FoglineError):
            data = _bounded(folder / MANIFEST_NAME)
            manifest = read_manifest(data)
            for entry in manifest.files:
                if (folder / entry.path).exists():
                    (self.blobs / entry.sha256).unlink(missing_ok=True)
            (self.blobs / sha256(data).hexdigest()).unlink(missing_ok=True)

    def _folders(self) -> list[Path]:
        return [p for p in self._versions.iterdir() if not p.name.startswith(".")]

    def _held_files(self) -> Iterator[tuple[str, Path]]:
        for folder in self._folders():
            with suppress(FoglineError, FileNotFoundError):
                for entry in read_manifest(_bounded(folder / MANIFEST_NAME)).files:
                    path = folder / entry.path
                    if path.is_file() and path.stat().st_size == entry.size_bytes:
                        yield entry.sha256, path


def _manifest_in(folder: Path, digest: str) -> Manifest:
    path = folder / MANIFEST_NAME
    try:
        data = _bounded(path)
    except FileNotFoundError as e:
        raise NotFound(f"{folder} holds no version") from e
    if sha256(data).hexdigest() != digest:
        raise Untrusted(f"{path}: damaged, its SHA-256 is not {digest}")
    return read_manifest(data, str(path))


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_MANIFEST_BYTES + 1)
    if len(data) > MAX_MANIFEST_BYTES:
        raise Corrupt(f"{path}: longer than any manifest")
    return data


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _has_digest(path: Path, entry: FileEntry) -> bool:
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            digest.update(chunk)
    return path.stat().st_size == entry.size_bytes and digest.hexdigest() == entry.sha256
