"""Open Inference tensors <-> numpy arrays, with raw and with typed contents.

Strict in both directions: nothing is guessed, padded, wrapped around or repaired. A BYTES tensor is
an object array of `str`, because ONNX strings are UTF-8 (ONNX IR specification, "Tensor Element
Types") and because onnxruntime turns a `bytes` object into its repr; numpy's own string dtypes are
not used, because they drop trailing NULs.

Errors name the tensor, what was expected and what came, never a value of the tensor.

Source: Open Inference Protocol v2, gRPC (KServe `open_inference_grpc.proto`); the raw form of BYTES
is a 4-byte little-endian length before each element.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fogline.errors import Corrupt, FoglineError, InvalidInput, Unsupported
from fogline.wire.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)

Array = npt.NDArray[Any]

MAX_RANK = 32
"""Most dimensions that a tensor may have."""

DATATYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        "INT8": np.dtype("<i1"),
        "INT16": np.dtype("<i2"),
        "INT32": np.dtype("<i4"),
        "INT64": np.dtype("<i8"),
        "UINT8": np.dtype("<u1"),
        "UINT16": np.dtype("<u2"),
        "UINT32": np.dtype("<u4"),
        "UINT64": np.dtype("<u8"),
        "FP16": np.dtype("<f2"),
        "FP32": np.dtype("<f4"),
        "FP64": np.dtype("<f8"),
        "BYTES": np.dtype(np.object_),
    }
)
"""Each datatype that is served, and its numpy dtype; numpy has none for BF16."""

_MAX_EXTENT = 2**62
"""Bytes that a shape with each 0 taken for 1 may span, at 8 bytes an element."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}

_CONTENTS: Mapping[str, str] = MappingProxyType(
    {
        "BOOL": "bool_contents",
        "INT8": "int_contents",
        "INT16": "int_contents",
        "INT32": "int_contents",
        "INT64": "int64_contents",
        "UINT8": "uint_contents",
        "UINT16": "uint_contents",
        "UINT32": "uint_contents",
        "UINT64": "uint64_contents",
        "FP32": "fp32_contents",
        "FP64": "fp64_contents",
        "BYTES": "bytes_contents",
    }
)
"""Where the typed form of a datatype stands; the protocol has no typed form of FP16."""


def datatype_of(array: Array, what: str = "array") -> str:
    """The protocol's name of an array's element type; numpy's `U` counts as BYTES.

    Raises:
        InvalidInput: no datatype of the protocol holds these elements.
    """
    if array.dtype.kind == "U":
        return "BYTES"
    try:
        return _NAMES[array.dtype.newbyteorder("<")]
    except KeyError:
        hint = (
            "; make it an object array of str" if array.dtype.kind == "S" else ""
        )  # numpy's S has already lost trailing NULs
        raise InvalidInput(
            f"{what}: numpy dtype {array.dtype} is no datatype of the protocol{hint}"
        ) from None


def decode_inputs(request: ModelInferRequest) -> dict[str, Array]:
    """The request's input tensors by name; raw ones share the message's memory and are read-only.

    Raises:
        InvalidInput: a shape, size, value or form that cannot be right, or a name given twice.
        Unsupported: a datatype that is not served.
    """
    return _decode(request.inputs, request.raw_input_contents, "input", InvalidInput)


def decode_outputs(response: ModelInferResponse) -> dict[str, Array]:
    """The response's output tensors by name, as `decode_inputs`.

    Raises:
        Corrupt: the answer is not one that a server of this protocol gives.
        Unsupported: a datatype that is not served.
    """
    return _decode(response.outputs, response.raw_output_contents, "output", Corrupt)


def encode_inputs(request: ModelInferRequest, arrays: Mapping[str, Array]) -> None:
    """Appends `arrays` to `request` as raw tensors. Raises `InvalidInput` as `encode_outputs`."""
    for name, array in arrays.items():
        datatype, raw = encode_tensor(f"input {_quoted(name)}", array)
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(raw)


