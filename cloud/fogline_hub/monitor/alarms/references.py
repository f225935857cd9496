"""The reference of a version, read from the blobs that its manifest names."""

from fogline.bundle import read_manifest
from fogline.bundle.manifest import MAX_MANIFEST_BYTES
from fogline.errors import InvalidInput
from fogline.records import MAX_JSON_BYTES, decode_json
from fogline.summaries import Reference
from fogline_hub.registry import Blobs, Version


def read_reference(blobs: Blobs, version: Version) -> Reference:
    """The reference that a version's bundle carries.

    Raises:
        InvalidInput: it carries none.
        NotFound: a blob is not held.
        Corrupt: a blob is not what it should be.
    """
    what = f"manifest of {version.ref}"
    manifest = read_manifest(blobs.read(version.manifest, MAX_MANIFEST_BYTES), what)
    if not manifest.reference:
        raise InvalidInput(
            f"{version.ref} carries no reference, so nothing can be compared with it; "
            "make the bundle with `fogline convert`"
        )
    entry = next(f for f in manifest.files if f.path == manifest.reference)
    data = blobs.read(entry.sha256, MAX_JSON_BYTES)
    return decode_json(data, Reference, f"reference of {version.ref}")
