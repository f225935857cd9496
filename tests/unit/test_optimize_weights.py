"""Passes that shrink weights, run by the real runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fogline.runtime import ModelPlan, Session
from fogline_hub.convert import graph
from fogline_hub.optimize.variants.weights import fp16_storage, int8_dynamic, lift_constants


def _dense(op: str = "MatMul", size: int = 64, scale: float = 1.0) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(size, size)) * scale).astype(np.float32)
    bias = rng.normal(size=size).astype(np.float32)
    nodes = (
        [
            helper.make_node("MatMul", ["x", "w"], ["p"]),
            helper.make_node("Add", ["p", "b"], ["y"]),
        ]
        if op == "MatMul"
        else [helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
    )
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "dense",
        [value("x", TensorProto.FLOAT, [None, size])],
        [value("y", TensorProto.FLOAT, [None, size])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(model: onnx.ModelProto, path: Path, rows: np.ndarray) -> tuple[np.ndarray, int]:
    data = graph.finish(model, "dense")
    path.write_bytes(data)
    onnx.checker.check_model(data)
    return Session.open(path, ModelPlan()).run({"x": rows})["y"], len(data)


ROWS = np.random.default_rng(1).normal(size=(20, 64)).astype(np.float32)


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
def test_fp16_storage_halves_the_file_and_keeps_the_answers_close(tmp_path: Path, op: str) -> None:
    model = _dense(op)
    made = fp16_storage(model)
    assert made is not None
    before, size = _run(model, tmp_path / "a.onnx", ROWS)
    after, small = _run(made, tmp_path / "b.onnx", ROWS)
    assert small < 0.55 * size
    assert np.abs(after - before).max() < 0.02


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
def test_int8_quarters_the_file_and_keeps_the_answers_near(tmp_path: Path, op: str) -> None:
    model = _dense(op)
    made = int8_dynamic(model)
    assert made is not None
    before, size = _run(model, tmp_path / "a.onnx", ROWS)
    after, small = _run(made, tmp_path / "b.onnx", ROWS)
    assert small < 0.35 * size
    assert np.abs(after - before).max() < 0.05 * np.abs(before).max()


def test_rows_beside_a_row_change_its_answer_in_dynamic_int8(tmp_path: Path) -> None:
    made = int8_dynamic(_dense())
    assert made is not None
    alone, _ = _run(made, tmp_path / "a.onnx", ROWS[:1])
    beside = ROWS.copy()
    beside[1:] *= 100
    stacked, _ = _run(made, tmp_path / "b.onnx", beside)
    assert np.abs(stacked[0] - alone[0]).max() > 0.1


def test_passes_leave_their_input_alone() -> None:
    model = _dense()
    before = model.SerializeToString()
    fp16_storage(model)
    int8_dynamic(model)
    assert model.SerializeToString() == before


def test_small_constants_are_not_worth_a_node() -> None:
    assert fp16_storage(_dense(size=4)) is None
    assert int8_dynamic(_dense(size=4)) is None


def test_weights_beyond_float16_stay_as_they_are() -> None:
    made = fp16_storage(_dense(scale=1e6))
    assert made is not None  # the bias alone
    kinds = {t.name: t.data_type for t in made.graph.initializer}
    assert kinds["w"] == TensorProto.FLOAT


def test_weights_written_as_constant_nodes_are_found() -> None:
    model = _dense()
    weight = model.graph.initializer[0]
    node = helper.make_node("Constant", [], ["w"], value=weight)
    del model.graph.initializer[0]
    model.graph.node.insert(0, node)
    lift_constants(model)
    assert {t.name for t in model.graph.initializer} == {"w", "b"}
    assert int8_dynamic(model) is not None
