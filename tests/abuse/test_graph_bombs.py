"""Graphs that one number of a request makes take all memory or time: refused, or held to bounds."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from fogline.bundle import BundleDraft, VariantDraft, write_bundle
from fogline.errors import InvalidInput, Unsupported
from fogline.runtime import ModelPlan, Watchdog
from fogline.schema import Field, Schema
from fogline.tensors import Array, decode_outputs, encode_inputs
from fogline.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fogline_edge.serving import ServedModel
from fogline_edge.serving.loading import load
from tests.models import save_graph, tensor
from tests.pipeline_runners import runner_of, surroundings
from tests.pipelines import definition, output_of, step_of
from tests.serving import INFER, models_of, raw_channel, running

node = helper.make_node
CONSTANTS = [
    numpy_helper.from_array(np.array(value), name)
    for name, value in (("zero", 0), ("one", 1), ("true", True), ("ones", [1.0]))
]


def _range() -> list[Any]:
    return [node("Range", ["zero", "n", "one"], ["y"], "numbers")]


def _constant_of_shape() -> list[Any]:
    return [node("ConstantOfShape", ["n"], ["y"], "filled")]


def _tile() -> list[Any]:
    return [node("Tile", ["ones", "n"], ["y"], "tiled")]


def _expand() -> list[Any]:
    return [node("Expand", ["ones", "n"], ["y"], "expanded")]


def _loop() -> list[Any]:
    """Appends to a scan output as often as it is told."""
    body = helper.make_graph(
        [
            node("Identity", ["go"], ["go_on"]),
            node("Add", ["sum", "one"], ["next"]),
            node("Identity", ["next"], ["each"]),
        ],
        "body",
        [tensor("i", "INT64", []), tensor("go", "BOOL", []), tensor("sum", "INT64", [])],
        [tensor("go_on", "BOOL", []), tensor("next", "INT64", []), tensor("each", "INT64", [])],
    )
    return [node("Loop", ["n", "true", "zero"], ["last", "y"], "rounds", body=body)]


def _division() -> list[Any]:
    return [node("Div", ["n", "n"], ["y"], "quotient")]


BOMBS: dict[str, tuple[Callable[[], list[Any]], str, tuple[int, ...]]] = {
    "numbers": (_range, "INT64", ()),
    "filled": (_constant_of_shape, "FP32", (1,)),
    "tiled": (_tile, "FP64", (1,)),
    "expanded": (_expand, "FP64", (1,)),
    "rounds": (_loop, "INT64", ()),
}
"""By the name of the node: nodes, datatype of the output, shape of `n`."""


def save(path: Path, name: str) -> Path:
    nodes, output, shape = BOMBS[name]
    sides = [tensor("n", "INT64", shape)], [tensor("y", output, [None])]
    return save_graph(path, nodes(), *sides, CONSTANTS)


def bundle(folder: Path, name: str, **bounds: Any) -> Path:
    _, output, shape = BOMBS[name]
    schema = Schema(
        inputs=(Field(name="n", datatype="INT64", shape=shape, **bounds),),
        outputs=(Field(name="y", datatype=output, shape=(-1,)),),
    )
    draft = BundleDraft(
        name="m",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        schema=schema,
        variants=(
            VariantDraft(name="fp32", precision="fp32", model=save(folder.with_suffix(".o"), name)),
        ),
    )
    write_bundle(folder, draft)
    return folder


def open_(path: Path, name: str = "m") -> ServedModel:
    return load(
        path, name=name, version=1, variant="", plan=ModelPlan(threads=1), watchdog=Watchdog()
    )


def ask(channel: Any, values: Array, model: str = "m") -> Array:
    request = ModelInferRequest(model_name=model)
    encode_inputs(request, {"n": values})
    answer = channel.send(INFER, request.SerializeToString(), timeout=20)
    return decode_outputs(ModelInferResponse.FromString(answer))["y"]


@pytest.mark.parametrize("name", BOMBS)
def test_a_bare_file_is_refused_with_the_way_to_declare_bounds(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unsupported) as caught:
        open_(save(tmp_path / "m.onnx", name))
    text = str(caught.value)
    assert f"node {name!r}" in text
    assert "'n'" in text
    assert "`minimum` and `maximum`" in text


def test_a_bundle_that_declares_no_bounds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="served only within bounds"):
        open_(bundle(tmp_path / "b", "numbers", maximum=5))


@pytest.mark.parametrize("name", BOMBS)
def test_within_its_bounds_it_is_served_and_outside_it_is_refused(
    tmp_path: Path, name: str
) -> None:
    served = open_(bundle(tmp_path / "b", name, minimum=0, maximum=1000))
    shape = BOMBS[name][2]
    with running(models_of(served)) as address, raw_channel(address) as channel:
        for count in (0, 3, 1000):
            assert ask(channel, np.full(shape, count, np.int64)).shape == (count,)
        for count in (1001, -1, 2**62, -(2**63), 10**9):
            with pytest.raises(grpc.RpcError) as caught:
                ask(channel, np.full(shape, count, np.int64))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            text = caught.value.details()
            assert "model m@1, input 'n': expected values from 0 to 1000" in text
            assert str(count) not in text
        assert ask(channel, np.full(shape, 1, np.int64)).shape == (1,)


def test_a_division_that_would_end_the_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    sides = [tensor("n", "INT64", [None])], [tensor("y", "INT64", [None])]
    save_graph(path, _division(), *sides, CONSTANTS)
    with pytest.raises(Unsupported, match=r"Div node 'quotient' \(the least whole number by -1\)"):
        open_(path)


def test_a_component_is_held_to_its_bounds_inside_a_pipeline(tmp_path: Path) -> None:
    """What reaches it is another component's output, which no request's check has seen."""
    component = open_(bundle(tmp_path / "b", "numbers", minimum=0, maximum=10), "bomb")
    double = tmp_path / "double.onnx"
    ends = [tensor("x", "INT64", [])], [tensor("y", "INT64", [])]
    save_graph(double, [node("Add", ["x", "x"], ["y"])], *ends)
    scalar = {"name": "n", "datatype": "INT64", "shape": []}
    plain = definition(
        [step_of("double", {"x": "inputs.n"}), step_of("bomb", {"n": "double.y"})],
        [output_of("y", "bomb.y", "INT64", -1)],
        inputs=[scalar],
    )
    with surroundings(component, open_(double, "double")) as around:
        runner = runner_of(plain, around)
        assert runner.run({"n": np.array(5)})["y"].shape == (10,)
        with pytest.raises(InvalidInput, match=r"bomb.*'n': expected values from 0 to 10"):
            runner.run({"n": np.array(6)})


def test_floats_are_held_to_bounds_too_and_nan_is_outside_of_any(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    nodes = [
        node("Cast", ["x"], ["n"], to=TensorProto.INT64),
        node("Range", ["zero", "n", "one"], ["y"]),
    ]
    save_graph(path, nodes, [tensor("x", "FP32", [])], [tensor("y", "INT64", [None])], CONSTANTS)
    field = Field(name="x", datatype="FP32", shape=(), minimum=0, maximum=4.5)
    schema = Schema(inputs=(field,), outputs=(Field(name="y", datatype="INT64", shape=(-1,)),))
    draft = BundleDraft(
        name="m",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        schema=schema,
        variants=(VariantDraft(name="fp32", precision="fp32", model=path),),
    )
    write_bundle(tmp_path / "b", draft)
    served = open_(tmp_path / "b")
    with running(models_of(served)) as address, raw_channel(address) as channel:
        for value, is_right in ((4.5, True), (0.0, True), (4.6, False), (np.nan, False),
                                (np.inf, False), (-0.1, False)):  # fmt: skip
            request = ModelInferRequest(model_name="m")
            encode_inputs(request, {"x": np.array(value, np.float32)})
            if is_right:
                channel.send(INFER, request.SerializeToString())
                continue
            with pytest.raises(grpc.RpcError) as caught:
                channel.send(INFER, request.SerializeToString())
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
