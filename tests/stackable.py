"""Small ONNX models whose rows stay apart, and ones whose rows do not."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.models import save_graph, tensor

WIDTH = 8


def _weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def save_dense(path: Path) -> Path:
    """Two layers and a softmax over columns: `x` [n, 8] -> `y` [n, 3]."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"], axis=-1),
    ]
    constants = [
        numpy_helper.from_array(_weights(WIDTH, 16), "w1"),
        numpy_helper.from_array(_weights(16), "b1"),
        numpy_helper.from_array(_weights(16, 3), "w2"),
    ]
    return _of_rows(path, nodes, constants, outputs=3)


def save_conv(path: Path) -> Path:
    """Convolution, pooling and a dense layer: `x` [n, 1, 8, 8] -> `y` [n, 4]."""
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(_weights(8, 1, 3, 3), "k"),
        numpy_helper.from_array(_weights(8, 4), "w"),
    ]
    inputs = [tensor("x", "FP32", ("n", 1, 8, 8))]
    return save_graph(path, nodes, inputs, [tensor("y", "FP32", ("n", 4))], constants)


def save_forest(path: Path, trees: int = 20) -> Path:
    """`fit` on made-up rows of 8 columns: `X` -> `label` [n], `probabilities` [n, 3]."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    rows = _weights(300, WIDTH)
    classes = (rows[:, 0] > 0).astype(int) + (rows[:, 1] > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forest = RandomForestClassifier(trees, random_state=0).fit(rows, classes)
        model = to_onnx(forest, rows[:1], options={"zipmap": False}, target_opset=18)
    path.write_bytes(model.SerializeToString())
    return path


def save_dynamic_int8(path: Path) -> Path:
    """`save_dense` with weights of 8 bits and one scale of its inputs over the whole batch."""
    from onnxruntime.quantization import quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(str(save_dense(path.with_suffix(".full.onnx"))), str(path))
    return path


def save_softmax_over_batch(path: Path) -> Path:
    return _of_rows(path, [helper.make_node("Softmax", ["x"], ["y"], axis=0)])


def save_mean_over_batch(path: Path) -> Path:
    """`y = x - mean(x)` by column."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"]),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    return _of_rows(path, nodes, [numpy_helper.from_array(np.array([0], np.int64), "axes")])