def encode_outputs(response: ModelInferResponse, outputs: Mapping[str, Array]) -> None:
    """Appends `outputs` to `response` as raw tensors.

    Raises:
        InvalidInput: an array's dtype has no datatype, or an element of BYTES is no `str` or
            `bytes`.
    """
    for name, array in outputs.items():
        datatype, raw = encode_tensor(f"output {_quoted(name)}", array)
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        response.raw_output_contents.append(raw)


class Tensor(NamedTuple):
    """One tensor of a message, checked against its own shape and datatype alone."""

    datatype: str
    shape: tuple[int, ...]
    content: bytes | Array
    """Elements in C order, little-endian; of BYTES, a flat object array of `str`."""

    def array(self) -> Array:
        """The tensor as an array; one of bytes shares their memory and is read-only."""
        if isinstance(self.content, bytes):
            return np.ndarray(self.shape, DATATYPES[self.datatype], self.content)
        return self.content.reshape(self.shape)


def read_tensor(
    what: str, message: Any, raw: bytes | None, fault: type[FoglineError] = InvalidInput
) -> Tensor:
    """Checks one tensor.

    Args:
        what: How errors name it.
        message: An `InferInputTensor` or `InferOutputTensor`.
        raw: Its contents, where they stand elsewhere than in the message; None: typed contents.
        fault: What is raised for a tensor that cannot be right.

    Raises:
        InvalidInput: (or `fault`) a shape, size, value or form that cannot be right.
        Unsupported: a datatype that is not served.
    """
    datatype = message.datatype
    dtype = _dtype(what, datatype)
    shape, count = _shape(what, message.shape, fault)
    if raw is None:
        content = _typed(what, datatype, dtype, count, message.contents, fault)
    elif message.HasField("contents") and message.contents.ByteSize():
        raise fault(f"{what} has typed contents beside other contents: use one form")
    else:
        content = _raw(what, datatype, dtype, count, raw, fault)
    return Tensor(datatype, shape, content)


def encode_tensor(what: str, array: Array) -> tuple[str, bytes]:
    """An array's datatype and raw contents.

    Raises:
        InvalidInput: no datatype holds these elements, or one of BYTES is no `str` or `bytes`.
    """
    datatype = datatype_of(array, what)
    if datatype == "BYTES":
        return datatype, b"".join(encode_texts(what, array))
    return datatype, array.astype(DATATYPES[datatype], copy=False).tobytes()


def encode_texts(what: str, array: Array) -> list[bytes]:
    """The raw contents of each element of BYTES, its length before it; raises as `encode_tensor`.

    Joined they are the raw contents of the array, or of any part of it.
    """
    parts: list[bytes] = []
    for i, value in enumerate(array.ravel().tolist()):
        if isinstance(value, str):
            data = _utf8(what, i, value)
        elif isinstance(value, bytes):
            data = value
        else:
            raise InvalidInput(
                f"{what}: element {i} is {type(value).__name__}, BYTES holds str or bytes"
            )
        parts.append(len(data).to_bytes(4, "little") + data)
    return parts


def is_bool(raw: bytes) -> bool:
    """Whether raw contents are BOOL: each byte 0 or 1."""
    return not raw.strip(b"\0\1")


def _decode(
    tensors: Sequence[Any], raw: Sequence[bytes], kind: str, fault: type[FoglineError]
) -> dict[str, Array]:
    if raw and len(raw) != len(tensors):
        raise fault(f"{len(raw)} raw contents for {len(tensors)} {kind} tensors: give one for each")
    arrays: dict[str, Array] = {}
    for i, tensor in enumerate(tensors):
        what = f"{kind} {_quoted(tensor.name)}"
        if tensor.name in arrays:
            raise fault(f"{what} is given twice")
        arrays[tensor.name] = read_tensor(what, tensor, raw[i] if raw else None, fault).array()
    return arrays


