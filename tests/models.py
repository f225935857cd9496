"""Small ONNX models, made when a test asks for them."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}

Shape = Sequence[int | str | None]


def save_graph(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    initializers: Sequence[Any] = (),
    domains: Sequence[str] = (),
) -> Path:
    """Writes one graph of opset 21 to `path`."""
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=initializers)
    opsets = [helper.make_opsetid("", 21), *(helper.make_opsetid(d, 1) for d in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def tensor(name: str, datatype: str, shape: Shape) -> Any:
    return helper.make_tensor_value_info(name, ONNX_TYPES[datatype], shape)


def save_identity(path: Path, datatype: str = "FP32", shape: Shape = (None, 2)) -> Path:
    """`y = x`, of any datatype that is served."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return save_graph(path, [node], [tensor("x", datatype, shape)], [tensor("y", datatype, shape)])


def save_bfloat16(path: Path) -> Path:
    """An identity of the type that numpy cannot hold."""
    value = helper.make_tensor_value_info
    return save_graph(
        path,
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", TensorProto.BFLOAT16, [None, 2])],
        [value("y", TensorProto.BFLOAT16, [None, 2])],
    )


def save_constant(path: Path, value: float) -> Path:
    """`y = 0 * x + value` for `x` of FP32 [-1, 2]: tells which version answered."""
    scalars = [helper.make_tensor(n, TensorProto.FLOAT, [], [v]) for n, v in
               (("zero", 0.0), ("value", value))]  # fmt: skip
    nodes = [
        helper.make_node("Mul", ["x", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "value"], ["y"]),
    ]
    sides = [tensor("x", "FP32", (None, 2))], [tensor("y", "FP32", (None, 2))]
    return save_graph(path, nodes, *sides, scalars)


def save_two_inputs(path: Path) -> Path:
    """`product = x * scale` and `total = x + scale` for FP32 [-1, 3] and [-1, 1]."""
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["product"]),
        helper.make_node("Add", ["x", "scale"], ["total"]),
    ]
    inputs = [tensor("x", "FP32", ("n", 3)), tensor("scale", "FP32", ("n", 1))]
    outputs = [tensor("product", "FP32", ("n", 3)), tensor("total", "FP32", ("n", 3))]
    return save_graph(path, nodes, inputs, outputs)


def save_wide(path: Path, columns: int) -> Path:
    """`y` = each row of `x` (FP32 [-1, 1]) as often as there are columns: a long answer."""
    ones = helper.make_tensor("ones", TensorProto.FLOAT, [1, columns], np.ones(columns, np.float32))
    sides = [tensor("x", "FP32", (None, 1))], [tensor("y", "FP32", (None, columns))]
    return save_graph(path, [helper.make_node("Mul", ["x", "ones"], ["y"])], *sides, [ones])


def save_gather(path: Path) -> Path:
    """`y = x[i]`, which fails in the node `pick` where `i` points beyond `x`."""
    node = helper.make_node("Gather", ["x", "i"], ["y"], name="pick")
    inputs = [tensor("x", "FP32", (4,)), tensor("i", "INT64", (None,))]
    return save_graph(path, [node], inputs, [tensor("y", "FP32", (None,))])


def save_slow_loop(path: Path) -> Path:
    """`y` after `n` rounds of a 64 x 64 product; a round takes some ten microseconds."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "state"], ["square"]),
            helper.make_node("Tanh", ["square"], ["next"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "round",
        [tensor("round", "INT64", ()), tensor("go", "BOOL", ()), tensor("state", "FP32", (64, 64))],
        [tensor("go_on", "BOOL", ()), tensor("next", "FP32", (64, 64))],
    )
    initializers = [
        helper.make_tensor("start", TensorProto.FLOAT, [64, 64], [0.01] * 4096),
        helper.make_tensor("true", TensorProto.BOOL, [], [True]),
    ]
    loop = helper.make_node("Loop", ["n", "true", "start"], ["y"], body=body)
    return save_graph(
        path, [loop], [tensor("n", "INT64", ())], [tensor("y", "FP32", (64, 64))], initializers
    )


def save_custom_domain(path: Path) -> Path:
    """A node of a domain that no runtime knows."""
    node = helper.make_node("Magic", ["x"], ["y"], domain="example.custom")
    sides = [tensor("x", "FP32", (None, 2))], [tensor("y", "FP32", (None, 2))]
    return save_graph(path, [node], *sides, domains=["example.custom"])


def fit_classifier(seed: int = 0) -> tuple[Any, Any, Any]:
    """A scaler and a small multi-layer perceptron on the iris data: (pipeline, rows, classes)."""
    from sklearn.datasets import load_iris
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, classes = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=60, random_state=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sixty rounds are enough here, but not converged
        pipeline.fit(rows, classes)
    return pipeline, rows.astype(np.float32), classes


def save_classifier(path: Path, seed: int = 0, *, zipmap: bool = False) -> Path:
    """`fit_classifier` as ONNX: `x` FP32 [-1, 4] -> `label` INT64 [-1], `probabilities` [-1, 3]."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    pipeline, _, _ = fit_classifier(seed)
    model = convert_sklearn(
        pipeline,
        initial_types=[("x", FloatTensorType([None, 4]))],
        final_types=None if zipmap else [("label", None), ("probabilities", None)],
        options={"zipmap": zipmap},
        target_opset=21,
    )
    path.write_bytes(model.SerializeToString())
    return path
