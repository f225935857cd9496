"""Which inputs of a graph need declared bounds, and which graphs need none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fogline.errors import Exhausted
from fogline.runtime.bounds import undeclared_bounds
from fogline.runtime.graph import GraphBounds, inspect_graph
from fogline.runtime.sizing import BOUNDED, CARRIED, CUT, INDICES, POLES
from fogline.runtime.sizing import SIZED as SIZED_OPERATORS
from fogline.schema import Field, Schema
from tests import hostile_models as hostile
from tests.models import save_graph, save_slow_loop, tensor

node = helper.make_node


def constant(name: str, value: Any, dtype: Any = np.int64) -> Any:
    return numpy_helper.from_array(np.array(value, dtype), name)


CONSTANTS = [
    constant("zero", 0),
    constant("one", 1),
    constant("ten", 10),
    constant("zeros", [0]),
    constant("minus", -1),
    constant("two", [2]),
    constant("true", True, np.bool_),
    constant("huge", 2**62),
    constant("half", 0.5, np.float32),
]
INPUTS = [
    tensor("x", "FP32", [None, 4]),
    tensor("n", "INT64", [None]),
    tensor("m", "INT64", []),
    tensor("flag", "BOOL", []),
    tensor("text", "BYTES", [None]),
]


def needs_of(path: Path, nodes: Sequence[Any], inputs: Sequence[Any] = INPUTS) -> dict[str, str]:
    """Input -> where bounds are needed; the graph's output is the last node's."""
    outputs = [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)]
    save_graph(path / "m.onnx", nodes, inputs, outputs, CONSTANTS)
    return {n.input: n.node for n in inspect_graph(path / "m.onnx").needs}


SIZED = {
    "Range limit": ([node("Range", ["zero", "m", "one"], ["y"], "r")], {"m"}),
    "Range start": ([node("Range", ["m", "ten", "one"], ["y"])], {"m"}),
    "ConstantOfShape": ([node("ConstantOfShape", ["n"], ["y"])], {"n"}),
    "Expand": ([node("Expand", ["x", "n"], ["y"])], {"n"}),
    "Tile": ([node("Tile", ["x", "n"], ["y"])], {"n"}),
    "Pad": ([node("Pad", ["x", "n"], ["y"])], {"n"}),
    "Resize sizes": ([node("Resize", ["x", "", "", "n"], ["y"])], {"n"}),
    "Resize scales": ([node("Resize", ["x", "", "x"], ["y"])], {"x"}),
    "OneHot": ([node("OneHot", ["n", "m", "two"], ["y"])], {"m"}),
    "CenterCropPad": ([node("CenterCropPad", ["x", "n"], ["y"])], {"n"}),
    "HannWindow": ([node("HannWindow", ["m"], ["y"])], {"m"}),
    "through arithmetic": (
        [
            node("ReduceSum", ["x"], ["s"], keepdims=0),
            node("Cast", ["s"], ["i"], to=TensorProto.INT64),
            node("Add", ["i", "m"], ["j"]),
            node("Range", ["zero", "j", "one"], ["y"]),
        ],
        {"x", "m"},
    ),
    "a string that is a number": (
        [
            node("Cast", ["text"], ["i"], to=TensorProto.INT64),
            node("ConstantOfShape", ["i"], ["y"]),
        ],
        {"text"},
    ),
    "a size made of values, again": (
        [
            node("ConstantOfShape", ["n"], ["c"]),
            node("Shape", ["c"], ["s"]),
            node("Expand", ["half", "s"], ["y"]),
        ],
        {"n"},
    ),
    "the inverse of a bounded value": (
        [
            node("Sigmoid", ["x"], ["s"]),
            node("Reciprocal", ["s"], ["r"]),
            node("Resize", ["x", "", "r"], ["y"]),
        ],
        {"x"},
    ),
    "a step near zero": (
        [
            node("Sigmoid", ["x"], ["s"]),
            node("Range", ["half", "half", "s"], ["y"]),
        ],
        {"x"},
    ),
    "whole numbers divided": ([node("Div", ["n", "m"], ["y"])], {"n"}),
    "whole numbers divided by -1": ([node("Div", ["n", "minus"], ["y"])], {"n"}),
    "nodes in another order": (
        [
            node("Range", ["zero", "b", "one"], ["y"]),
            node("Identity", ["a"], ["b"]),
            node("Identity", ["m"], ["a"]),
            node("Identity", ["y"], ["z"]),
        ],
        {"m"},
    ),
}


@pytest.mark.parametrize("case", SIZED)
def test_an_input_that_decides_a_size_needs_bounds(tmp_path: Path, case: str) -> None:
    nodes, expected = SIZED[case]
    assert needs_of(tmp_path, nodes).keys() == expected


HARMLESS = {
    "a shape of a shape": [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zeros"], ["rows"]),
        node("Concat", ["rows", "two"], ["shape"], axis=0),
        node("Expand", ["half", "shape"], ["y"]),
    ],
    "an index": [
        node("ArgMax", ["x"], ["a"], axis=1, keepdims=0),
        node("ConstantOfShape", ["a"], ["y"]),
    ],
    "a count of what is true": [
        node("Greater", ["x", "half"], ["g"]),
        node("Cast", ["g"], ["i"], to=TensorProto.INT64),
        node("ReduceSum", ["i"], ["s"], keepdims=0),
        node("Range", ["zero", "s", "one"], ["y"]),
    ],
    "how many are not zero": [
        node("NonZero", ["x"], ["z"]),
        node("Shape", ["z"], ["s"]),
        node("ConstantOfShape", ["s"], ["y"]),
    ],
    "values that are only indices": [node("Gather", ["x", "n"], ["y"])],
    "a constant chosen by a value": [
        node("Where", ["flag", "zero", "ten"], ["s"]),
        node("Range", ["zero", "s", "one"], ["y"]),
    ],
    "a new shape for the same elements": [node("Reshape", ["x", "n"], ["y"])],
    "a reciprocal of numbers": [node("Div", ["x", "half"], ["y"])],
    "whole numbers halved": [node("Div", ["n", "two"], ["y"])],
    "the best": [node("TopK", ["x", "n"], ["y", "i"]), node("Identity", ["y"], ["z"])],
    "a truth": [
        node("Cast", ["flag"], ["i"], to=TensorProto.INT64),
        node("Range", ["zero", "i", "one"], ["y"]),
    ],
    "a constant size": [node("Expand", ["x", "two"], ["y"])],
}


@pytest.mark.parametrize("case", HARMLESS)
def test_sizes_of_the_request_and_of_the_file_need_none(tmp_path: Path, case: str) -> None:
    assert needs_of(tmp_path, HARMLESS[case]) == {}


def body(nodes: Sequence[Any], *outputs: str) -> Any:
    return helper.make_graph(
        [*nodes, node("Identity", ["go"], ["go_on"])],
        "body",
        [tensor("i", "INT64", []), tensor("go", "BOOL", []), tensor("state", "INT64", [])],
        [helper.make_tensor_value_info(o, TensorProto.INT64, None) for o in ("go_on", *outputs)],
    )


def test_values_are_followed_into_and_out_of_loops(tmp_path: Path) -> None:
    inner = body(
        [node("Add", ["state", "m"], ["next"]), node("Range", ["zero", "state", "one"], ["r"])],
        "next",
    )
    loop = node("Loop", ["ten", "true", "zero"], ["y"], body=inner)
    found = needs_of(tmp_path, [loop])
    assert found.keys() == {"m"}  # only in the second round
    assert "Range" in found["m"]


def test_a_trip_count_needs_bounds(tmp_path: Path) -> None:
    path = save_slow_loop(tmp_path / "m.onnx")
    (need,) = inspect_graph(path).needs
    assert need.input == "n"
    assert "trip count" in need.node


@pytest.mark.parametrize(("trips", "expected"), [("huge", {"m"}), ("", {"m"}), ("ten", set())])
def test_a_loop_that_a_value_ends_needs_bounds_unless_it_is_short(
    tmp_path: Path, trips: str, expected: set[str]
) -> None:
    inner = helper.make_graph(
        [
            node("Less", ["i", "m"], ["go_on"]),
            node("Identity", ["state"], ["next"]),
        ],
        "body",
        [tensor("i", "INT64", []), tensor("go", "BOOL", []), tensor("state", "INT64", [])],
        [tensor("go_on", "BOOL", []), tensor("next", "INT64", [])],
    )
    loop = node("Loop", [trips, "true", "zero"], ["y"], body=inner)
    assert needs_of(tmp_path, [loop]).keys() == expected
    if trips:
        passed_on = node("Identity", [trips], ["same"])
        loop = node("Loop", ["same", "true", "zero"], ["y"], body=inner)
        assert needs_of(tmp_path, [passed_on, loop]).keys() == expected


@pytest.mark.parametrize("how", ["chosen", "counted"])
def test_a_condition_that_hides_the_value_it_depends_on_is_seen(tmp_path: Path, how: str) -> None:
    """By choosing between constants, or by the size of what is left of a tensor."""
    hidden = {
        "chosen": [
            node("Less", ["i", "m"], ["less"]),
            node("Where", ["less", "true", "false"], ["go_on"]),
        ],
        "counted": [
            node("Sub", ["n", "i"], ["left"]),
            node("NonZero", ["left"], ["there"]),
            node("Size", ["there"], ["count"]),
            node("Cast", ["count"], ["go_on"], to=TensorProto.BOOL),
        ],
    }
    inner = helper.make_graph(
        [*hidden[how], node("Identity", ["state"], ["next"])],
        "body",
        [tensor("i", "INT64", []), tensor("go", "BOOL", []), tensor("state", "INT64", [])],
        [tensor("go_on", "BOOL", []), tensor("next", "INT64", [])],
        [constant("false", False, np.bool_)],
    )
    loop = node("Loop", ["", "true", "zero"], ["y"], body=inner)
    assert needs_of(tmp_path, [loop]).keys() == ({"m"} if how == "chosen" else {"n"})


def test_both_branches_are_followed(tmp_path: Path) -> None:
    out = tensor("out", "INT64", [None])
    then = helper.make_graph([node("Identity", ["zeros"], ["out"])], "t", [], [out])
    other = helper.make_graph([node("Range", ["zero", "m", "one"], ["out"])], "e", [], [out])
    branch = node("If", ["flag"], ["y"], then_branch=then, else_branch=other)
    assert needs_of(tmp_path, [branch]).keys() == {"m"}


def test_values_are_followed_through_scans(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [node("Add", ["state", "one_n"], ["next"]), node("Identity", ["next"], ["all"])],
        "body",
        [tensor("state", "INT64", []), tensor("one_n", "INT64", [])],
        [tensor("next", "INT64", []), tensor("all", "INT64", [])],
    )
    nodes = [
        node("Scan", ["zero", "n"], ["last", "every"], body=inner, num_scan_inputs=1),
        node("ConstantOfShape", ["every"], ["y"]),
    ]
    assert needs_of(tmp_path, nodes).keys() == {"n"}


def test_an_input_with_a_value_of_its_own_is_no_input(tmp_path: Path) -> None:
    nodes = [node("Range", ["zero", "ten", "one"], ["y"])]
    assert needs_of(tmp_path, nodes, [*INPUTS, tensor("ten", "INT64", [])]) == {}


def schema(datatype: str = "INT64", **bounds: Any) -> Schema:
    return Schema(inputs=(Field(name="m", datatype=datatype, shape=(), **bounds),), outputs=())


def test_declared_bounds_are_enough_and_others_are_asked_for(tmp_path: Path) -> None:
    needs_of(tmp_path, [node("Range", ["zero", "m", "one"], ["y"], "numbers")])
    facts = inspect_graph(tmp_path / "m.onnx")
    assert undeclared_bounds(facts, schema(minimum=0, maximum=1000)) == ""
    assert undeclared_bounds(facts, schema("UINT32", maximum=1000)) == ""
    for lacking in (None, schema(), schema(maximum=9), schema(minimum=-(2**63), maximum=9)):
        text = undeclared_bounds(facts, lacking)
        for part in ("'m'", "Range node 'numbers' (limit)", "`minimum` and `maximum`"):
            assert part in text


def test_text_can_have_no_bounds(tmp_path: Path) -> None:
    needs_of(tmp_path, *SIZED["a string that is a number"][:1])
    text = undeclared_bounds(inspect_graph(tmp_path / "m.onnx"), None)
    assert "BYTES can have no bounds" in text


def test_following_is_bounded(tmp_path: Path) -> None:
    path = hostile.save_nested(tmp_path / "m.onnx", 8)
    with pytest.raises(Exhausted, match="following its values"):
        inspect_graph(path, bounds=GraphBounds(visits=5))


def test_many_nodes_in_the_wrong_order_are_followed_in_few_passes(tmp_path: Path) -> None:
    chain = [node("Identity", [f"a{i}"], [f"a{i + 1}"]) for i in range(3000)]
    nodes = [
        node("Range", ["zero", "a3000", "one"], ["y"]),
        *reversed(chain),
        node("Identity", ["m"], ["a0"]),
        node("Identity", ["y"], ["z"]),
    ]
    assert needs_of(tmp_path, nodes).keys() == {"m"}


def test_more_inputs_than_a_schema_has_are_refused(tmp_path: Path) -> None:
    inputs = [tensor(f"x{i}", "FP32", [1]) for i in range(4097)]
    with pytest.raises(Exhausted, match="4097 inputs"):
        needs_of(tmp_path, [node("Identity", ["x0"], ["y"])], inputs)


OPERATORS = sorted({*SIZED_OPERATORS, *BOUNDED, *CARRIED, *POLES, *CUT, *INDICES, "Cast", "Add"})
NAMES = ["x", "n", "m", "flag", "text", "zero", "ten", "half", "a", "b", "c", "d", ""]


@st.composite
def odd_nodes(draw: st.DrawFn, depth: int = 0) -> Any:
    operator = draw(st.sampled_from([*OPERATORS, "If", "Loop", "Scan", "Constant"]))
    made = onnx.NodeProto(op_type=operator.split(".")[-1])
    made.input.extend(draw(st.lists(st.sampled_from(NAMES), max_size=5)))
    made.output.extend(draw(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=3)))
    if operator in ("If", "Loop", "Scan") and depth < 2:
        for name in ("body", "then_branch")[: draw(st.integers(0, 2))]:
            graph = onnx.GraphProto(name="g")
            graph.node.extend(draw(st.lists(odd_nodes(depth + 1), max_size=3)))
            for side in (graph.input, graph.output):
                side.extend(
                    helper.make_tensor_value_info(n, TensorProto.INT64, [])
                    for n in draw(st.lists(st.sampled_from(NAMES[:-1]), max_size=4))
                )
            made.attribute.append(helper.make_attribute(name, graph))
        made.attribute.append(helper.make_attribute("num_scan_inputs", draw(st.integers(-2, 5))))
    return made


def give_each_name_once(nodes: Sequence[Any]) -> None:
    """As onnxruntime wants it of every graph: what was given before is given no more."""
    given: set[str] = set()
    for one in nodes:
        fresh = [name for name in dict.fromkeys(one.output) if name not in given]
        given.update(fresh)
        del one.output[:]
        one.output.extend(fresh)
        for attribute in one.attribute:
            give_each_name_once(attribute.g.node)


@settings(max_examples=300)
@given(nodes=st.lists(odd_nodes(), min_size=1, max_size=8), order=st.randoms())
def test_any_graph_is_followed_and_the_order_of_its_nodes_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, nodes: list[Any], order: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "odd.onnx"
    save_graph(path, nodes, INPUTS, [tensor("y", "FP32", [])], CONSTANTS)
    inspect_graph(path)  # whatever it is
    give_each_name_once(nodes)
    found = []
    for _ in range(2):
        save_graph(path, nodes, INPUTS, [tensor("y", "FP32", [])], CONSTANTS)
        found.append({n.input for n in inspect_graph(path).needs})
        order.shuffle(nodes)
    assert found[0] == found[1]