def save_threshold_over_batch(path: Path) -> Path:
    """`y = x`, but 0 for every row as soon as any value of any row is above 1000."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Less", ["top", "limit"], ["calm"]),
        helper.make_node("Cast", ["calm"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "factor"], ["y"]),
    ]
    return _of_rows(path, nodes, [numpy_helper.from_array(np.array(1000, np.float32), "limit")])


def save_mean_behind_reshape(path: Path) -> Path:
    """As `save_mean_over_batch`, of all columns, behind a fixed shape."""
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
        helper.make_node("ReduceMean", ["f", "axes"], ["mean"]),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, -1], np.int64), "flat"),
        numpy_helper.from_array(np.array([1], np.int64), "axes"),
    ]
    return _of_rows(path, nodes, constants)


def save_mean_behind_shape(path: Path) -> Path:
    """As `save_mean_behind_reshape`, where the graph alone does not say what the shape is."""
    nodes = [
        *_flat(),
        helper.make_node("ReduceMean", ["f", "axes"], ["mean"]),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    return _of_rows(path, nodes, _flat_constants())


def _flat() -> list[Any]:
    """`x` as one row, `f`, by a shape that is computed."""
    return [
        helper.make_node("Shape", ["x"], ["n"], end=1),
        helper.make_node("Div", ["n", "n"], ["one"]),
        helper.make_node("Concat", ["one", "rest"], ["flat"], axis=0),
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
    ]


def _flat_constants() -> list[Any]:
    return [
        numpy_helper.from_array(np.array([v], np.int64), n) for n, v in (("rest", -1), ("axes", 1))
    ]


def save_fixed_batch(path: Path, rows: int = 4) -> Path:
    node = helper.make_node("Relu", ["x"], ["y"])
    sides = [tensor("x", "FP32", (rows, WIDTH))], [tensor("y", "FP32", (rows, WIDTH))]
    return save_graph(path, [node], *sides)


def save_random(path: Path) -> Path:
    """`y = x + noise`."""
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    return _of_rows(path, nodes)


def save_lookup(path: Path, size: int = 4) -> Path:
    """A table of `size` entries looked up by `x` INT64 [n, 3]: fails on any larger index."""
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["found"]),
        helper.make_node("ReduceSum", ["found", "axes"], ["y"], keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(_weights(size, 5), "table"),
        numpy_helper.from_array(np.array([1], np.int64), "axes"),
    ]
    inputs = [tensor("x", "INT64", ("n", 3))]
    return save_graph(path, nodes, inputs, [tensor("y", "FP32", ("n", 5))], constants)


def _of_rows(path: Path, nodes: Any, constants: Any = (), outputs: int = WIDTH) -> Path:
    sides = [tensor("x", "FP32", ("n", WIDTH))], [tensor("y", "FP32", ("n", outputs))]
    return save_graph(path, nodes, *sides, constants)


def save_mean_when_long(path: Path, length: int = 40) -> Path:
    """`y = x - mean(x)` over the batch for rows longer than `length`, else `y = x`.

    The graph says nothing of it: the choice is arithmetic on the rows' own shape.
    """
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=1, end=2),
        helper.make_node("Greater", ["s", "length"], ["long"]),
        helper.make_node("Cast", ["long"], ["factor"], to=TensorProto.FLOAT),
        *_flat(),
        helper.make_node("ReduceMean", ["f", "axes"], ["mean"]),
        helper.make_node("Mul", ["mean", "factor"], ["part"]),
        helper.make_node("Sub", ["x", "part"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([length], np.int64), "length"),
        *_flat_constants(),
    ]
    sides = [tensor("x", "FP32", ("n", "m"))], [tensor("y", "FP32", ("n", "m"))]
    return save_graph(path, nodes, *sides, constants)


def save_near_tie(path: Path, shape: tuple[int, ...]) -> Path:
    """Two scores a row: one half, and less than that for one row, more for several, by 5e-7."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], end=1),
        helper.make_node("Cast", ["s"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["rows", "step"], ["up"]),
        helper.make_node("Add", ["up", "lowest"], ["second"]),
        helper.make_node("ReduceMean", ["x", "columns"], ["m"], keepdims=1),
        helper.make_node("Mul", ["m", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "half"], ["a"]),
        helper.make_node("Add", ["nothing", "second"], ["b"]),
        helper.make_node("Concat", ["a", "b"], ["scores"], axis=1),
        helper.make_node("Reshape", ["scores", "form"], ["y"]),
    ]
    numbers = (("step", 5e-7), ("lowest", 0.5 - 7.5e-7), ("zero", 0.0), ("half", 0.5))
    constants = [
        *(numpy_helper.from_array(np.array(v, np.float32), n) for n, v in numbers),
        numpy_helper.from_array(np.array([1], np.int64), "columns"),
        numpy_helper.from_array(np.array(shape, np.int64), "form"),
    ]
    sides = [tensor("x", "FP32", ("n", WIDTH))], [tensor("y", "FP32", ("n", *shape[1:]))]
    return save_graph(path, nodes, *sides, constants)


def save_size_of_batch(path: Path, datatype: str) -> Path:
    """`y` [n, 8]: in how many rows each number came."""
    to = {"INT32": TensorProto.INT32, "BYTES": TensorProto.STRING}[datatype]
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], end=1),
        helper.make_node("Cast", ["s"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "rows"], ["counts"]),
        helper.make_node("Cast", ["counts"], ["y"], to=to),
    ]
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    sides = [tensor("x", "FP32", ("n", WIDTH))], [tensor("y", datatype, ("n", WIDTH))]
    return save_graph(path, nodes, *sides, [zero])


def save_scalar_when_long(path: Path, length: int = 40) -> Path:
    """`y` is the mean of all where rows are longer than `length`, and else `x`."""
    branches = [
        helper.make_graph([node], name, [], [helper.make_tensor_value_info(out, 1, None)])
        for name, out, node in (
            ("long", "mean", helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0)),
            ("short", "same", helper.make_node("Identity", ["x"], ["same"])),
        )
    ]
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=1),
        helper.make_node("Greater", ["s", "length"], ["is_long"]),
        helper.make_node(
            "If", ["is_long"], ["y"], then_branch=branches[0], else_branch=branches[1]
        ),
    ]
    bound = numpy_helper.from_array(np.array([length], np.int64), "length")
    sides = [tensor("x", "FP32", ("n", None))], [helper.make_tensor_value_info("y", 1, None)]
    return save_graph(path, nodes, *sides, [bound])
