"""The hub's configuration record, and where the parts of its data folder are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from fogline.errors import NotFound
from fogline.records import Record, load_config
from fogline_hub.broker import BrokerConfig
from fogline_hub.catalogue import CatalogueBounds
from fogline_hub.ingest.settings import IngestConfig
from fogline_hub.registry import BlobBounds

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class SupervisorConfig(Record, frozen=True, kw_only=True):
    """How the hub's processes are started, watched and ended."""

    ready_timeout_s: Seconds = 60.0
    """Longest time from a process's start until it says that it is ready."""
    stop_grace_s: Seconds = 10.0
    """Time between SIGTERM and SIGKILL."""
    restart_base_s: Seconds = 0.25
    restart_cap_s: Seconds = 15.0
    """Wait before a dead process is started again: doubles from base to cap."""
    max_failures: Annotated[int, Meta(ge=1, le=1000)] = 5
    failure_window_s: Seconds = 120.0
    """A process that dies more often than `max_failures` in this time ends the whole hub."""
    poll_s: Seconds = 0.05
    """Time between two looks at the processes."""


class JobsConfig(Record, frozen=True, kw_only=True):
    """How often the jobs process looks, and its bounds, whatever an operator's policy asks for."""

    interval_s: Seconds = 1.0
    """Time between two looks at what devices sent, and at retrainings that wait."""
    trainer_path: str = ""
    """Absolute path of a folder in which trainers are looked for, beside what is installed; empty
    for none. Whoever can write there decides what the hub trains."""
    max_rows: Annotated[int, Meta(ge=100, le=10_000_000)] = 200_000
    """Rows of each part of a dataset; the newest are trained on."""
    timing_budget_s: Annotated[float, Meta(gt=0, le=60)] = 0.5
    """Seconds of alternating runs that a challenger's variants are compared by."""
    kept_jobs: Annotated[int, Meta(ge=1, le=1000)] = 4
    """Retrainings whose files stay; those of older ones are removed when one ends."""


class HubConfig(Record, frozen=True, kw_only=True):
    """`hub.toml`; every key may be left out."""

    listen: str = "127.0.0.1:8750"
    """Where the API listens; port 0 takes a free one and keeps it."""
    mqtt: str = "127.0.0.1:1883"
    """Where the broker listens; port 0 takes a free one and keeps it."""
    catalogue: CatalogueBounds = CatalogueBounds()
    blobs: BlobBounds = BlobBounds()
    broker: BrokerConfig = BrokerConfig()
    ingest: IngestConfig = IngestConfig()
    jobs: JobsConfig = JobsConfig()
    supervisor: SupervisorConfig = SupervisorConfig()


@dataclass(frozen=True, slots=True)
class HubFolder:
    """Paths in a hub's data folder."""

    root: Path

    @property
    def catalogue(self) -> Path:
        return self.root / "catalogue.db"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def tuf(self) -> Path:
        return self.root / "tuf"

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def broker(self) -> Path:
        return self.root / "broker"

    @property
    def operator(self) -> Path:
        """What an operator keeps; to be moved away from the hub."""
        return self.root / "operator"

    @property
    def run(self) -> Path:
        """Sockets, locks and what processes tell each other; nothing to back up."""
        return self.root / "run"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    def config(self) -> HubConfig:
        """Reads `hub.toml`; `InvalidInput` names the file and key that are wrong."""
        return load_config(self.root / "hub.toml", HubConfig)

    def check(self) -> None:
        """Raises `NotFound` where this is no hub's folder."""
        if not self.catalogue.is_file():
            raise NotFound(
                f"{self.root} is no hub; make one with: fogline hub init --data {self.root}"
            )
