"""Stacks of real models: which are allowed, and that nothing that mixes rows gets through."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fogline.bundle import GoldenCase
from fogline.runtime import ModelPlan, Session
from fogline.runtime.measure import Effort
from fogline.runtime.rehearsal import Rows, made_up_rows, other_forms, rows_of_cases
from fogline.runtime.rows import Keeping, RowVerdict, judge_rows
from fogline.runtime.stacking import MIN_GAIN, StackReport, prove_stacking
from fogline.wire.onnx_model_pb2 import Model
from tests import models, stackable

UNKNOWN = RowVerdict(Keeping.UNKNOWN)
"""As if the graph had said nothing: what is refused then, trying alone refuses."""
Save = Callable[[Path], Path]


def proved(
    path: Path, verdict: RowVerdict | None = None, rows: Rows | None = None, **effort: Any
) -> StackReport:
    session = Session.open(path, ModelPlan())
    return prove_stacking(
        session,
        rows or next(made_up_rows(session.inputs, 64)),
        verdict=verdict or judge_rows(Model.FromString(path.read_bytes())),
        max_us=1e6,
        effort=Effort(**effort),
    )


@pytest.mark.parametrize(
    "save",
    [stackable.save_dense, stackable.save_conv, stackable.save_forest, models.save_classifier],
)
def test_models_whose_rows_stay_apart_are_stacked(tmp_path: Path, save: Save) -> None:
    report = proved(save(tmp_path / "m.onnx"), stack_s=20)
    assert report.max_rows > 4, report
    assert report.gain >= MIN_GAIN
    assert report.worst <= 1
    assert report.rows == "made up"


def test_a_stack_answers_as_each_row_alone_does(tmp_path: Path) -> None:
    session = Session.open(stackable.save_conv(tmp_path / "m.onnx"), ModelPlan())
    rows = next(made_up_rows(session.inputs, 33))
    together = session.run(rows.take(0, 33))["y"]
    for i in range(33):
        alone = session.run(rows.take(i, 1))["y"]
        np.testing.assert_allclose(together[i : i + 1], alone, rtol=1e-5, atol=1e-6)


MIXING: list[Save] = [
    stackable.save_dynamic_int8,
    stackable.save_softmax_over_batch,
    stackable.save_mean_over_batch,
    stackable.save_mean_behind_reshape,
    stackable.save_mean_behind_shape,
    stackable.save_random,
]


@pytest.mark.parametrize("save", [*MIXING, stackable.save_threshold_over_batch])
def test_models_that_mix_rows_are_never_stacked(tmp_path: Path, save: Save) -> None:
    report = proved(save(tmp_path / "m.onnx"))
    assert report.max_rows == 1
    assert report.reason


@pytest.mark.parametrize("save", MIXING)
def test_trying_refuses_them_too_where_the_graph_says_nothing(tmp_path: Path, save: Save) -> None:
    report = proved(save(tmp_path / "m.onnx"), UNKNOWN)
    assert report.max_rows == 1
    assert "a row's answer is another among 2 rows" in report.reason, report.reason


def test_equal_rows_would_have_hidden_a_scale_over_the_batch(tmp_path: Path) -> None:
    path = stackable.save_dynamic_int8(tmp_path / "m.onnx")
    one = np.random.default_rng(3).normal(size=(1, 8)).astype(np.float32)
    same = np.repeat(one, 8, axis=0)
    together = Session.open(path, ModelPlan()).run({"x": same})["y"]
    assert np.array_equal(together, np.repeat(together[:1], 8, axis=0))
    report = proved(path, UNKNOWN, Rows({"x": same}, 8, "golden"), max_stack=8)
    assert report.reason == "all rows that it could be tried with are equal"
    (differing,) = rows_of_cases(
        Session.open(path, ModelPlan()).inputs,
        [GoldenCase(inputs={"x": one}, outputs={})],
        8,
    )
    assert proved(path, UNKNOWN, differing, max_stack=8).max_rows == 1


def test_a_threshold_that_no_tried_row_reaches_is_found_in_the_graph(tmp_path: Path) -> None:
    """Trying cannot find it: that is what reading the graph is for."""
    path = stackable.save_threshold_over_batch(tmp_path / "m.onnx")
    assert proved(path, UNKNOWN).max_rows > 1
    report = proved(path)
    assert report.graph == "mixed"
    assert "ReduceMax" in report.reason


def test_a_fixed_batch_is_never_stacked(tmp_path: Path) -> None:
    path = stackable.save_fixed_batch(tmp_path / "m.onnx", rows=1)
    rows = Rows({"x": np.eye(9, 8, dtype=np.float32)}, 9, "golden")
    report = proved(path, rows=rows)
    assert (report.max_rows, report.graph) == (1, "mixed")
    assert "fixed first dimension" in report.reason
    assert "cannot be run together" in proved(path, UNKNOWN, rows).reason


def test_stacks_of_other_forms_are_tried_too(tmp_path: Path) -> None:
    path = stackable.save_mean_when_long(tmp_path / "m.onnx")
    session = Session.open(path, ModelPlan())
    rows = next(made_up_rows(session.inputs, 64))
    assert rows.arrays["x"].shape == (64, 32)
    others = tuple(other_forms(session.inputs, rows))
    assert {o.arrays["x"].shape[1:] for o in others} == {(1,), (64,)}
    verdict = judge_rows(Model.FromString(path.read_bytes()))
    assert verdict.keeping is Keeping.UNKNOWN
    assert prove_stacking(session, rows, verdict=verdict, max_us=1e6).max_rows > 1
    report = prove_stacking(session, rows, verdict=verdict, max_us=1e6, others=others)
    assert report.max_rows == 1
    assert "rows of {'x': [64]}" in report.reason


@pytest.mark.parametrize("shape", [(-1, 2), (-1, 1, 2), (-1, 2, 1), (-1, 2, 1, 1)])
def test_a_label_that_flips_within_rounding_is_another_answer(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    """Classes are the last dimension, or the second of an image."""
    report = proved(stackable.save_near_tie(tmp_path / "m.onnx", shape), UNKNOWN)
    assert report.max_rows == 1
    assert report.reason.endswith("output 'y' has its largest score elsewhere"), report.reason


@pytest.mark.parametrize("datatype", ["INT32", "BYTES"])
def test_whole_numbers_and_text_are_the_same_or_not_at_all(tmp_path: Path, datatype: str) -> None:
    report = proved(stackable.save_size_of_batch(tmp_path / "m.onnx", datatype), UNKNOWN)
    assert report.max_rows == 1
    assert "output 'y' is further off than rounding explains" in report.reason


def test_answers_that_cannot_be_put_together_are_a_reason_against_stacks(tmp_path: Path) -> None:
    path = stackable.save_scalar_when_long(tmp_path / "m.onnx")
    session = Session.open(path, ModelPlan())
    short = Rows({"x": np.eye(16, 8, dtype=np.float32)}, 16, "golden")
    long = Rows({"x": np.eye(16, 48, dtype=np.float32)}, 16, "golden")
    assert prove_stacking(session, short, verdict=UNKNOWN, max_us=1e6).max_rows > 1
    for rows, others in ((short, (long,)), (long, ())):
        report = prove_stacking(session, rows, verdict=UNKNOWN, max_us=1e6, others=others)
        assert report.max_rows == 1
        assert "answers to single rows differ in shape, or have no rows" in report.reason


def test_cases_of_several_forms_give_rows_of_each(tmp_path: Path) -> None:
    path = models.save_identity(tmp_path / "m.onnx", shape=(None, None))
    session = Session.open(path, ModelPlan())
    cases = [
        GoldenCase(inputs={"x": np.ones((2, width), np.float32)}, outputs={}) for width in (3, 5, 3)
    ]
    found = rows_of_cases(session.inputs, cases, 64)
    assert [r.arrays["x"].shape for r in found] == [(64, 3), (8, 5)]


def test_a_stack_that_takes_too_long_is_not_used(tmp_path: Path) -> None:
    session = Session.open(stackable.save_dense(tmp_path / "m.onnx"), ModelPlan())
    rows = next(made_up_rows(session.inputs, 64))
    report = prove_stacking(session, rows, verdict=UNKNOWN, max_us=0.001)
    assert report.max_rows == 1
    assert "may pass" in report.reason


def test_only_what_was_proved_in_time_counts(tmp_path: Path) -> None:
    ticks = iter(range(1000))
    path = stackable.save_dense(tmp_path / "m.onnx")
    session = Session.open(path, ModelPlan())
    report = prove_stacking(
        session,
        next(made_up_rows(session.inputs, 64)),
        verdict=UNKNOWN,
        max_us=1e6,
        effort=Effort(stack_s=10),
        timer=lambda: float(next(ticks)),
    )
    assert 1 < report.max_rows < 64
    assert "were proved in time" in report.reason


# ----------------------------------------------------------------- rehearsal


def test_rows_of_cases_differ_and_stay_within_what_was_seen(tmp_path: Path) -> None:
    session = Session.open(models.save_identity(tmp_path / "m.onnx", "INT64"), ModelPlan())
    cases = [GoldenCase(inputs={"x": np.array([[1, 20], [2, 30]])}, outputs={})]
    (rows,) = rows_of_cases(session.inputs, cases, 16)
    assert (rows.count, rows.source) == (16, "golden")
    assert rows.take(0, 2)["x"].tolist() == [[1, 20], [2, 30]]
    assert set(rows.arrays["x"][:, 0].tolist()) == {1, 2}
    assert set(rows.arrays["x"][:, 1].tolist()) == {20, 30}
    assert len(rows.take(15, 4)["x"]) == 4


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "FP16", "INT64", "BOOL", "BYTES", "UINT8"])
def test_rows_are_made_up_for_every_kind_of_tensor(tmp_path: Path, datatype: str) -> None:
    session = Session.open(models.save_identity(tmp_path / "m.onnx", datatype), ModelPlan())
    rows = next(made_up_rows(session.inputs, 8))
    answer = session.run(rows.take(0, 8))["y"]
    assert answer.tolist() == rows.arrays["x"].tolist()
    assert len({str(row) for row in answer.tolist()}) > 1


def test_free_dimensions_are_filled_and_scalars_made(tmp_path: Path) -> None:
    path = models.save_identity(tmp_path / "m.onnx", shape=(None, 3, None))
    (first, *_) = made_up_rows(Session.open(path, ModelPlan()).inputs, 4)
    assert first.arrays["x"].shape == (4, 3, 32)
    loop = Session.open(models.save_slow_loop(tmp_path / "l.onnx"), ModelPlan())
    (scalar, *_) = made_up_rows(loop.inputs, 4)
    assert (scalar.arrays["n"].shape, scalar.is_batch) == ((), False)


def test_a_case_without_rows_is_a_request_as_a_whole(tmp_path: Path) -> None:
    session = Session.open(models.save_gather(tmp_path / "m.onnx"), ModelPlan())
    inputs = {"x": np.zeros(4, np.float32), "i": np.array([1])}
    (whole,) = rows_of_cases(session.inputs, [GoldenCase(inputs=inputs, outputs={})], 8)
    assert not whole.is_batch
    assert whole.one() == inputs
    free = Session.open(models.save_two_inputs(tmp_path / "t.onnx"), ModelPlan())
    odd = {"x": np.zeros((2, 3), np.float32), "scale": np.zeros((1, 1), np.float32)}
    (whole,) = rows_of_cases(free.inputs, [GoldenCase(inputs=odd, outputs={})], 8)
    assert not whole.is_batch


def test_large_rows_are_fewer(tmp_path: Path) -> None:
    path = models.save_identity(tmp_path / "m.onnx", shape=(None, 1_000_000))
    rows = next(made_up_rows(Session.open(path, ModelPlan()).inputs, 64))
    assert rows.count == 8
    assert len(rows.take(6, 5)["x"]) == 5
