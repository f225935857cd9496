"""One fetch from request to result: signed metadata, manifest, variant, files."""

import os
from datetime import UTC, datetime
from pathlib import Path

from fogline.bundle import Manifest, Variant, device_files, read_manifest
from fogline.bundle.manifest import MAX_MANIFEST_BYTES
from fogline.durable import make_private_folder
from fogline.errors import Corrupt, Exhausted, FoglineError, Unavailable, Untrusted
from fogline_edge.install.fetch.blobs import Blob, BlobFetcher
from fogline_edge.install.fetch.messages import Fetched, FetchRequest, Refused, Result
from fogline_edge.install.fetch.origin import Origin
from fogline_edge.install.fetch.signed import signed_manifest
from fogline_edge.install.variants import choose_variant


class _FinalError(Exception):
    """The signed version itself cannot be installed on this device."""


def fetch(request: FetchRequest) -> Result:
    """Does what the request asks; every error of Fogline's becomes a `Refused`."""
    store = make_private_folder(Path(request.store_folder))
    try:
        origin = Origin(
            request.hub_url,
            secret=request.api_secret,
            read_timeout_s=request.bounds.read_timeout_s,
        )
        try:
            return _fetch(request, origin, BlobFetcher(origin, store, request.bounds))
        finally:
            origin.close()
    except _FinalError as e:
        cause = e.__cause__
        return Refused(fault=type(cause).__name__, text=str(cause), is_final=True)
    except FoglineError as e:
        return Refused(fault=type(e).__name__, text=str(e), is_final=False)
    except OSError as e:
        text = f"{e.filename or store}: {e.strerror}"
        return Refused(fault=Unavailable.__name__, text=text, is_final=False)


def _fetch(request: FetchRequest, origin: Origin, blobs: BlobFetcher) -> Fetched:
    signed = signed_manifest(
        origin,
        request.target,
        root=request.tuf_root.encode(),
        folder=Path(request.tuf_folder),
        time_floor=datetime.fromtimestamp(request.time_floor_s, UTC),
    )
    if signed.sha256 != request.manifest:
        raise Untrusted(
            f"{request.target}: desired state says {request.manifest}, "
            f"signed metadata says {signed.sha256}"
        )
    if signed.length > MAX_MANIFEST_BYTES:
        raise Untrusted(f"{request.target}: a manifest of {signed.length} bytes")
    path = blobs.fetch(Blob(sha256=signed.sha256, size_bytes=signed.length))
    manifest, variant = _understood(request, path.read_bytes())
    files = {
        Blob(sha256=f.sha256, size_bytes=f.size_bytes) for f in device_files(manifest, variant.name)
    }
    missing = {blob for blob in files if blob.sha256 not in request.held}
    # A file that another version holds is not fetched, but it is copied.
    there = sum(blobs.held_bytes(blob) for blob in missing)
    _check_room(request, sum(blob.size_bytes for blob in files) - there)
    for blob in sorted(missing, key=lambda b: b.size_bytes):
        blobs.fetch(blob)
    return Fetched(variant=variant.name, downloaded_bytes=blobs.downloaded_bytes)


def _understood(request: FetchRequest, data: bytes) -> tuple[Manifest, Variant]:
    try:
        manifest = read_manifest(data, request.target)
        if manifest.name != request.model:
            raise Corrupt(
                f"{request.target} is signed for {request.model}, "
                f"but its manifest is of {manifest.name}"
            )
        return manifest, choose_variant(manifest, request.profile)
    except FoglineError as e:
        raise _FinalError from e


def _check_room(request: FetchRequest, needed: int) -> None:
    bounds = request.bounds
    if request.used_bytes + needed > bounds.quota_bytes:
        raise Exhausted(
            f"{request.target} needs {needed} bytes more, and {request.used_bytes} of this "
            f"device's {bounds.quota_bytes} for models are taken"
        )
    disk = os.statvfs(request.store_folder)
    free = disk.f_bavail * disk.f_frsize
    if free - needed < bounds.reserve_bytes:
        raise Exhausted(
            f"{request.target} needs {needed} bytes more; {free} are free on the disk, "
            f"of which {bounds.reserve_bytes} stay free"
        )
