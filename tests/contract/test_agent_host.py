import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fogline.bundle import (
    BundleDraft,
    Manifest,
    VariantDraft,
    draft_pipeline,
    read_bundle,
    write_bundle,
)
from fogline.clock import ManualClock, wait_until
from fogline.desired import CapturePolicy, DesiredModel, DesiredState, target_path
from fogline.errors import Corrupt, NotFound
from fogline.pipeline import schema_of
from fogline.runtime import ModelPlan
from fogline.runtime.plan import MemoryNeed
from fogline.schema import Field, Schema
from fogline.summaries import Reference
from fogline_edge.capture import Capture
from fogline_edge.host import Hosting, ModelHost
from fogline_edge.install import Installed
from fogline_edge.outbox import Outbox
from fogline_edge.serving import Models
from fogline_edge.serving.models import NotLoaded
from fogline_edge.serving.residency import Residency, ResidencyConfig
from tests import models as makers
from tests.installed import SCHEMA, hold_version
from tests.pipelines import definition, output_of, pipeline_of, step_of
from tests.residents import demanded


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
    def __init__(self, folder: Path, config: ResidencyConfig | None = None) -> None:
        self.outbox = Outbox.open(folder / "outbox.db", clock=ManualClock())
        with self.outbox.transaction() as connection:
            self.connection = connection
        self.capture = WatchedCapture(self.outbox, folder)
        self.models = Models()
        self.installed = hold_version(folder)
        self.policy = CapturePolicy(sample_rate=0.5)
        self.residency = Residency(self.models, config or ResidencyConfig(max_loaded=2))
        self.host = ModelHost(
            self.models,
            self.residency,
            self.capture,
            lambda: DesiredState(generation=1, models=(self.wanted(),)),
            Hosting(plan=ModelPlan(), drain_s=1.0),
        )

        self.visible = True

    def wanted(self) -> DesiredModel:
        installed = self.installed
        return DesiredModel(
            visible=self.visible,
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


def installed_of(folder: Path, name: str, version: int, draft: VariantDraft) -> Installed:
    """A version on the disk, of a model that answers by SCHEMA or of a pipeline."""
    moment = datetime(2026, 1, version, tzinfo=UTC)
    home = folder / f"{name}-{version}"
    manifest = write_bundle(
        home, BundleDraft(name=name, created_at=moment, schema=SCHEMA, variants=(draft,))
    )
    return Installed(
        name=name,
        version=version,
        digest=read_bundle(home).digest,
        variant=draft.name,
        generation=version,
        folder=home,
        model=home / manifest.variants[0].file,
        manifest=manifest,
    )


def constant_of(folder: Path, name: str, version: int) -> Installed:
    """Answers its own number."""
    folder.mkdir(exist_ok=True)
    path = makers.save_constant(folder / f"{name}{version}.onnx", version)
    draft = VariantDraft(name="fp32", precision="fp32", model=path.read_bytes())
    return installed_of(folder, name, version, draft)


def ask(models: Models, name: str, version: str = "") -> float:
    entry = models.acquire(name, version)
    try:
        answer = entry.served.runner.run({"x": np.ones((1, 2), np.float32)})
        return float(answer["y"][0, 0])
    finally:
        entry.release()


def test_a_new_version_takes_the_place_of_the_old_one_which_ends_its_requests(
    bench: Bench, tmp_path: Path
) -> None:
    bench.host.activate(constant_of(tmp_path, "snow", 2))
    entry = bench.models.acquire("snow")
    bench.host.activate(constant_of(tmp_path, "snow", 3))
    assert ask(bench.models, "snow") == 3
    assert bench.models.versions("snow") == [3]
    x = {"x": np.ones((1, 2), np.float32)}
    assert entry.served.runner.run(x)["y"][0, 0] == 2
    entry.release()
    # Back to the last good one, which is lower.
    bench.host.activate(constant_of(tmp_path / "again", "snow", 2))
    assert ask(bench.models, "snow") == 2
    bench.host.deactivate("snow")
    with pytest.raises(NotFound):
        bench.models.get("snow")


def test_a_version_that_does_not_load_leaves_the_former_one_serving(
    bench: Bench, tmp_path: Path
) -> None:
    good = constant_of(tmp_path, "snow", 2)
    bench.host.activate(good)
    other = SCHEMA.inputs[0]
    wrong = replace(
        good,
        version=3,
        manifest=replace_schema(good, Field(name="z", datatype="FP32", shape=other.shape)),
    )
    with pytest.raises(Corrupt, match="inputs are not those"):
        bench.host.activate(wrong)
    assert ask(bench.models, "snow") == 2
    assert bench.models.versions("snow") == [2]


def replace_schema(installed: Installed, field: Field) -> Manifest:
    schema = Schema(inputs=(field,), outputs=installed.manifest.schema.outputs)
    return msgspec.structs.replace(installed.manifest, schema=schema)


def test_an_installed_version_that_made_room_is_loaded_when_it_is_asked_for(
    bench: Bench, tmp_path: Path
) -> None:
    for name in ("snow", "wind", "fog"):
        bench.host.activate(constant_of(tmp_path, name, 5))
    assert wait_until(lambda: len(bench.models.list()) == 2, timeout_s=10)
    with pytest.raises(NotLoaded):
        bench.models.acquire("snow")
    assert demanded(bench.models, "snow") is None
    assert ask(bench.models, "snow") == 5
    assert bench.models.get("snow").generation == 5


def test_a_model_that_is_not_to_be_seen_answers_pipelines_alone(
    bench: Bench, tmp_path: Path
) -> None:
    bench.visible = False
    bench.host.activate(bench.installed)
    with pytest.raises(NotFound, match="component"):
        bench.models.acquire("rain")
    plain = definition([step_of("rain", {"x": "inputs.x"})], [output_of("y", "rain.y")], name="sky")
    pipeline = pipeline_of(plain)
    assert schema_of(pipeline).inputs[0].shape == SCHEMA.inputs[0].shape
    home = tmp_path / "sky"
    draft = BundleDraft(
        name="sky",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        schema=schema_of(pipeline),
        variants=(draft_pipeline(pipeline),),
    )
    manifest = write_bundle(home, draft)
    bench.host.activate(
        Installed(
            name="sky",
            version=1,
            digest=read_bundle(home).digest,
            variant=manifest.variants[0].name,
            generation=1,
            folder=home,
            model=home / manifest.variants[0].file,
            manifest=manifest,
        )
    )
    assert ask(bench.models, "sky") == 1
    bench.visible = True
    bench.host.follow(bench.wanted())
    assert ask(bench.models, "rain") == 1
    bench.host.deactivate("sky")


def held_mib(bench: Bench) -> float:
    return bench.residency.counts().held_bytes / 2**20


def test_the_memory_of_a_version_is_known_though_it_was_measured_with_other_threads(
    bench: Bench, tmp_path: Path
) -> None:
    memory = MemoryNeed(anonymous_bytes=50 * 2**20, load_peak_bytes=60 * 2**20)
    measured = ModelPlan(
        threads=3, prepack=False, memory=memory, max_stack=64, placement="loop", measured_on="here"
    )
    installed = replace(constant_of(tmp_path, "snow", 2), plan=measured)
    bench.host.activate(installed)
    assert held_mib(bench) == 50
    plan = bench.models.get("snow").plan
    assert (plan.threads, plan.prepack, plan.max_stack, plan.placement) == (1, False, 1, "auto")


def test_the_memory_of_a_version_that_was_never_measured_is_put_high(
    bench: Bench, tmp_path: Path
) -> None:
    bench.host.activate(constant_of(tmp_path, "snow", 2))
    assert held_mib(bench) >= 4
    assert ask(bench.models, "snow") == 2


def test_what_onnxruntime_takes_once_is_no_models(tmp_path: Path) -> None:
    """It would leave no room for the second; in a process of its own, because it is taken once."""
    homes = [constant_of(tmp_path, name, 2).folder for name in ("rain", "snow")]
    command = [sys.executable, "-m", "tests.host_child", str(tmp_path), str(40 * 2**20)]
    done = subprocess.run(
        [*command, *map(str, homes)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.split()) == (0, ["False", "rain", "snow"]), done.stderr
