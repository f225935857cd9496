"""Golden cases against a real session: what passes, what does not, and how it is told."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from fogline.bundle import GoldenCase, Tolerance, decode_cases, encode_cases
from fogline.errors import Corrupt, DeadlineExceeded
from fogline.runtime import ModelPlan, Session
from fogline.runtime.golden import check_golden
from fogline.runtime.measure import Effort, measure_latency
from fogline.runtime.memory import own_peak_bytes
from fogline.tensors import Array
from tests.hostile_models import save_endless_loop
from tests.models import save_graph, save_identity, tensor

X = np.array([[1, 2], [3, 4]], np.float32)


@pytest.fixture
def identity(tmp_path: Path) -> Session:
    return Session.open(save_identity(tmp_path / "m.onnx"), ModelPlan())


def case(expected: Array, inputs: Array = X, **tolerance: float) -> GoldenCase:
    limits = {"y": Tolerance(**tolerance)} if tolerance else {}
    return GoldenCase(inputs={"x": inputs}, outputs={"y": expected}, tolerances=limits)


def test_equal_answers_pass_without_a_tolerance(identity: Session) -> None:
    report = check_golden(identity, [case(X), case(X[:1], X[:1])])
    assert (report.cases, report.worst, report.mismatch) == (2, 0.0, "")


def test_an_answer_within_its_tolerance_passes_and_the_worst_is_told(identity: Session) -> None:
    report = check_golden(identity, [case(X), case(X + np.float32(0.25), absolute=0.5)])
    assert report.mismatch == ""
    assert report.worst == pytest.approx(0.5)
    assert report.worst_output == "y"
    relative = check_golden(identity, [case(X * np.float32(1.25), relative=0.25)])
    assert relative.worst == pytest.approx(0.8)


def test_an_answer_beyond_it_is_counted_but_not_shown(identity: Session) -> None:
    expected = X.copy()
    expected[1, 1] += 0.75
    report = check_golden(identity, [case(X), case(expected, absolute=0.5), case(X)])
    assert report.cases == 1
    assert "golden case 1: output 'y'" in report.mismatch
    assert "1 of 4 elements, at worst 1.5 times as far" in report.mismatch
    assert "4.75" not in report.mismatch


def test_nan_and_infinity_equal_only_themselves(identity: Session) -> None:
    odd = np.array([[np.nan, np.inf]], np.float32)
    assert check_golden(identity, [case(odd, odd)]).mismatch == ""
    for wrong in (odd[:, ::-1], -odd, np.array([[np.nan, 1]], np.float32)):
        report = check_golden(identity, [case(wrong.copy(), odd, absolute=1e30, relative=1e30)])
        assert "elements" in report.mismatch


def test_another_shape_type_or_name_does_not_pass(identity: Session) -> None:
    assert "FP32 [2, 2], expected FP32 [4]" in check_golden(identity, [case(X.ravel())]).mismatch
    as_double = case(X.astype(np.float64), absolute=9.0)
    assert "expected FP64" in check_golden(identity, [as_double]).mismatch
    other = GoldenCase(inputs={"x": X}, outputs={"z": X})
    assert "'z' is none of the model's" in check_golden(identity, [other]).mismatch


def test_whole_numbers_and_text_have_to_be_equal(tmp_path: Path) -> None:
    for datatype, right, wrong in (
        ("INT64", np.array([[1, 2]]), np.array([[1, 3]])),
        ("BYTES", np.array([["a", "b"]], object), np.array([["a", "c"]], object)),
        ("BOOL", np.array([[True, False]]), np.array([[True, True]])),
    ):
        session = Session.open(save_identity(tmp_path / "m.onnx", datatype), ModelPlan())
        assert check_golden(session, [case(right, right)]).mismatch == ""
        report = check_golden(session, [case(wrong, right, absolute=10.0)])
        assert "1 of 2 elements" in report.mismatch


def test_a_model_that_fails_on_a_case_does_not_pass(identity: Session) -> None:
    bad = GoldenCase(inputs={"x": np.ones(3, np.int64)}, outputs={"y": X})
    assert "golden case 0: " in check_golden(identity, [bad]).mismatch


def test_a_run_that_does_not_end_is_ended(tmp_path: Path) -> None:
    session = Session.open(save_endless_loop(tmp_path / "m.onnx"), ModelPlan())
    with pytest.raises(DeadlineExceeded):
        check_golden(session, [case(X)], deadline_s=0.2)


def test_cases_survive_their_file() -> None:
    cases = [case(X, absolute=0.5, relative=0.25), case(np.array([["ä"]], object))]
    data = encode_cases(cases)
    assert data == encode_cases(cases)
    first, second = decode_cases(data)
    np.testing.assert_array_equal(first.outputs["y"], X)
    assert first.tolerances == {"y": Tolerance(absolute=0.5, relative=0.25)}
    assert second.outputs["y"].tolist() == [["ä"]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_tolerance_that_lets_everything_pass_cannot_be(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Tolerance(absolute=value)
    from fogline.wire.bundle_pb2 import GoldenCases

    message = GoldenCases.FromString(encode_cases([case(X, absolute=1.0)]))
    message.cases[0].tolerances[0].absolute = value
    with pytest.raises(Corrupt, match="case 0"):
        decode_cases(message.SerializeToString())


def test_latency_is_measured_within_its_budget(identity: Session) -> None:
    latency = measure_latency(identity, {"x": X}, rows=2, effort=Effort(runs=50, budget_s=5))
    assert (latency.rows, latency.runs) == (2, 50)
    assert 0 < latency.us_p50 <= latency.us_p90
    ticks = iter(range(100))
    slow = measure_latency(identity, {"x": X}, rows=2, timer=lambda: float(next(ticks)))
    assert (slow.runs, slow.us_p50) == (1, 1e6)


def test_the_peak_only_grows() -> None:
    before = own_peak_bytes()
    block = np.ones(50_000_000, np.uint8)
    assert own_peak_bytes() >= max(before, block.nbytes)
    del block
    assert own_peak_bytes() >= before


def test_a_model_of_two_outputs_is_held_to_both(tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["a"]), helper.make_node("Abs", ["x"], ["b"])]
    path = save_graph(
        tmp_path / "m.onnx",
        nodes,
        [tensor("x", "FP32", [None, 2])],
        [tensor("a", "FP32", [None, 2]), tensor("b", "FP32", [None, 2])],
    )
    both = GoldenCase(inputs={"x": X}, outputs={"a": -X, "b": -X})
    report = check_golden(Session.open(path, ModelPlan()), [both])
    assert "output 'b'" in report.mismatch


def test_a_scalar_output_is_held_to_its_value(tmp_path: Path) -> None:
    path = save_identity(tmp_path / "m.onnx", shape=())
    session = Session.open(path, ModelPlan())
    good = case(np.array(2.0, np.float32), np.array(2.0, np.float32))
    assert check_golden(session, [good]).mismatch == ""
    bad = case(np.array(3.0, np.float32), np.array(2.0, np.float32))
    assert check_golden(session, [bad]).mismatch
