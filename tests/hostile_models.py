"""ONNX files that harm whoever loads or runs them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.models import save_graph, tensor


def save_folding_bomb(path: Path, elements: int) -> Path:
    """`y = x + sum(sin(ones(elements)))`: loading it computes the constant part, 4 bytes each."""
    nodes = [
        helper.make_node(
            "ConstantOfShape",
            ["n"],
            ["ones"],
            value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0]),
        ),
        helper.make_node("Sin", ["ones"], ["sines"]),
        helper.make_node("ReduceSum", ["sines"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    shape = numpy_helper.from_array(np.array([elements], np.int64), "n")
    return save_graph(
        path, nodes, [tensor("x", "FP32", [None, 2])], [tensor("y", "FP32", [None, 2])], [shape]
    )


def save_endless_loop(path: Path) -> Path:
    """`y = x`, after a `Loop` whose condition never becomes false."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["value"], ["same"]),
        ],
        "body",
        [tensor("i", "INT64", []), tensor("go", "BOOL", []), tensor("value", "FP32", [None, 2])],
        [tensor("go_on", "BOOL", []), tensor("same", "FP32", [None, 2])],
    )
    return save_graph(
        path,
        [helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)],
        [tensor("x", "FP32", [None, 2])],
        [tensor("y", "FP32", [None, 2])],
        [numpy_helper.from_array(np.array(True), "true")],
    )


def save_greedy(path: Path) -> Path:
    """`y` = the numbers below the sum of `x`, so that one number of the input is an allocation."""
    constants = [
        numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("zero", 0), ("one", 1))
    ]
    return save_graph(
        path,
        [
            helper.make_node("ReduceSum", ["x"], ["limit"], keepdims=0),
            helper.make_node("Range", ["zero", "limit", "one"], ["y"]),
        ],
        [tensor("x", "FP32", [None, 2])],
        [tensor("y", "FP32", [None])],
        constants,
    )


def save_nested(path: Path, depth: int) -> Path:
    """`If` inside `If`, `depth` graphs deep."""
    out = tensor("y", "FP32", [1])
    nodes: list[Any] = [helper.make_node("Constant", [], ["y"], value_floats=[1.0])]
    for _ in range(depth - 1):
        graph = helper.make_graph(nodes, "inner", [], [out])
        nodes = [
            helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=_flat(out)),
        ]
    return save_graph(path, nodes, [tensor("c", "BOOL", [])], [out])


def _flat(out: Any) -> Any:
    node = helper.make_node("Constant", [], ["y"], value_floats=[0.0])
    return helper.make_graph([node], "flat", [], [out])


def save_with_function(path: Path) -> Path:
    """A model-local function that calls itself twice."""
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    calls = [
        helper.make_node("f", ["a"], ["c"], domain="own"),
        helper.make_node("f", ["c"], ["b"], domain="own"),
    ]
    function = helper.make_function("own", "f", ["a"], ["b"], calls, opsets)
    graph = helper.make_graph(
        [helper.make_node("f", ["x"], ["y"], domain="own")],
        "g",
        [tensor("x", "FP32", [None, 2])],
        [tensor("y", "FP32", [None, 2])],
    )
    model = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def save_external(path: Path, location: str, elements: int = 4, **entries: int) -> Path:
    """`y = x + w`, with `w` as external data at `location`."""
    constant = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[elements])
    constant.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **{k: str(v) for k, v in entries.items()}}.items():
        constant.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [tensor("x", "FP32", [None, elements])],
        [tensor("y", "FP32", [None, elements])],
    )
    graph.initializer.append(constant)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def save_sparse(path: Path, dims: tuple[int, int]) -> Path:
    """A sparse constant of one value that would be dense in memory."""
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("i", TensorProto.INT64, [1], [0]),
        dims,
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [tensor("x", "FP32", [None, dims[0]])],
        [tensor("y", "FP32", [None, dims[1]])],
    )
    graph.sparse_initializer.append(sparse)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def read(path: Path) -> Any:
    return onnx.load(path, load_external_data=False)
