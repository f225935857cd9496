"""Answers are written as protobuf would write them."""

from typing import Any

import numpy as np
import pytest

from fogline.errors import Exhausted, FoglineError
from fogline.schema import Field, Schema
from fogline.tensors import Array, encode_inputs, encode_outputs
from fogline.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fogline_edge.serving.codec import ModelCodec, Request


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
