"""Real models on trial in a real child: what serves, and what never does."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from fogline.bundle import BundleDraft, GoldenCase, Tolerance, VariantDraft, write_bundle
from fogline.clock import SystemClock, wait_until
from fogline.records import canonical_json, to_plain
from fogline.runtime import ModelPlan
from fogline.runtime.fingerprint import fingerprint
from fogline.schema import Field, Schema
from fogline_edge.install import Installed, Installer, Phase
from fogline_edge.install.qualify import qualify
from fogline_edge.install.store import HeldVersion, VersionKey
from tests.models import save_constant, save_custom_domain, save_graph, save_slow_loop, tensor
from tests.signed_hubs import SignedHub, make_hub, serving

BUDGETS = (2**30, 30.0)
X = np.array([[1, 2], [3, np.nan]], np.float32)
FIELDS = Schema(
    inputs=(Field(name="x", datatype="FP32", shape=(-1, 2)),),
    outputs=(Field(name="y", datatype="FP32", shape=(-1, 2)),),
)


def case(answer: float, *, x: np.ndarray | None = None, **tolerance: float) -> GoldenCase:
    given = np.zeros((2, 2), np.float32) if x is None else x
    expected = np.full(given.shape, answer, np.float32) + 0 * given
    return GoldenCase(
        inputs={"x": given}, outputs={"y": expected}, tolerances={"y": Tolerance(**tolerance)}
    )


def held(folder: Path, model: Path, *cases: GoldenCase, schema: Schema = FIELDS) -> HeldVersion:
    """A bundle's folder, as if it were held."""
    manifest = write_bundle(
        folder,
        BundleDraft(
            name="rain",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            schema=schema,
            variants=(VariantDraft(name="fp32", precision="fp32", model=model),),
            golden=cases,
        ),
    )
    return HeldVersion(key=VersionKey("0" * 64, "fp32"), folder=folder, manifest=manifest)


def test_a_model_that_answers_as_it_should_passes(tmp_path: Path) -> None:
    model = save_constant(tmp_path / "m.onnx", 7)
    version = held(tmp_path / "b", model, case(7), case(7, x=X), case(7.001, absolute=0.01))
    verdict = qualify(version, *BUDGETS)
    assert (verdict.reason, verdict.is_transient) == ("", False)
    assert verdict.plan is not None
    assert verdict.plan.is_measured
    assert verdict.plan.max_stack > 1
    assert verdict.plan.memory is not None


def test_what_the_operator_set_stays_in_the_measured_plan(tmp_path: Path) -> None:
    version = held(tmp_path / "b", save_constant(tmp_path / "m.onnx", 7), case(7))
    asked = ModelPlan(threads=2, max_delay_us=300)
    plan = qualify(version, *BUDGETS, asked).plan
    assert plan is not None
    assert (plan.threads, plan.max_delay_us) == (2, 300)


def test_a_model_that_answers_otherwise_does_not(tmp_path: Path) -> None:
    model = save_constant(tmp_path / "m.onnx", 7)
    verdict = qualify(held(tmp_path / "b", model, case(7), case(7.5, relative=0.01)), *BUDGETS)
    assert not verdict.is_transient
    assert verdict.reason.startswith("golden_mismatch")


def test_a_model_of_other_tensors_does_not(tmp_path: Path) -> None:
    model = save_constant(tmp_path / "m.onnx", 7)
    for number, field in enumerate(
        (
            Field(name="z", datatype="FP32", shape=(-1, 2)),
            Field(name="x", datatype="FP64", shape=(-1, 2)),
            Field(name="x", datatype="FP32", shape=(-1, 3)),
        )
    ):
        schema = Schema(inputs=(field,), outputs=FIELDS.outputs)
        verdict = qualify(held(tmp_path / f"b{number}", model, schema=schema), *BUDGETS)
        assert "schema_mismatch" in verdict.reason