def _shape(
    what: str, dims: Sequence[int], fault: type[FoglineError]
) -> tuple[tuple[int, ...], int]:
    if len(dims) > MAX_RANK:
        raise fault(f"{what}: {len(dims)} dimensions, at most {MAX_RANK} are taken")
    shape = tuple(dims)
    count = 1
    extent = 8
    for d in shape:
        if d < 0:
            raise fault(f"{what}: shape {list(shape)} has a negative dimension")
        count *= d
        extent *= d or 1
    if extent > _MAX_EXTENT:  # numpy refuses it also where a dimension of 0 leaves no elements
        raise fault(f"{what}: shape {list(shape)} is too large")
    return shape, count


def _dtype(what: str, datatype: str) -> np.dtype[Any]:
    try:
        return DATATYPES[datatype]
    except KeyError:
        hint = ": no numpy type holds it, send FP32 or FP16" if datatype == "BF16" else ""
        raise Unsupported(
            f"{what}: datatype {_quoted(datatype)} is not served{hint}; "
            f"served are {', '.join(DATATYPES)}"
        ) from None


def _raw(
    what: str,
    datatype: str,
    dtype: np.dtype[Any],
    count: int,
    data: bytes,
    fault: type[FoglineError],
) -> bytes | Array:
    if datatype == "BYTES":
        return _strings(what, count, _split(what, count, data, fault), fault)
    expected = count * dtype.itemsize
    if len(data) != expected:
        raise fault(
            f"{what}: expected {expected} bytes for {count} elements of {datatype}, got {len(data)}"
        )
    if datatype == "BOOL" and not is_bool(data):
        raise fault(f"{what}: a BOOL is one byte 0 or 1, got another byte")
    return data


def _split(what: str, count: int, data: bytes, fault: type[FoglineError]) -> list[bytes]:
    """Cuts length-prefixed elements apart; stops at the first that `data` cannot hold."""
    if count * 4 > len(data):
        raise fault(f"{what}: {len(data)} raw bytes cannot hold {count} elements of BYTES")
    parts: list[bytes] = []
    at = 0
    for i in range(count):
        end = at + 4
        if end <= len(data):
            end += int.from_bytes(data[at:end], "little")
        if end > len(data):
            raise fault(f"{what}: the raw bytes end inside element {i} of {count}")
        parts.append(data[at + 4 : end])
        at = end
    if at != len(data):
        raise fault(f"{what}: {len(data) - at} raw bytes are left after {count} elements of BYTES")
    return parts


def _typed(
    what: str,
    datatype: str,
    dtype: np.dtype[Any],
    count: int,
    contents: InferTensorContents,
    fault: type[FoglineError],
) -> bytes | Array:
    field = _CONTENTS.get(datatype)
    if field is None:
        raise fault(f"{what}: the protocol has no typed contents for {datatype}: send it raw")
    filled = [f.name for f, _ in contents.ListFields()]
    if any(name != field for name in filled):
        raise fault(f"{what}: {datatype} stands in {field}, got {', '.join(filled)}")
    values = getattr(contents, field)
    if len(values) != count:
        raise fault(f"{what}: expected {count} elements in {field}, got {len(values)}")
    if datatype == "BYTES":
        return _strings(what, count, values, fault)
    wide = np.array(values, dtype=_WIDE.get(field, dtype))
    if wide.dtype == dtype:
        return wide.tobytes()
    narrow = wide.astype(dtype)
    if not np.array_equal(narrow, wide):
        raise fault(f"{what}: an element is out of the range of {datatype}")
    return narrow.tobytes()


_WIDE: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {"int_contents": np.dtype("<i4"), "uint_contents": np.dtype("<u4")}
)


def _strings(what: str, count: int, parts: Iterable[bytes], fault: type[FoglineError]) -> Array:
    array = np.empty(count, np.object_)
    for i, part in enumerate(parts):
        try:
            array[i] = part.decode()
        except UnicodeDecodeError as e:
            raise fault(
                f"{what}: element {i} is not UTF-8 ({e.reason} at byte {e.start}); "
                "ONNX strings are UTF-8"
            ) from None
    return array


def _utf8(what: str, i: int, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            f"{what}: element {i} holds a lone surrogate, which has no UTF-8"
        ) from None


def _quoted(name: str) -> str:
    return repr(name[:80])
