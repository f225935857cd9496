"""What signed metadata says of a manifest; owner of tuf on the device.

python-tuf's `Updater` does the client workflow of the TUF specification (section 5): roots one by
one, no version goes back, nothing expired, one consistent snapshot. `refresh` needs the network, so
only a fetch comes here; a boot never does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api import exceptions
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from fogline.durable import flush_folder, make_private_folder
from fogline.errors import FoglineError, NotFound, Unavailable, Untrusted
from fogline.trust import (
    MAX_ROOT_BYTES,
    MAX_SNAPSHOT_BYTES,
    MAX_TARGETS_BYTES,
    MAX_TIMESTAMP_BYTES,
    TUF_URL,
)
from fogline_edge.install.fetch.origin import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedManifest:
    sha256: str
    length: int


_CONFIG = UpdaterConfig(
    root_max_length=MAX_ROOT_BYTES,
    timestamp_max_length=MAX_TIMESTAMP_BYTES,
    snapshot_max_length=MAX_SNAPSHOT_BYTES,
    targets_max_length=MAX_TARGETS_BYTES,
    max_delegations=4,
)


class _Fetcher(FetcherInterface):
    """Metadata from the enrolled hub; keeps the first of Fogline's own errors for the caller."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.error: FoglineError | None = None

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            with self._origin.get(self._origin.path_of(url)) as answer:
                yield from answer.chunks()
        except NotFound as e:  # the end of the chain of roots, for one
            raise exceptions.DownloadHTTPError(str(e), 404) from e
        except FoglineError as e:
            self.error = self.error or e
            raise exceptions.DownloadError(str(e)) from e


def signed_manifest(
    origin: Origin, target: str, *, root: bytes, folder: Path, time_floor: datetime
) -> SignedManifest:
    """Refreshes the trusted metadata and looks a manifest up in it.

    Args:
        origin: The hub.
        target: `models/NAME/VERSION/manifest.json`.
        root: The root that came with the enrolment; later ones must follow from it.
        folder: The trusted metadata, kept between calls so that nothing can go back.
        time_floor: Expiry is judged by the later of this and the clock.

    Raises:
        Untrusted: the metadata is not signed, expired, goes back, or does not fit together; or it
            does not say one SHA-256 of the target.
        NotFound: nothing is signed for the target.
        Unavailable, Forbidden: the hub does not answer, or not to this device.
    """
    make_private_folder(folder)
    fetcher = _Fetcher(origin)
    try:
        updater = Updater(
            metadata_dir=str(folder),
            metadata_base_url=f"{origin.url}{TUF_URL}/",
            fetcher=fetcher,
            config=_CONFIG,
            bootstrap=root,
        )
        # python-tuf reads the clock itself; the device's may stand in the past after a power cut,
        # and then an expired file would pass.
        trusted = updater._trusted_set  # noqa: SLF001 - there is no public way
        trusted.reference_time = max(trusted.reference_time, time_floor)
        updater.refresh()
        found = updater.get_targetinfo(target)
        flush_folder(folder)
    except exceptions.RepositoryError as e:
        raise Untrusted(f"signed metadata: {e}") from e
    except exceptions.DownloadLengthMismatchError as e:
        raise Untrusted(f"signed metadata: {e}") from e
    except exceptions.DownloadError as e:
        raise fetcher.error or Unavailable(f"signed metadata: {e}") from e
    return _manifest_of(found, target)


def _manifest_of(found: TargetFile | None, target: str) -> SignedManifest:
    if found is None:
        raise NotFound(f"no signed metadata names {target}; was this version withdrawn?")
    digest = found.hashes.get("sha256")
    if digest is None:
        raise Untrusted(f"signed metadata names no SHA-256 of {target}")
    return SignedManifest(sha256=digest, length=found.length)
