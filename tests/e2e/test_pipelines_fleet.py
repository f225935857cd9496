"""A pipeline goes the way of any version: pushed, signed, fetched, proved, served."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fogline.bundle import Bundle, read_bundle
from fogline_edge.install import Phase
from fogline_edge.install.qualify import qualify
from fogline_edge.serving.pipelines import load_bundled_pipeline
from fogline_hub.cli.bare_pipeline import bundle_of_pipeline
from tests.devices import Device
from tests.hubs import RunningHub, fogline, hub, hub_folder
from tests.models import save_constant
from tests.pipeline_runners import session_model, surroundings
from tests.signed_hubs import SignedHub, make_hub, serving

__all__ = ["hub", "hub_folder"]

MADE = datetime(2026, 1, 1, tzinfo=UTC)
DEFINITION = """
name = "two"
[[inputs]]
name = "x"
datatype = "FP32"
shape = [-1, 2]
[[outputs]]
name = "y"
datatype = "FP32"
shape = [-1, 2]
from = "b.y"
[components]
a = { model = "a", path = "a.onnx" }
b = { model = "b", path = "b.onnx", visible = true }
[[steps]]
name = "a"
run = "a"
inputs = { x = "inputs.x" }
[[steps]]
name = "b"
run = "b"
inputs = { x = "a.y" }
"""


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.toml").write_text(DEFINITION)
    return tmp_path / "pipeline.toml"


def test_a_definition_is_pushed_and_published_like_a_model(
    hub: RunningHub, definition: Path, tmp_path: Path
) -> None:
    pushed = fogline("push", "two", str(definition), "--json", env=hub.environment())
    assert pushed.is_success, pushed.last_words()
    version = json.loads(pushed.stdout)["version"]
    assert (version["model"], version["state"]) == ("two", "published")
    other = fogline("push", "three", str(definition), env=hub.environment())
    assert other.code == 2
    assert "defines 'two': push it under that name" in other.last_words()


def test_a_bundle_of_a_pipeline_can_be_looked_at(definition: Path, tmp_path: Path) -> None:
    bundle_of_pipeline(definition, tmp_path / "bundle", name="two", created_at=MADE)
    shown = fogline("inspect", str(tmp_path / "bundle"))
    assert shown.is_success, shown.last_words()
    assert "two: a pipeline" in shown.stdout.decode()
    facts = json.loads(fogline("inspect", str(tmp_path / "bundle"), "--json").stdout)
    assert facts["pipelines"]["default"]["components"]["a"]["path"] == ""


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[SignedHub]:
    with serving(make_hub(tmp_path / "hub")) as made:
        yield made


def test_a_device_fetches_proves_and_serves_it(
    signed: SignedHub, definition: Path, tmp_path: Path
) -> None:
    bundle_of_pipeline(definition, tmp_path / "bundle", name="two", created_at=MADE)
    wanted = signed.push(tmp_path / "bundle", 3)
    device = Device(tmp_path / "device", signed)
    installer = device.start()
    installer._prove = qualify  # as on a device
    installer.boot()
    report = installer.install(wanted, 1)
    assert (report.phase, report.variant) == (Phase.ACTIVE, "default")
    installed = device.serving["two"]
    bundle = Bundle(folder=installed.folder, manifest=installed.manifest, digest=installed.digest)
    assert read_bundle(tmp_path / "bundle").digest == bundle.digest
    paths = [save_constant(tmp_path / f"{n}.onnx", v) for n, v in (("a", 1), ("b", 2))]
    with surroundings(*map(session_model, paths)) as around:
        served = load_bundled_pipeline(
            bundle, installed.variant, around, name="two", version=3, generation=1
        )
        assert served.label == "model two@3"
        answer = served.runner.run({"x": np.zeros((1, 2), np.float32)})
    assert answer["y"].tolist() == [[2, 2]]
