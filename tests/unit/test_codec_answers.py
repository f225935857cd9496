"""Answers are written as protobuf would write them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fogline.errors import Exhausted, FoglineError, InvalidInput, NotFound, Unsupported
from fogline.schema import Field, Schema
from fogline.tensors import DATATYPES, Array, decode_outputs, encode_inputs, encode_outputs
from fogline.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fogline_edge.serving.codec import ModelCodec, Request
from fogline_edge.serving.shared_memory import Regions, SharedMemoryConfig


def field(
    name: str, datatype: str = "FP32", shape: tuple[int, ...] = (-1, 3), **more: Any
) -> Field:
    return Field(name=name, datatype=datatype, shape=shape, **more)


def requests_of(codec: ModelCodec, rows: list[int], **outputs: dict[str, Any]) -> list[Request]:
    made = []
    for i, count in enumerate(rows):
        message = ModelInferRequest(model_name="m", id=f"id-{i}" * (i % 3))
        encode_inputs(message, {"x": np.zeros((count, 3), np.float32)})
        for name, parameters in outputs.items():
            wanted = message.outputs.add(name=name)
            for key, value in parameters.items():
                kind = "string_param" if isinstance(value, str) else "int64_param"
                setattr(wanted.parameters[key], kind, value)
        made.append(codec.read(message.SerializeToString(), 1))
    return made


def codec_of(*outputs: Field, **more: Any) -> ModelCodec:
    return ModelCodec("m", 7, Schema(inputs=(field("x"),), outputs=outputs), **more)


def expected(ident: str, outputs: dict[str, Array], prediction_id: str) -> bytes:
    response = ModelInferResponse(model_name="m", model_version="7", id=ident)
    if prediction_id:
        response.parameters["prediction_id"].string_param = prediction_id
    encode_outputs(response, outputs)
    data: bytes = response.SerializeToString()
    return data


@pytest.mark.parametrize("datatype", ["FP32", "FP16", "INT64", "BOOL", "BYTES", "UINT8"])
def test_a_stack_is_cut_into_the_bytes_that_protobuf_writes(datatype: str) -> None:
    codec = codec_of(field("label", datatype, (-1,)), field("score", "FP64", (-1, 2, 2)))
    rows = [1, 1, 3, 0, 1]
    labels: Array = np.arange(6)
    labels = (
        np.array([f"é{i}\0" for i in labels], object)
        if datatype == "BYTES"
        else labels.astype(
            {"FP32": "f4", "FP16": "f2", "INT64": "i8", "BOOL": "?", "UINT8": "u1"}[datatype]
        )
    )
    outputs = {"label": labels, "score": np.arange(24.0).reshape(6, 2, 2)}
    ids = ["p0", "", "x" * 200, "p3", "p4"]
    requests = requests_of(codec, rows)
    start = 0
    for request, count, ident, answer in zip(
        requests, rows, ids, codec.write(requests, outputs, ids), strict=True
    ):
        mine = {n: a[start : start + count] for n, a in outputs.items()}
        assert answer == expected(request.id, mine, ident)
        start += count


def test_an_answer_that_is_too_long_fails_alone() -> None:
    codec = codec_of(field("y", "FP32", (-1, 64)), max_message_bytes=1024)
    requests = requests_of(codec, [1, 8, 2])
    answers = codec.write(requests, {"y": np.zeros((11, 64), np.float32)}, [""] * 3)
    assert [type(a) for a in answers] == [bytes, Exhausted, bytes]
    assert "answer has" in str(answers[1])


def test_an_output_that_is_no_stack_is_never_cut() -> None:
    codec = codec_of(field("y"))
    requests = requests_of(codec, [1, 1])
    answers = codec.write(requests, {"y": np.zeros((3, 3), np.float32)}, ["", ""])
    assert all(isinstance(a, FoglineError) and "expected 2 rows" in str(a) for a in answers)


# ------------------------------------------------------------------ classes, shared memory, marks


def answer_of(codec: ModelCodec, outputs: dict[str, Array], **wanted: Any) -> ModelInferResponse:
    rows = next(iter(outputs.values())).shape[0]
    (answer,) = codec.write(requests_of(codec, [rows], **wanted), outputs, [""])
    if isinstance(answer, FoglineError):
        raise answer
    return ModelInferResponse.FromString(answer)


def test_classes_are_the_highest_values_of_each_row_with_their_labels() -> None:
    codec = codec_of(field("p", labels=("cat", "", "dog")), field("n", "INT64"))
    outputs: dict[str, Array] = {
        "p": np.array([[0.25, 0.5, 0.125], [1.0, 1.0, np.nan]], np.float32),
        "n": np.array([[7, -1, 7], [0, 1, 2]]),
    }
    answer = answer_of(codec, outputs, p={"classification": 2}, n={"classification": 9})
    assert [(o.datatype, list(o.shape)) for o in answer.outputs] == [
        ("BYTES", [2, 2]),
        ("BYTES", [2, 3]),
    ]
    decoded = decode_outputs(answer)
    assert decoded["p"].tolist() == [
        ["0.500000:1", "0.250000:0:cat"],
        ["1.000000:0:cat", "1.000000:1"],
    ]
    assert decoded["n"].tolist() == [["7:0", "7:2", "-1:1"], ["2:2", "1:1", "0:0"]]


def test_classes_of_an_output_without_rows_are_of_all_of_it() -> None:
    codec = codec_of(field("p", "FP64", (2, 2)))
    answer = answer_of(codec, {"p": np.array([[1.1, 3.3], [0.5, 2.4]])}, p={"classification": 2})
    assert decode_outputs(answer)["p"].tolist() == ["3.300000:1", "2.400000:3"]


def test_classes_are_bounded_and_refused_where_there_are_none() -> None:
    codec = codec_of(field("p", "FP32", (-1, 20_000)), field("t", "BYTES", (-1,)))
    with pytest.raises(Exhausted, match="1 rows of 20000 classes, at most 16384"):
        answer_of(codec, {"p": np.zeros((1, 20_000), np.float32)}, p={"classification": 20_000})
    for parameters, text in (
        ({"classification": 1}, "BYTES has no highest values"),
        ({"classification": -1}, "must be from 0"),
        (
            {"classification": 1, "shared_memory_region": "r", "shared_memory_byte_size": 1},
            "not put",
        ),
        ({"shared_memory_region": "r"}, "go together"),
    ):
        with pytest.raises(InvalidInput, match=text):
            requests_of(codec, [1], t=parameters)


@pytest.fixture
def regions(tmp_path: Path) -> Iterator[Regions]:
    (tmp_path / "file").write_bytes(bytes(64))
    made = Regions(SharedMemoryConfig(max_copied_bytes=64), folder=tmp_path)
    made.register("r", "/file", 0, 64, None)
    yield made
    made.unregister()


def test_outputs_go_into_shared_memory_and_inputs_come_from_it(regions: Regions) -> None:
    codec = codec_of(field("y"), field("t", "BYTES", (-1,)), regions=regions)
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    regions.write("r", 40, values.tobytes())
    message = ModelInferRequest(model_name="m")
    tensor = message.inputs.add(name="x", datatype="FP32", shape=[2, 3])
    for target, offset in ((tensor, 40), (message.outputs.add(name="y"), 8)):
        target.parameters["shared_memory_region"].string_param = "r"
        target.parameters["shared_memory_byte_size"].int64_param = 24
        target.parameters["shared_memory_offset"].int64_param = offset
    message.outputs.add(name="t")
    request = codec.read(message.SerializeToString(), 1)
    assert np.array_equal(request.inputs["x"], values)
    texts: Array = np.array(["a", "b"], object)
    (answer,) = codec.write([request], {"y": values + 1, "t": texts}, [""])
    assert isinstance(answer, bytes)
    response = ModelInferResponse.FromString(answer)
    assert [(o.name, o.datatype, list(o.shape)) for o in response.outputs] == [
        ("y", "FP32", [2, 3]),
        ("t", "BYTES", [2]),
    ]
    assert list(response.raw_output_contents) == [b"", b"\1\0\0\0a\1\0\0\0b"]
    assert regions.read("r", 8, 24) == (values + 1).tobytes()


def test_shared_memory_that_is_too_small_fails_its_request_alone(regions: Regions) -> None:
    codec = codec_of(field("y"), regions=regions)
    small = {"shared_memory_region": "r", "shared_memory_byte_size": 20}
    unknown = {"shared_memory_region": "q", "shared_memory_byte_size": 24}
    right = {"shared_memory_region": "r", "shared_memory_byte_size": 24}
    requests = [*requests_of(codec, [2], y=small), *requests_of(codec, [2], y=unknown)]
    requests += [*requests_of(codec, [2], y=right), *requests_of(codec, [2], y={})]
    answers = codec.write(requests, {"y": np.ones((8, 3), np.float32)}, [""] * 4)
    assert [type(a) for a in answers] == [Exhausted, NotFound, bytes, bytes]
    assert "24 bytes, the request gives 20 bytes" in str(answers[0])


def shared_input(region: str, size: int, shape: list[int]) -> bytes:
    message = ModelInferRequest(model_name="m")
    tensor = message.inputs.add(name="x", datatype="FP32", shape=shape)
    tensor.parameters["shared_memory_region"].string_param = region
    tensor.parameters["shared_memory_byte_size"].int64_param = size
    data: bytes = message.SerializeToString()
    return data


def test_inputs_in_shared_memory_are_checked_as_others_are(regions: Regions) -> None:
    codec = codec_of(field("y"), regions=regions)
    for region, size, shape, text in (
        ("q", 12, [1, 3], "no shared memory is registered as 'q'"),
        ("r", 16, [1, 3], "expected 12 bytes for 3 elements of FP32, got 16"),
        ("r", 60, [5, 3], ""),
        ("r", 65, [1, 3], "64"),
    ):
        if not text:
            codec.read(shared_input(region, size, shape), 1)
            continue
        with pytest.raises(FoglineError, match=text):
            codec.read(shared_input(region, size, shape), 1)
    with pytest.raises(Unsupported, match="shared memory is not served"):
        codec_of(field("y")).read(shared_input("r", 12, [1, 3]), 1)


def test_copies_of_shared_memory_are_bounded_over_all_requests(regions: Regions) -> None:
    codec = codec_of(field("y"), regions=regions)
    message = shared_input("r", 24, [2, 3])
    held = [codec.read(message, 1), codec.read(message, 1)]
    with pytest.raises(Exhausted, match="beside 48 that other requests hold"):
        codec.read(message, 1)
    del held[0]
    codec.read(message, 1)


def test_an_answer_is_marked_as_the_last_where_that_is_asked_for() -> None:
    codec = codec_of(field("y"))
    message = ModelInferRequest(model_name="m", id="i")
    encode_inputs(message, {"x": np.zeros((1, 3), np.float32)})
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    request = codec.read(message.SerializeToString(), 1)
    (answer,) = codec.write([request], {"y": np.zeros((1, 3), np.float32)}, ["p"])
    assert isinstance(answer, bytes)
    parameters = ModelInferResponse.FromString(answer).parameters
    assert parameters["triton_final_response"].bool_param
    assert parameters["prediction_id"].string_param == "p"


def test_an_output_without_a_datatype_fails_its_request() -> None:
    codec = codec_of(field("y"))
    (answer,) = codec.write(requests_of(codec, [1]), {"y": np.zeros((1, 3), complex)}, [""])
    assert isinstance(answer, InvalidInput)
    assert "complex128 is no datatype" in str(answer)


@settings(max_examples=150)
@given(st.data())
def test_any_outputs_are_written_as_protobuf_writes_them(data: st.DataObject) -> None:
    datatypes = data.draw(st.lists(st.sampled_from(sorted(DATATYPES)), min_size=1, max_size=3))
    fields = [field(f"o{i}", d, (-1,)) for i, d in enumerate(datatypes)]
    codec = codec_of(*fields)
    rows = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
    outputs = {}
    for one in fields:
        tail = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
        dtype = DATATYPES[one.datatype]
        elements = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
        outputs[one.name] = data.draw(
            hnp.arrays(dtype, (sum(rows), *tail), elements=elements if dtype.hasobject else None)
        )
    requests = requests_of(codec, rows)
    ids = data.draw(
        st.lists(st.text(max_size=9).filter(_has_utf8), min_size=len(rows), max_size=len(rows))
    )
    start = 0
    for request, ident, answer in zip(
        requests, ids, codec.write(requests, outputs, ids), strict=True
    ):
        mine = {n: a[start : start + request.rows] for n, a in outputs.items()}
        assert answer == expected(request.id, mine, ident)
        start += request.rows


def _has_utf8(text: str) -> bool:
    return text.isprintable()
