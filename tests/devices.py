"""A device that installs from a `SignedHub`: the real installer, its callbacks recorded."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fogline.bundle import (
    BundleDraft,
    Measured,
    VariantDraft,
    check_file,
    device_files,
    write_bundle,
)
from fogline.clock import ManualClock
from fogline.errors import Corrupt, FoglineError
from fogline.schema import Field, Schema
from fogline_edge.install import InstallConfig, Installed, Installer, ModelReport
from fogline_edge.install.attempts import AttemptBounds
from fogline_edge.install.fetch.messages import FetchBounds, FetchRequest, Result
from fogline_edge.install.fetch.work import fetch
from fogline_edge.install.qualify import Verdict
from fogline_edge.install.store import HeldVersion
from tests.signed_hubs import SignedHub

CONFIG = InstallConfig(
    fetch=FetchBounds(attempts=2, retry_base_s=0, retry_cap_s=0, reserve_bytes=0),
    attempts=AttemptBounds(crashes=3, power_losses=5, probation_s=10),
)


@dataclass
class Machine:
    """A machine whose kernel and memory the test decides about."""

    boot: str = "boot-1"
    available: int = 2**33

    def boot_id(self) -> str:
        return self.boot

    def available_memory(self) -> int:
        return self.available

    def total_memory(self) -> int:
        return 2**34


@dataclass
class Device:
    """What outlives an agent's runs; `start` is one run, and not closing it a crash."""

    folder: Path
    hub: SignedHub
    machine: Machine = field(default_factory=Machine)
    clock: ManualClock = field(
        default_factory=lambda: ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    )
    config: InstallConfig = CONFIG
    version: str = "1.0"
    serving: dict[str, Installed] = field(default_factory=dict)
    reports: list[ModelReport] = field(default_factory=list)
    unloadable: set[str] = field(default_factory=set)
    """Digests that `activate` refuses."""
    refusals: dict[str, Verdict] = field(default_factory=dict)
    """By digest; what qualification says."""
    on_prove: Callable[[], None] = lambda: None

    def start(self) -> Installer:
        self.serving.clear()
        self.reports.clear()
        return Installer(
            self.folder,
            self.hub.identity(),
            activate=self._activate,
            deactivate=self._deactivate,
            report=self.reports.append,
            clock=self.clock,
            prove=self._prove,
            config=self.config,
            machine=self.machine,
            fetch=_fetch,
            agent_version=self.version,
        )

    def versions(self) -> dict[str, int]:
        return {name: one.version for name, one in self.serving.items()}

    def phases(self) -> list[str]:
        return [report.phase.value for report in self.reports]

    def _activate(self, installed: Installed) -> None:
        if installed.digest in self.unloadable:
            raise Corrupt("no model")
        check_installed(installed)
        self.serving[installed.name] = installed

    def _deactivate(self, name: str) -> None:
        del self.serving[name]

    def _prove(self, held: HeldVersion, memory_bytes: int, timeout_s: float) -> Verdict:
        self.on_prove()
        return self.refusals.get(held.key.digest, Verdict())


def _fetch(request: FetchRequest, _: InstallConfig) -> Result:
    return fetch(request)


def check_installed(installed: Installed) -> None:
    """Holds every file of an installed version against its manifest.

    Raises:
        FoglineError: one is missing, damaged or linked.
    """
    for entry in device_files(installed.manifest, installed.variant):
        check_file(installed.folder / entry.path, entry)
    if not installed.model.is_file():
        raise FoglineError("no model file")


def write_version(folder: Path, name: str = "rain", content: bytes = b"1") -> Path:
    """A bundle of one variant with external data, different for each `content`."""
    schema = Schema(
        inputs=(Field(name="x", datatype="FP32", shape=(-1, 2)),),
        outputs=(Field(name="y", datatype="FP32", shape=(-1, 2)),),
    )
    variant = VariantDraft(
        name="fp32",
        precision="fp32",
        model=b"model " + content,
        external_data={"weights.bin": b"shared weights" * 500},
        measured=Measured(
            size_bytes=1, latency_us_p50=1, latency_us_p90=1, peak_memory_bytes=1_000_000
        ),
    )
    write_bundle(
        folder,
        BundleDraft(
            name=name,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            schema=schema,
            variants=(variant,),
            reference=b"{}",
        ),
    )
    return folder
