"""ModelInfer messages as hypothesis makes them: right ones, nearly right ones, and odd bytes."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from fogline.schema import Field, Schema
from fogline.tensors import DATATYPES
from fogline.wire.open_inference_pb2 import ModelInferRequest
from fogline_edge.serving.codec.fields import scan, tag, varint


def field(name: str, datatype: str, *shape: int, **more: Any) -> Field:
    return Field(name=name, datatype=datatype, shape=shape, **more)


SCHEMAS = {
    "rows": Schema(
        inputs=(field("x", "FP32", -1, 3),),
        outputs=(field("y", "FP32", -1, 2), field("label", "INT64", -1)),
    ),
    "several": Schema(
        inputs=(
            field("a", "INT64", -1, 2),
            field("b", "BOOL", -1),
            field("c", "UINT8", -1, -1),
        ),
        outputs=(field("y", "FP32", -1),),
    ),
    "bounded": Schema(
        inputs=(field("x", "INT64", -1, minimum=-5, maximum=5), field("s", "FP16", -1)),
        outputs=(field("y", "BYTES", -1),),
    ),
    "text": Schema(
        inputs=(field("t", "BYTES", -1), field("x", "FP64", -1)), outputs=(field("y", "BOOL", -1),)
    ),
    "scalar": Schema(
        inputs=(field("x", "FP32"), field("k", "INT32", 2)), outputs=(field("y", "FP32", -1),)
    ),
    "none": Schema(inputs=(), outputs=(field("y", "FP32", 1),)),
}

TEXT = st.text(max_size=6) | st.sampled_from(["", "x", "y", "event_time_us", "é"])
WHOLE = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 300) | st.just(1_762_000_000_000_000)


@st.composite
def contents(draw: st.DrawFn, datatype: str, count: int) -> bytes:
    if datatype == "BYTES":
        return b"".join(
            len(b).to_bytes(4, "little") + b
            for b in (draw(TEXT).encode(errors="ignore") for _ in range(count))
        )
    if datatype == "BOOL":
        return bytes(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    if datatype == "INT64":
        values = draw(st.lists(st.integers(-6, 6), min_size=count, max_size=count))
        return np.array(values, "<i8").tobytes()
    size = count * DATATYPES[datatype].itemsize
    return draw(st.binary(min_size=size, max_size=size))


@st.composite
def parameter(draw: st.DrawFn, target: Any) -> None:
    name = draw(
        st.sampled_from(
            [
                "event_time_us", "timeout", "priority", "sequence_id", "own", "classification",
                "shared_memory_region", "shared_memory_byte_size", "binary_data",
                "triton_enable_empty_final_response",
            ]
        )
    )  # fmt: skip
    match draw(st.integers(0, 7)):
        case 0:
            target[name].bool_param = draw(st.booleans())
        case 1:
            target[name].string_param = draw(TEXT).encode(errors="ignore").decode()
        case 2:
            target[name].uint64_param = draw(st.integers(0, 2**64 - 1) | st.integers(0, 3))
        case 3:
            target[name].double_param = draw(st.floats())
        case _:
            target[name].int64_param = draw(WHOLE)


@st.composite
def requests(draw: st.DrawFn, schema: Schema) -> ModelInferRequest:
    """A message that `schema` may well take."""
    message = ModelInferRequest(model_name="m")
    if draw(st.integers(0, 3)) == 0:
        message.model_version = draw(st.sampled_from(["1", "2", ""]))
    if draw(st.integers(0, 2)):
        message.id = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=5)) * draw(
            st.sampled_from([1, 1, 40])
        )
    if draw(st.integers(0, 3)) == 0:
        for _ in range(draw(st.integers(1, 3))):
            draw(parameter(message.parameters))
    rows = draw(st.integers(0, 3))
    fields = list(schema.inputs)
    if draw(st.integers(0, 5)) == 0:
        fields = draw(st.permutations(fields))
    for one in fields:
        shape = [
            rows if i == 0 and d == -1 else 2 if d == -1 else d for i, d in enumerate(one.shape)
        ]
        message.inputs.add(name=one.name, datatype=one.datatype, shape=shape)
        count = int(np.prod(shape, dtype=np.int64))
        message.raw_input_contents.append(draw(contents(one.datatype, count)))
    for one in schema.outputs:
        if draw(st.integers(0, 5)) == 0:
            wanted = message.outputs.add(name=one.name)
            if draw(st.booleans()):
                draw(parameter(wanted.parameters))
    return message


@st.composite
def spoiled(draw: st.DrawFn, message: ModelInferRequest) -> None:
    """Changes one thing of a message that is still one of protobuf's."""
    tensors = message.inputs
    raw = message.raw_input_contents
    match draw(st.integers(0, 7)):
        case 0 if tensors:
            tensors[draw(st.integers(0, len(tensors) - 1))].name = draw(st.sampled_from("xabz"))
        case 1 if tensors:
            one = tensors[draw(st.integers(0, len(tensors) - 1))]
            one.datatype = draw(st.sampled_from([*DATATYPES, "BF16", ""]))
        case 2 if tensors:
            tensors[0].shape.append(draw(st.integers(-2, 2)))
        case 3 if raw:
            raw[draw(st.integers(0, len(raw) - 1))] = draw(st.binary(max_size=24))
        case 4:
            raw.append(draw(st.binary(max_size=4)))
        case 5 if tensors:
            getattr(tensors[0].contents, draw(st.sampled_from(["fp32_contents", "int64_contents"]))
                    ).append(1)  # fmt: skip
        case 6 if tensors:
            draw(parameter(tensors[0].parameters))
        case _:
            message.outputs.add(name=draw(st.sampled_from(["y", "z", ""])))


