"""What the agent and its fetching child say to each other: one JSON record in, one out."""

from typing import Annotated

from msgspec import Meta

from fogline.desired import Digest, Name
from fogline.records import Record

Count = Annotated[int, Meta(ge=1)]
Bytes = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]

MAX_REQUEST_BYTES = 4 * 1024 * 1024


class FetchBounds(Record, frozen=True, kw_only=True):
    """What one fetch may take."""

    attempts: Count = 5
    """Tries at one file in a row without a new byte."""
    retry_base_s: Annotated[float, Meta(ge=0)] = 0.5
    retry_cap_s: Annotated[float, Meta(ge=0)] = 30.0
    """Wait between tries at one file; doubles from base to cap."""
    read_timeout_s: Seconds = 30.0
    """Longest silence of the hub."""
    quota_bytes: Count = 4 * 1024**3
    """Most that all held versions and unfinished downloads take on the disk."""
    reserve_bytes: Bytes = 64 * 1024**2
    """Free space of the file system that stays free."""


class DeviceProfile(Record, frozen=True, kw_only=True):
    """What this device can give one model."""

    memory_bytes: Count
    """Highest resident memory of a process that loads and runs it alone."""


class FetchRequest(Record, frozen=True, kw_only=True):
    """Everything the child needs; secrets come on stdin, never by argument or environment."""

    hub_url: str
    api_secret: str
    tuf_root: str
    """Text of the root metadata that came with the enrolment."""
    tuf_folder: str
    """Where the device keeps the metadata that it trusts."""
    store_folder: str
    """Where verified files go, under their digest."""
    model: Name
    target: str
    """TUF target path of the manifest."""
    manifest: Digest
    """SHA-256 of the manifest, as desired state says."""
    profile: DeviceProfile
    held: tuple[Digest, ...] = ()
    """Files that this device has already, outside the store."""
    used_bytes: Bytes = 0
    """What is on the disk now, of `bounds.quota_bytes`."""
    time_floor_s: int = 0
    """Unix seconds below which the clock cannot be right; expiry is judged by the later of both."""
    bounds: FetchBounds = FetchBounds()

    def __repr__(self) -> str:
        return f"FetchRequest(model={self.model!r}, target={self.target!r})"


class Fetched(Record, frozen=True, kw_only=True, tag="fetched"):
    """All files of the variant are in the store or were held; the manifest is in the store."""

    variant: Name
    downloaded_bytes: Bytes


class Refused(Record, frozen=True, kw_only=True, tag="refused"):
    """Nothing is to be installed."""

    fault: str
    """Name of a class of `fogline.errors`."""
    text: str
    is_final: bool
    """The signed version itself is at fault, so that trying again cannot help."""


Result = Fetched | Refused
