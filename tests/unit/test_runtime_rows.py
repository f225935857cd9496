"""What the graph alone says of rows: kept apart, mixed, or not to be told."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from fogline.runtime.row_rules import RULES
from fogline.runtime.rows import Keeping, RowVerdict, judge_rows
from fogline.wire.onnx_model_pb2 import Model
from tests import hostile_models, models, stackable
from tests.models import Shape, save_graph, tensor


def judged(path: Path) -> RowVerdict:
    return judge_rows(Model.FromString(path.read_bytes()))


@pytest.mark.parametrize(
    "save",
    [
        stackable.save_dense,
        stackable.save_conv,
        stackable.save_forest,
        stackable.save_lookup,
        models.save_two_inputs,
        models.save_identity,
    ],
)
def test_rows_that_stay_apart_are_told(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    assert judged(save(tmp_path / "m.onnx")) == RowVerdict(Keeping.KEPT)


@pytest.mark.parametrize(
    ("save", "says"),
    [
        (stackable.save_softmax_over_batch, "Softmax .* normalises over rows"),
        (stackable.save_mean_over_batch, "ReduceMean .* reduces over rows"),
        (stackable.save_mean_behind_reshape, "ReduceMean .* reduces over rows"),
        (stackable.save_threshold_over_batch, "ReduceMax .* reduces over everything"),
        (stackable.save_fixed_batch, "input 'x' has a fixed first dimension, 4"),
        (stackable.save_random, "RandomNormalLike .* random"),
        (stackable.save_dynamic_int8, "Dynamic.* one scale over all rows"),
        (models.save_slow_loop, "a scalar, one for all rows"),
    ],
)
def test_rows_that_mix_are_told_with_the_reason(
    tmp_path: Path, save: Callable[[Path], Path], says: str
) -> None:
    verdict = judged(save(tmp_path / "m.onnx"))
    assert verdict.keeping is Keeping.MIXED
    assert re.search(says, verdict.why), verdict.why


def test_what_cannot_be_followed_is_unknown(tmp_path: Path) -> None:
    verdict = judged(stackable.save_mean_behind_shape(tmp_path / "m.onnx"))
    assert verdict.keeping is Keeping.UNKNOWN
    assert "Reshape" in verdict.why
    assert judged(models.save_classifier(tmp_path / "m.onnx")).keeping is Keeping.UNKNOWN


def graph(path: Path, *nodes: Any, constants: Any = (), rank: int = 2, out: int = 2) -> RowVerdict:
    """`x` of `rank` dimensions through `nodes` to `y`."""
    dims: tuple[Shape, Shape] = (["n", *[4] * (rank - 1)], ["n", *[4] * (out - 1)])
    sides = [tensor("x", "FP32", dims[0])], [tensor("y", "FP32", dims[1])]
    return judged(save_graph(path, nodes, *sides, constants))


def ints(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def node(operator: str, inputs: str = "x", output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


KEPT, MIXED = Keeping.KEPT, Keeping.MIXED


@pytest.mark.parametrize(
    ("nodes", "constants", "rank", "expected"),
    [
        ([node("Transpose", output="t", perm=[1, 0]), node("Softmax", "t", axis=1)], [], 2, MIXED),
        ([node("Transpose", output="t", perm=[1, 0]), node("Softmax", "t", "s", axis=0),
          node("Transpose", "s", perm=[1, 0])], [], 2, KEPT),
        ([node("Transpose", perm=[1, 0])], [], 2, MIXED),
        ([node("Concat", "x x", axis=0)], [], 2, MIXED),
        ([node("Concat", "x x", axis=1)], [], 2, KEPT),
        ([node("Slice", "x s e a")], [ints("s", 0), ints("e", 1), ints("a", 0)], 2, MIXED),
        ([node("Slice", "x s e a")], [ints("s", 0), ints("e", 2**31), ints("a", 0)], 2, KEPT),
        ([node("Slice", "x s e a")], [ints("s", 0), ints("e", 1), ints("a", -1)], 2, KEPT),
        ([node("Gather", "x i", axis=0)], [ints("i", 0, 1)], 2, MIXED),
        ([node("Gather", "x i", axis=1)], [ints("i", 0, 1)], 2, KEPT),
        ([node("CumSum", "x a")], [ints("a", 0)], 2, MIXED),
        ([node("CumSum", "x a")], [ints("a", 1)], 2, KEPT),
        ([node("ArgMax", output="m", axis=0), node("Add", "x m")], [], 2, MIXED),
        ([node("LayerNormalization", "x s", axis=0)], [ints("s", 1)], 2, MIXED),
        ([node("MatMul", "x x", "g")], [], 2, MIXED),
        ([node("Transpose", output="t", perm=[0, 2, 1]), node("MatMul", "x t")], [], 3, KEPT),
        ([node("Transpose", output="t", perm=[1, 2, 0]), node("MatMul", "x t")], [], 3, MIXED),
        ([node("Unsqueeze", "x a", "u"), node("Add", "u x")], [ints("a", 0)], 2, MIXED),
        ([node("Unsqueeze", "x a", "u"), node("Squeeze", "u a")], [ints("a", 1)], 2, KEPT),
        ([node("Pad", "x p")], [ints("p", 0, 1, 0, 1)], 2, KEPT),
        ([node("Pad", "x p")], [ints("p", 1, 0, 0, 0)], 2, MIXED),
        ([node("ReduceSum", "x a", keepdims=0, output="s"), node("Unsqueeze", "s a")],
         [ints("a", 1)], 2, KEPT),
        ([node("BatchNormalization", "x a a a a", training_mode=1)], [ints("a", 1)], 2, MIXED),
        ([node("Unique", axis=0)], [], 2, MIXED),
        ([node("Reshape", "x s", "f"), node("ReduceMax", "f a", "t"), node("Min", "x t")],
         [ints("s", -1), ints("a", 0)], 2, MIXED),
        ([node("Reshape", "x s", "f"), node("ReduceMax", "f a", "t"), node("Relu", "t")],
         [ints("s", -1, 2, 2), ints("a", 2)], 2, Keeping.UNKNOWN),
        ([node("Flatten", "x", "f", axis=0), node("Softmax", "f", "t"), node("Min", "x t")],
         [], 2, MIXED),
        ([node("Transpose", output="t", perm=[1, 0, 2]), node("GlobalMaxPool", "t", "m"),
          node("Min", "x m")], [], 3, MIXED),
        ([node("Tile", "x r", "t"), node("ReduceMax", "t", "m"), node("Min", "x m")],
         [ints("r", 1, 1)], 2, MIXED),
        ([node("Reshape", "x s", "r"), node("Softmax", "r", axis=-1)], [ints("s", 0, 4)], 2, KEPT),
    ],
)  # fmt: skip
def test_an_operator_is_followed(
    tmp_path: Path, nodes: list[Any], constants: list[Any], rank: int, expected: Keeping
) -> None:
    verdict = graph(tmp_path / "m.onnx", *nodes, constants=constants, rank=rank, out=rank)
    assert verdict.keeping is expected, verdict.why


def test_a_sequence_of_rows_is_not_a_batch(tmp_path: Path) -> None:
    """An `LSTM` takes [sequence, batch, n] unless it says otherwise."""
    weights = [
        numpy_helper.from_array(np.zeros(s, np.float32), n)
        for n, s in (("w", (1, 16, 4)), ("r", (1, 16, 4)))
    ]
    lstm = helper.make_node("LSTM", ["x", "w", "r"], ["", "y"], hidden_size=4)
    verdict = graph(tmp_path / "m.onnx", lstm, constants=weights, rank=3, out=3)
    assert verdict.keeping is Keeping.MIXED
    assert "sequence" in verdict.why


def test_control_flow_over_rows_is_refused(tmp_path: Path) -> None:
    body = helper.make_graph([node("Relu", "x", "z")], "g", [], [tensor("z", "FP32", ("n", 4))])
    nodes = [
        node("ReduceSum", "x", "s", keepdims=0),
        node("Cast", "s", "c", to=9),
        helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body),
    ]
    assert graph(tmp_path / "m.onnx", *nodes).keeping is Keeping.MIXED
    captured = [
        node("Constant", "", "c", value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body),
    ]
    assert "decides for all rows" in graph(tmp_path / "m.onnx", *captured).why


SAVED: list[Callable[[Path], Path]] = [
    stackable.save_dense,
    stackable.save_conv,
    stackable.save_lookup,
    stackable.save_mean_behind_shape,
    hostile_models.save_endless_loop,
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_judged(tmp_path: Path, data: st.DataObject) -> None:
    save = data.draw(st.sampled_from(SAVED))
    path = tmp_path / f"{save.__name__}.onnx"
    right = bytearray((path if path.exists() else save(path)).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        right[data.draw(st.integers(0, len(right) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DecodeError):
        assert isinstance(judge_rows(Model.FromString(bytes(right))), RowVerdict)


@given(
    operator=st.sampled_from(sorted(RULES)),
    inputs=st.lists(st.sampled_from(["x", "c", "", "f", "s"]), max_size=5),
    axis=st.integers(-9, 9),
    axes=st.lists(st.integers(-9, 9), max_size=4),
)
def test_any_node_is_judged(operator: str, inputs: list[str], axis: int, axes: list[int]) -> None:
    model = Model(ir_version=8)
    model.opset_import.add(version=18)
    graph = model.graph
    given = graph.input.add(name="x").type.tensor_type
    given.shape.dim.add(dim_param="n")
    given.shape.dim.add(dim_value=4)
    graph.initializer.add(name="c", data_type=7, dims=[len(axes)], int64_data=axes)
    graph.node.add(op_type="Flatten", input=["x"], output=["f"])
    graph.node.add(op_type="Shape", input=["x"], output=["s"])
    one = graph.node.add(op_type=operator, input=inputs, output=["y", "z"])
    one.attribute.add(name="axis", i=axis)
    for name in ("axes", "perm", "pads"):
        one.attribute.add(name=name, ints=axes)
    graph.output.add(name="y").type.tensor_type.elem_type = 1
    assert isinstance(judge_rows(model), RowVerdict)
