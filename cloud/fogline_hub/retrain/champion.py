"""A version's bundle as a folder again, copied from the blobs."""

import shutil
from pathlib import Path

from fogline.bundle import MANIFEST_NAME, Bundle, read_bundle, read_manifest
from fogline.bundle.manifest import MAX_MANIFEST_BYTES
from fogline.errors import NotFound, Unavailable
from fogline_hub.registry import Blobs, Version


def lay_out(blobs: Blobs, version: Version, folder: Path) -> Bundle:
    """Copies a version's files into an empty folder, and reads it back.

    Raises:
        NotFound: a blob is not held.
        Corrupt: a blob is not what it should be.
        Unavailable: the disk is full or failed.
    """
    data = blobs.read(version.manifest, MAX_MANIFEST_BYTES)
    manifest = read_manifest(data, f"manifest of {version.ref}")
    missing = blobs.missing(f.sha256 for f in manifest.files)
    if missing:
        raise NotFound(f"{version.ref}: blob {missing[0]} is not held")
    try:
        (folder / MANIFEST_NAME).write_bytes(data)
        for entry in manifest.files:
            target = folder / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(blobs.path(entry.sha256), target)
    except OSError as e:
        raise Unavailable(f"{version.ref} cannot be laid out in {folder}: {e.strerror}") from e
    return read_bundle(folder)