@st.composite
def reordered(draw: st.DrawFn, data: bytes) -> bytes:
    """The same fields in another order, some twice, some with longer varints, some unknown."""
    parts = [(s.number, data[s.start : s.value], data[s.value : s.end]) for s in scan(data)]
    if draw(st.booleans()):
        parts = draw(st.permutations(parts))
    built = []
    for number, lead, value in parts:
        how = draw(st.integers(0, 9))
        if how == 0:  # a length with a byte more than it needs
            size = varint(len(value))
            built.append(tag(number) + size[:-1] + bytes([size[-1] | 128, 0]) + value)
            continue
        built.append(lead + value)
        if how == 1:
            built.append(lead + value)
        elif how == 2:
            built.append(draw(st.sampled_from([b"\xf8\x07\x01", b"\xfa\x07\x00", b"\x1a\x00"])))
    return b"".join(built)


@st.composite
def messages(draw: st.DrawFn, schema: Schema) -> bytes:
    """Bytes that may be a message for `schema`: most are, or nearly are."""
    message = draw(requests(schema))
    if draw(st.integers(0, 3)) == 0:
        draw(spoiled(message))
    data: bytes = message.SerializeToString()
    match draw(st.integers(0, 9)):
        case 0 | 1:
            data = draw(reordered(data))
        case 2 if data:
            at = draw(st.integers(0, len(data) - 1))
            data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
        case 3 if data:
            data = data[: draw(st.integers(0, len(data)))]
        case _:
            pass
    return data


def seeds() -> list[tuple[int, bytes]]:
    """A right message for each schema, by its number, to begin a search with."""
    made = []
    for number, schema in enumerate(SCHEMAS.values()):
        message = ModelInferRequest(model_name="m", id="id")
        message.parameters["event_time_us"].int64_param = 1_762_000_000_000_000
        for one in schema.inputs:
            shape = [2 if d == -1 else d for d in one.shape]
            message.inputs.add(name=one.name, datatype=one.datatype, shape=shape)
            count = int(np.prod(shape, dtype=np.int64))
            is_text = one.datatype == "BYTES"
            size = count * (5 if is_text else DATATYPES[one.datatype].itemsize)
            message.raw_input_contents.append(b"\1\0\0\0a" * count if is_text else bytes(size))
        made.append((number, message.SerializeToString()))
    return made
