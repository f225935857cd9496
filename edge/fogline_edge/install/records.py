"""What the installer hands to the agent, and how it is configured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from fogline.bundle import Manifest
from fogline.records import Record
from fogline.runtime.plan import ModelPlan
from fogline_edge.install.attempts import AttemptBounds
from fogline_edge.install.fetch.messages import FetchBounds
from fogline_edge.install.phases import Phase

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A version on this device's disk, whole and verified, to be loaded."""

    name: str
    version: int
    digest: str
    """SHA-256 of the manifest."""
    variant: str
    generation: int
    """Of the desired state that brought it."""
    folder: Path
    """Holds the files under the manifest's paths."""
    model: Path
    """The ONNX file; its external data lies where it expects it."""
    manifest: Manifest
    plan: ModelPlan | None = None
    """How to run it, as measured here; None: not measured by this build on this processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """Where the installer is with one model; of the version that is wanted."""

    name: str
    version: int
    digest: str
    variant: str
    """Empty until one was chosen."""
    phase: Phase
    reason: str = ""
    """Why it was rejected or failed, or what a boot had to go back from."""


class InstallConfig(Record, frozen=True, kw_only=True):
    """Bounds of the installer; the agent's configuration holds it as `install`."""

    fetch: FetchBounds = FetchBounds()
    attempts: AttemptBounds = AttemptBounds()
    model_memory_bytes: Annotated[int, Meta(ge=0)] = 0
    """What one model may take, its process included; 0: three quarters of the machine's."""
    fetch_timeout_s: Seconds = 3600.0
    """Longest fetch of one version; what came by then is kept for the next try."""
    fetch_memory_bytes: Count = 256 * 1024**2
    qualify_timeout_s: Seconds = 300.0
    """Longest qualification of one version."""
    unmeasured_memory_bytes: Count = 256 * 1024**2
    """Memory that must be available to qualify a variant whose manifest does not say."""
