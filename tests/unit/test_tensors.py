import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fogline import tensors
from fogline.errors import Corrupt, FoglineError, InvalidInput, Unsupported
from fogline.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
NUMBERS = st.sampled_from([d for n, d in tensors.DATATYPES.items() if n != "BYTES"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ARRAYS: st.SearchStrategy[tensors.Array] = st.one_of(
    NUMBERS.flatmap(lambda d: hnp.arrays(d, SHAPES)),
    hnp.arrays(np.object_, SHAPES, elements=TEXTS),
)


def request_of(
    datatype: str, shape: list[int], raw: bytes | None = None, **contents: Any
) -> ModelInferRequest:
    request = ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    if raw is not None:
        request.raw_input_contents.append(raw)
    return request


def same(a: tensors.Array, b: tensors.Array) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()


@given(st.dictionaries(TEXTS, ARRAYS, max_size=4))
def test_arrays_survive_the_raw_form_bit_for_bit(arrays: dict[str, tensors.Array]) -> None:
    request, response = ModelInferRequest(), ModelInferResponse()
    tensors.encode_inputs(request, arrays)
    tensors.encode_outputs(response, arrays)
    for decoded in (tensors.decode_inputs(request), tensors.decode_outputs(response)):
        assert list(decoded) == list(arrays)
        assert all(same(decoded[name], arrays[name]) for name in arrays)


@given(ARRAYS)
def test_arrays_survive_the_typed_form(array: tensors.Array) -> None:
    datatype = tensors.datatype_of(array)
    if datatype == "FP16":
        return
    field = tensors._CONTENTS[datatype]
    values: Any = (
        [v.encode() for v in array.flat] if datatype == "BYTES" else array.ravel().tolist()
    )
    request = request_of(datatype, list(array.shape), None, **{field: values})
    decoded = tensors.decode_inputs(request)["x"]
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)
    assert decoded.shape == array.shape


@given(
    st.sampled_from([*tensors.DATATYPES, "BF16", ""]),
    st.lists(st.integers(-2, 2**62), max_size=3),
    st.binary(max_size=40),
)
def test_any_raw_bytes_decode_or_raise_an_error_of_ours(
    datatype: str, shape: list[int], raw: bytes
) -> None:
    try:
        decoded = tensors.decode_inputs(request_of(datatype, shape, raw))["x"]
    except FoglineError:
        return
    assert decoded.shape == tuple(shape)


@given(st.binary(max_size=200))
def test_any_message_decodes_or_raises_corrupt(data: bytes) -> None:
    try:
        response = ModelInferResponse.FromString(data)
    except Exception:
        return
    try:
        tensors.decode_outputs(response)
    except (Corrupt, Unsupported):
        return


def test_trailing_nuls_and_empty_strings_survive() -> None:
    raw = b"".join(struct.pack("<I", len(b)) + b for b in (b"a\0\0", b"", b"\0"))
    decoded = tensors.decode_inputs(request_of("BYTES", [3], raw))["x"]
    assert decoded.tolist() == ["a\0\0", "", "\0"]


def test_numpy_text_arrays_are_sent_as_bytes() -> None:
    request = ModelInferRequest()
    tensors.encode_inputs(request, {"x": np.array([["a", "é"]])})
    assert tensors.decode_inputs(request)["x"].tolist() == [["a", "é"]]


def test_big_endian_and_strided_arrays_are_sent_right() -> None:
    array = np.arange(12, dtype=">f4").reshape(3, 4).T
    request = ModelInferRequest()
    tensors.encode_inputs(request, {"x": array})
    assert np.array_equal(tensors.decode_inputs(request)["x"], array)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (request_of("FP32", [2], b"1234567"), "expected 8 bytes for 2 elements of FP32, got 7"),
        (request_of("FP32", [-1], b""), "negative dimension"),
        (request_of("FP32", [1] * 33, b"1234"), "33 dimensions, at most 32"),
        (request_of("FP32", [0, 2**62, 2**62], b""), "too large"),
        (request_of("BOOL", [1], b"\2"), "one byte 0 or 1"),
        (request_of("BYTES", [1], b"\1\0\0\0\xff"), "element 0 is not UTF-8"),
        (request_of("BYTES", [2], b"\1\0\0\0a"), "cannot hold 2 elements"),
        (request_of("BYTES", [1], b"\5\0\0\0a"), "end inside element 0"),
        (request_of("BYTES", [1], b"\1\0\0\0ab"), "1 raw bytes are left"),
        (request_of("BYTES", [1], bytes_contents=[b"\xff"]), "element 0 is not UTF-8"),
        (request_of("FP16", [1], fp32_contents=[1.0]), "no typed contents for FP16"),
        (request_of("FP32", [1], fp64_contents=[1.0]), "FP32 stands in fp32_contents"),
        (request_of("FP32", [2], fp32_contents=[1.0]), "expected 2 elements in fp32_contents"),
        (request_of("INT8", [1], int_contents=[128]), "out of the range of INT8"),
        (request_of("UINT16", [1], uint_contents=[65536]), "out of the range of UINT16"),
        (request_of("FP32", [1], b"1234", fp32_contents=[1.0]), "use one form"),
    ],
)
def test_a_wrong_tensor_is_named_with_what_was_expected(
    request_: ModelInferRequest, text: str
) -> None:
    with pytest.raises(InvalidInput, match=f"'x'.*{text}"):
        tensors.decode_inputs(request_)


