from collections.abc import Iterator
from pathlib import Path

import pytest

from fogline.clock import ManualClock
from fogline.desired import CapturePolicy, DesiredModel, DesiredState, target_path
from fogline.errors import Corrupt
from fogline.runtime import ModelPlan
from fogline.schema import Schema
from fogline.summaries import Reference
from fogline_edge.capture import Capture
from fogline_edge.host import Hosting, ModelHost
from fogline_edge.outbox import Outbox
from fogline_edge.serving import Models
from fogline_edge.serving.residency import Residency
from tests.installed import hold_version


class WatchedCapture(Capture):
    """Remembers the policies that it took."""

    def __init__(self, outbox: Outbox, folder: Path) -> None:
        super().__init__(outbox, folder, clock=ManualClock())
        self.taken: list[CapturePolicy] = []

    def set_policy(
        self,
        model: str,
        version: int,
        policy: CapturePolicy,
        reference: Reference,
        schema: Schema | None = None,
    ) -> None:
        super().set_policy(model, version, policy, reference, schema)
        self.taken.append(policy)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.outbox = Outbox.open(folder / "outbox.db", clock=ManualClock())
        with self.outbox.transaction() as connection:
            self.connection = connection
        self.capture = WatchedCapture(self.outbox, folder)
        self.models = Models()
        self.installed = hold_version(folder)
        self.policy = CapturePolicy(sample_rate=0.5)
        self.residency = Residency(self.models)
        self.host = ModelHost(
            self.models,
            self.residency,
            self.capture,
            lambda: DesiredState(generation=1, models=(self.wanted(),)),
            Hosting(plan=ModelPlan(), drain_s=1.0),
        )

    def wanted(self) -> DesiredModel:
        installed = self.installed
        return DesiredModel(
            name=installed.name,
            version=installed.version,
            manifest=installed.digest,
            target=target_path(installed.name, installed.version),
            capture=self.policy,
        )

    def refuse_writes(self, value: bool) -> None:
        self.connection.execute(f"PRAGMA query_only = {int(value)}")

    def close(self) -> None:
        self.host.deactivate(self.installed.name)
        self.host.close()
        self.capture.stop()
        self.outbox.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_version_serves_though_capture_cannot_write_and_is_captured_once_it_can(
    bench: Bench,
) -> None:
    bench.refuse_writes(True)
    bench.host.activate(bench.installed)
    assert bench.models.get("rain").version == 1
    bench.host.follow(bench.wanted())
    assert bench.capture.taken == []
    bench.refuse_writes(False)
    bench.host.follow(bench.wanted())
    assert bench.capture.taken == [bench.policy]


def test_only_a_changed_policy_is_set_again(bench: Bench) -> None:
    bench.host.activate(bench.installed)
    bench.host.follow(bench.wanted())
    assert bench.capture.taken == [CapturePolicy(sample_rate=0.5)]
    bench.policy = CapturePolicy(sample_rate=0.7)
    bench.host.follow(bench.wanted())
    bench.host.follow(bench.wanted())
    assert bench.capture.taken[1:] == [CapturePolicy(sample_rate=0.7)]


def test_a_version_whose_reference_is_gone_is_corrupt_and_does_not_serve(bench: Bench) -> None:
    (bench.installed.folder / bench.installed.manifest.reference).unlink()
    with pytest.raises(Corrupt, match="reference"):
        bench.host.activate(bench.installed)
    assert bench.models.list() == ()
