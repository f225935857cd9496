"""Takes in a version: everything that must hold before a pushed manifest gets a number.

The manifest is a stranger's bytes, and each model file is hostile until a limited child has parsed,
loaded and run it; only then does the version exist. One such child runs at a time.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fogline.bundle import MANIFEST_NAME, Manifest, read_manifest
from fogline.bundle.manifest import MAX_MANIFEST_BYTES
from fogline.errors import Corrupt, InvalidInput, NotFound, Unavailable
from fogline.ids import check_name
from fogline_hub.catalogue import Catalogue
from fogline_hub.registry.blobs import Blobs
from fogline_hub.registry.records import Version
from fogline_hub.registry.registry import Registry

Prover = Callable[[Path, Manifest], None]
"""Proves every variant of a bundle's folder in a limited child; raises `InvalidInput` with the
reason where one does not hold."""

MAX_WAIT_S = 300.0
"""Longest wait for the versions that are being proven before this one, seconds."""
_NAMED = 5
"""How many of the missing blobs an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    catalogue: Catalogue
    registry: Registry
    blobs: Blobs
    prover: Prover
    work_folder: Path
    """Bundles are laid out here while they are proven; its content is nobody's after a restart."""
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False)

    def take(self, name: str, digest: str, *, actor: str) -> Version:
        """The version that a pushed manifest is; pushing it again gives the same one.

        Raises:
            InvalidInput: the name, the manifest or a variant is not right; the text says why.
            NotFound: the manifest, or a file that it lists, is not there as a blob.
            Unavailable: too many versions wait to be proven.
        """
        check_name(name, "model name")
        with self.catalogue.reading() as connection:
            known = self.registry.by_manifest(connection, name, digest)
        if known is not None:
            return known
        data = self.blobs.read(digest, MAX_MANIFEST_BYTES)
        try:
            manifest = read_manifest(data, f"manifest {digest}")
        except Corrupt as e:
            raise InvalidInput(str(e)) from e
        self._check_blobs(manifest)
        self._prove(data, manifest)
        with self.catalogue.transaction() as connection:
            return self.registry.add_version(
                connection,
                name,
                digest,
                actor=actor,
                size_bytes=sum(f.size_bytes for f in manifest.files),
                verified=bool(manifest.parity),
            )

    def sweep(self) -> None:
        """Removes what a killed process left; to be called once, before the first `take`."""
        shutil.rmtree(self.work_folder, ignore_errors=True)

    def _check_blobs(self, manifest: Manifest) -> None:
        missing = self.blobs.missing(f.sha256 for f in manifest.files)
        if missing:
            named = ", ".join(missing[:_NAMED])
            raise NotFound(
                f"{len(missing)} files that the manifest lists are not there as blobs; "
                f"upload them first: {named}{' ...' if len(missing) > _NAMED else ''}"
            )
        for entry in manifest.files:
            held = self.blobs.size(entry.sha256)
            if held != entry.size_bytes:
                raise InvalidInput(
                    f"{entry.path}: the manifest says {entry.size_bytes} bytes, "
                    f"the file of that digest has {held}"
                )

    def _prove(self, data: bytes, manifest: Manifest) -> None:
        if not self._turn.acquire(timeout=MAX_WAIT_S):
            raise Unavailable("other versions are being proven; try again later")
        try:
            self.work_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.work_folder) as folder:
                self._lay_out(Path(folder), data, manifest)
                self.prover(Path(folder), manifest)
        finally:
            self._turn.release()

    def _lay_out(self, folder: Path, data: bytes, manifest: Manifest) -> None:
        """Copies, not links: the reader of bundles refuses a file with more than one link."""
        try:
            (folder / MANIFEST_NAME).write_bytes(data)
            for entry in manifest.files:
                target = folder / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.blobs.path(entry.sha256), target)
        except OSError as e:
            raise Unavailable(f"the bundle cannot be laid out in {folder}: {e.strerror}") from e