def test_bf16_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match=r"'x'.*'BF16' is not served"):
        tensors.decode_inputs(request_of("BF16", [1], b"ab"))


def test_a_tensor_twice_and_a_wrong_number_of_raw_contents_are_refused() -> None:
    request = request_of("FP32", [1], b"1234")
    request.inputs.add(name="x", datatype="FP32", shape=[1])
    with pytest.raises(InvalidInput, match="1 raw contents for 2 input tensors"):
        tensors.decode_inputs(request)
    request.raw_input_contents.append(b"1234")
    with pytest.raises(InvalidInput, match="'x' is given twice"):
        tensors.decode_inputs(request)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([b"a"]), "object array of str"),
        (np.array([1 + 2j]), "complex128 is no datatype"),
        (np.array(["a", 1], object), "element 1 is int"),
        (np.array(["\ud800"], object), "lone surrogate"),
    ],
)
def test_what_has_no_datatype_is_not_encoded(array: tensors.Array, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        tensors.encode_inputs(ModelInferRequest(), {"x": array})


def test_bf16_is_named_with_what_to_send_instead() -> None:
    with pytest.raises(Unsupported, match="no numpy type holds it, send FP32 or FP16"):
        tensors.decode_inputs(request_of("BF16", [1], b"ab"))


def test_a_16_bit_array_never_passes_for_bf16() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert tensors.datatype_of(np.zeros(1, np.uint16)) == "UINT16"
    assert tensors.datatype_of(np.zeros(1, np.float16)) == "FP16"
    with pytest.raises(InvalidInput, match="bfloat16 is no datatype"):
        tensors.encode_inputs(ModelInferRequest(), {"x": np.zeros(1, ml_dtypes.bfloat16)})


def test_a_boolean_of_another_byte_is_refused_wherever_it_stands() -> None:
    for at in range(3):
        raw = bytes(7 if i == at else i % 2 for i in range(3))
        with pytest.raises(InvalidInput, match="one byte 0 or 1"):
            tensors.decode_inputs(request_of("BOOL", [3], raw))
    assert tensors.decode_inputs(request_of("BOOL", [3], b"\1\0\1"))["x"].tolist() == [
        True,
        False,
        True,
    ]


def test_arrays_of_messages_begin_where_numpys_own_do() -> None:
    """Sums over a tensor depend, in the last bits, on where in memory it begins."""
    for size in (1, 30, 1000, 100_000):
        request = ModelInferRequest(model_name="odd")
        tensors.encode_inputs(request, {"x": np.zeros(size, np.float32)})
        parsed = ModelInferRequest.FromString(request.SerializeToString())
        assert tensors.decode_inputs(parsed)["x"].ctypes.data % 16 == 0