def test_a_file_that_is_no_model_does_not(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    assert qualify(held(tmp_path / "a", tmp_path / "m.onnx"), *BUDGETS).reason
    custom = save_custom_domain(tmp_path / "c.onnx")
    assert qualify(held(tmp_path / "b", custom), *BUDGETS).reason


def test_a_file_that_changed_on_the_disk_does_not(tmp_path: Path) -> None:
    version = held(tmp_path / "b", save_constant(tmp_path / "m.onnx", 7), case(7))
    path = next((tmp_path / "b").rglob("*.onnx"))
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    assert qualify(version, *BUDGETS).reason.startswith("digest")


def slow(folder: Path) -> HeldVersion:
    """A model whose golden case takes minutes."""
    schema = Schema(
        inputs=(Field(name="n", datatype="INT64", shape=(), minimum=0, maximum=10**9),),
        outputs=(Field(name="y", datatype="FP32", shape=(64, 64)),),
    )
    golden = GoldenCase(
        inputs={"n": np.array(10**9, np.int64)},
        outputs={"y": np.zeros((64, 64), np.float32)},
    )
    return held(folder / "b", save_slow_loop(folder / "m.onnx"), golden, schema=schema)


def test_a_model_that_hangs_is_stopped_and_does_not(tmp_path: Path) -> None:
    verdict = qualify(slow(tmp_path), 2**30, 2.0)
    assert not verdict.is_transient
    assert verdict.reason.startswith("hung")


def test_a_model_that_eats_memory_is_stopped_and_does_not(tmp_path: Path) -> None:
    nodes: list[Any] = [
        helper.make_node("Expand", ["x", "shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "x"], ["y"]),
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [3], [400_000, 1000, 2])
    sides = [tensor("x", "FP32", (None, 2))], [tensor("y", "FP32", (None, 2))]
    model = save_graph(tmp_path / "m.onnx", nodes, *sides, [shape])
    one = case(0, x=np.zeros((1, 2), np.float32))
    verdict = qualify(held(tmp_path / "b", model, one), 300_000_000, 60.0)
    assert not verdict.is_transient
    assert verdict.reason.startswith("too_much_memory")


def test_a_model_that_crashes_its_process_does_not(tmp_path: Path) -> None:
    version, found = slow(tmp_path), []
    thread = threading.Thread(target=lambda: found.append(qualify(version, *BUDGETS)))
    thread.start()
    assert wait_until(lambda: bool(_busy_proofs()), timeout_s=20)
    os.kill(_busy_proofs()[0], signal.SIGSEGV)
    thread.join(20)
    assert not found[0].is_transient
    assert "SIGSEGV" in found[0].reason


def _busy_proofs() -> list[int]:
    """Children of this process that prove a model and are past loading it."""
    found = []
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            with suppress(OSError):
                program = Path(f"/proc/{pid}/cmdline").read_bytes()
                ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11]
                if b"fogline.runtime.qualify" in program and int(ticks) > 2 * os.sysconf(
                    "SC_CLK_TCK"
                ):
                    found.append(int(pid))
    return found


def test_a_file_that_went_missing_is_no_verdict_on_the_version(tmp_path: Path) -> None:
    version = held(tmp_path / "b", save_constant(tmp_path / "m.onnx", 7), case(7))
    next((tmp_path / "b").rglob("*.onnx")).unlink()
    assert qualify(version, *BUDGETS).is_transient


# ------------------------------------------------------- all of it together


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SignedHub]:
    with serving(make_hub(tmp_path / "hub")) as made:
        yield made


def test_with_real_children_a_good_version_serves_and_a_wrong_one_never(
    tmp_path: Path, hub: SignedHub
) -> None:
    good = held(tmp_path / "good", save_constant(tmp_path / "1.onnx", 1), case(1))
    wrong = held(tmp_path / "wrong", save_constant(tmp_path / "2.onnx", 2), case(1))
    wanted = [hub.push(good.folder, 1), hub.push(wrong.folder, 2)]
    serves: list[Installed] = []
    installer = Installer(
        tmp_path / "device",
        hub.identity(),
        activate=serves.append,
        deactivate=lambda _: None,
        report=lambda _: None,
        clock=SystemClock(),
    )
    installer.boot()
    assert installer.install(wanted[0], 1).phase is Phase.ACTIVE
    report = installer.install(wanted[1], 2)
    assert report.phase is Phase.REJECTED
    assert report.reason.startswith("golden_mismatch")
    assert [one.version for one in serves] == [1]
    measured = serves[0].plan
    assert measured is not None
    assert measured.measured_on == fingerprint()
    assert (
        canonical_json(to_plain(serves[0].manifest))
        == (serves[0].folder / "manifest.json").read_bytes()
    )
