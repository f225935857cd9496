"""What a look at a model file finds, and what it refuses before anything is loaded."""

import os
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fogline.errors import Corrupt, Exhausted, FoglineError, Unsupported
from fogline.runtime.graph import GraphBounds, inspect_graph
from tests import hostile_models as hostile
from tests.models import save_graph, save_identity, tensor


def test_a_right_file_is_described(tmp_path: Path) -> None:
    facts = inspect_graph(hostile.save_greedy(tmp_path / "m.onnx"))
    assert facts.operators == {"Range": 1, "ReduceSum": 1}
    assert facts.nodes == 2
    assert facts.opsets == {"": 21}
    assert (facts.constants, facts.constant_bytes) == (2, 8)
    assert facts.file_bytes == (tmp_path / "m.onnx").stat().st_size
    assert facts.external_data == ()


def test_nodes_of_inner_graphs_count(tmp_path: Path) -> None:
    path = hostile.save_endless_loop(tmp_path / "m.onnx")
    assert inspect_graph(path).operators == {"Loop": 1, "Identity": 2}
    with pytest.raises(Exhausted, match="more than 2 nodes"):
        inspect_graph(path, bounds=GraphBounds(nodes=2))


def test_nesting_is_bounded(tmp_path: Path) -> None:
    inspect_graph(hostile.save_nested(tmp_path / "a.onnx", 8))
    with pytest.raises(Exhausted, match="deeper than 8"):
        inspect_graph(hostile.save_nested(tmp_path / "b.onnx", 9))


def test_nesting_beyond_what_protobuf_reads_is_corrupt(tmp_path: Path) -> None:
    data = b""
    for number in (6, 5, 1) * 200:  # attribute.g, node.attribute, graph.node, from the inside out
        data = _message(number, data)
    (tmp_path / "m.onnx").write_bytes(_message(7, data) + _message(8, b"\x10\x15"))
    with pytest.raises(Corrupt, match="not an ONNX file"):
        inspect_graph(tmp_path / "m.onnx")


def _message(number: int, data: bytes) -> bytes:
    size = len(data)
    length = b""
    while True:
        length += bytes([size & 127 | (128 if size > 127 else 0)])
        size >>= 7
        if not size:
            return bytes([number << 3 | 2]) + length + data


@pytest.mark.parametrize(
    ("domain", "operator"), [("evil", "Custom"), ("ai.onnx.training", "Adam"), (" ", "Add")]
)
def test_operators_of_other_domains_are_refused(tmp_path: Path, domain: str, operator: str) -> None:
    nodes = [helper.make_node(operator, ["x"], ["y"], domain=domain)]
    ends = [tensor("x", "FP32", [1])], [tensor("y", "FP32", [1])]
    path = save_graph(tmp_path / "m.onnx", nodes, *ends, domains=[domain])
    with pytest.raises(Unsupported, match=f"{domain}.{operator} is not served"):
        inspect_graph(path)


def test_an_operator_that_loads_a_binary_from_a_path_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")]
    path = save_graph(
        tmp_path / "m.onnx",
        nodes,
        [tensor("x", "FP32", [1])],
        [tensor("y", "FP32", [1])],
        domains=["com.microsoft"],
    )
    with pytest.raises(Unsupported, match="EPContext"):
        inspect_graph(path)


def test_functions_in_the_file_are_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="inline_local_functions"):
        inspect_graph(hostile.save_with_function(tmp_path / "m.onnx"))


def test_another_format_by_its_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"\.ort"):
        inspect_graph(save_identity(tmp_path / "m.ort"))


def test_a_file_beyond_two_gibibytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.touch()
    os.truncate(path, 2**31)  # sparse: takes no disk
    with pytest.raises(Exhausted, match="2147483648 bytes"):
        inspect_graph(path)


def test_constants_are_bounded_in_number_and_bytes(tmp_path: Path) -> None:
    path = hostile.save_greedy(tmp_path / "m.onnx")
    with pytest.raises(Exhausted, match="more than 1 constants"):
        inspect_graph(path, bounds=GraphBounds(constants=1))
    with pytest.raises(Exhausted, match="more than 7 bytes"):
        inspect_graph(path, bounds=GraphBounds(constant_bytes=7))


def test_a_sparse_constant_counts_as_what_it_becomes(tmp_path: Path) -> None:
    with pytest.raises(Exhausted, match="constants of more than"):
        inspect_graph(hostile.save_sparse(tmp_path / "m.onnx", (100_000, 100_000)))


def test_negative_dimensions_are_corrupt(tmp_path: Path) -> None:
    path = hostile.save_greedy(tmp_path / "m.onnx")
    model = hostile.read(path)
    model.graph.initializer[0].dims.append(-1)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(Corrupt, match="dimensions"):
        inspect_graph(path)


def test_listed_external_data_is_found(tmp_path: Path) -> None:
    path = hostile.save_external(tmp_path / "m.onnx", "sub/w.bin", offset=16, length=16)
    facts = inspect_graph(path, external_data={"sub/w.bin": 32})
    assert facts.external_data == ("sub/w.bin",)
    assert facts.constant_bytes == 16


@pytest.mark.parametrize(
    "location",
    ["../w", "/etc/passwd", "sub/../../w", ".w", "", "w\n", "*/_ORT_MEM_ADDR_/*", "other"],
)
def test_external_data_elsewhere_is_refused(tmp_path: Path, location: str) -> None:
    path = hostile.save_external(tmp_path / "m.onnx", location)
    with pytest.raises(Corrupt, match="not listed"):
        inspect_graph(path, external_data={"w": 16, location + "x": 16})


@pytest.mark.parametrize(
    "entries",
    [{"offset": 1}, {"length": 17}, {"offset": -1}, {"offset": 2**70}, {"offset": 8, "length": 9}],
)
def test_external_data_beyond_its_file_is_refused(tmp_path: Path, entries: dict[str, int]) -> None:
    path = hostile.save_external(tmp_path / "m.onnx", "w", **entries)
    with pytest.raises(Corrupt, match="beyond the end"):
        inspect_graph(path, external_data={"w": 16})


def test_external_data_in_an_attribute_is_found_too(tmp_path: Path) -> None:
    value = TensorProto(name="v", data_type=TensorProto.FLOAT, dims=[1])
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="/etc/passwd")
    node = helper.make_node("Constant", [], ["y"])
    node.attribute.append(
        onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=value)
    )
    path = save_graph(tmp_path / "m.onnx", [node], [], [tensor("y", "FP32", [1])])
    with pytest.raises(Corrupt, match="/etc/passwd"):
        inspect_graph(path)


@pytest.mark.parametrize("data", [b"", b"\x00", b"not a model", b"\x08\x0a", b"\x3a\xff\xff\xff"])
def test_what_is_no_model_is_corrupt(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(Corrupt, match="not an ONNX file"):
        inspect_graph(tmp_path / "m.onnx")


@given(st.data())
def test_any_damage_is_described_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    right = bytearray(hostile.save_endless_loop(path).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        right[data.draw(st.integers(0, len(right) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(right[: data.draw(st.integers(0, len(right)))])
    with suppress(FoglineError):
        inspect_graph(path)
