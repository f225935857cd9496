"""Stacked outputs -> one ModelInferResponse a request, written without protobuf.

The bytes are those that protobuf writes: fields by ascending number, no field that is empty, shapes
packed. All that does not differ between two answers of one shape is written once and kept.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fogline.errors import Exhausted, FoglineError, InvalidInput
from fogline.schema import Field, Schema
from fogline.tensors import DATATYPES, Array, datatype_of, encode_tensor, encode_texts
from fogline_edge.serving.codec.classes import classify
from fogline_edge.serving.codec.fields import delimited, tag, varint
from fogline_edge.serving.codec.messages import Regions
from fogline_edge.serving.codec.request import Form, Request

MAX_SHAPES = 64
"""Shapes of answers of one form whose constant bytes are kept."""
_SHORT = 128
"""Lengths below this take one byte."""
_MARGIN = 1024
"""Bytes of the parts of an answer that are not counted before it is written, at most: the model's
name and version, the id and the prediction id."""
_LARGE = 64 * 1024
"""Bytes from which on an array is not copied before it is cut."""

# Numbers of fields: of the response, of one of its outputs, of a parameter.
_NAME, _VERSION, _ID, _PARAMETERS, _OUTPUTS, _RAW = range(1, 7)
_OUTPUT_NAME, _DATATYPE, _SHAPE = range(1, 4)
_KEY, _VALUE = 1, 2
_STRING, _BOOL = 3, 1

_RAW_TAG = tag(_RAW)
_FINAL = delimited(
    _PARAMETERS,
    delimited(_KEY, b"triton_final_response") + delimited(_VALUE, bytes((_BOOL << 3, 1))),
)


_Contents = bytes | memoryview | list[bytes]
"""Raw contents of a stack; of text, of each element."""


class AnswerWriter:
    """Writes the answers of one version."""

    def __init__(
        self,
        name: str,
        version: int,
        schema: Schema,
        *,
        regions: Regions | None,
        max_message_bytes: int,
        max_classes: int,
    ) -> None:
        self._label = f"model {name}@{version}"
        self._fields: Mapping[str, Field] = {f.name: f for f in schema.outputs}
        self._regions = regions
        self._limit = max_message_bytes
        self._max_classes = max_classes
        self._head = delimited(_NAME, name.encode()) + delimited(_VERSION, b"%d" % version)
        self._heads = (
            self._head,
            *(self._head + tag(_ID) + varint(n) for n in range(1, _SHORT)),
        )
        """Everything up to the id, by the id's length."""

    def write(
        self,
        requests: Sequence[Request],
        outputs: Mapping[str, Array],
        prediction_ids: Sequence[str],
    ) -> list[bytes | FoglineError]:
        """As `ModelCodec.write`."""
        form = requests[0].form
        arrays = [outputs[name] for name in form.outputs]
        if len(requests) > 1:
            rows = 0
            for request in requests:
                rows += request.rows
            for name, array in zip(form.outputs, arrays, strict=True):
                if not array.shape or array.shape[0] != rows:
                    return [self._unstacked(name, array, rows)] * len(requests)
        elif not form.is_stackable or any(
            not a.shape or a.shape[0] != requests[0].rows for a in arrays
        ):
            return [self._write_one(requests[0], arrays, prediction_ids[0])]
        try:
            datas = [self._contents(name, a) for name, a in zip(form.outputs, arrays, strict=True)]
        except FoglineError:  # of a tensor that one request alone may have a part in
            return self._write_each(requests, arrays, prediction_ids)
        return self._write_stack(requests, arrays, datas, prediction_ids)

    def _contents(self, name: str, array: Array) -> _Contents:
        """Raw contents, to be cut by rows; raises where not all of them have any."""
        if array.dtype.hasobject:
            return encode_texts(f"{self._label}, output {name!r}", array)
        if array.dtype not in _PLAIN:
            raise InvalidInput(f"{array.dtype} is not its own raw contents")
        if array.nbytes < _LARGE:
            return array.tobytes()
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data

    def _write_stack(
        self,
        requests: Sequence[Request],
        arrays: Sequence[Array],
        datas: Sequence[_Contents],
        prediction_ids: Sequence[str],
    ) -> list[bytes | FoglineError]:
        """By rows: an answer is constant bytes with slices of the stack between them."""
        form = requests[0].form
        heads, marks = self._heads, _MARKS
        shapes = tuple([(a.dtype.char, a.shape[1:]) for a in arrays])
        answers: list[bytes | FoglineError] = []
        rows, shape = -1, _Shape((), (), 0)
        row = 0
        for request, prediction_id in zip(requests, prediction_ids, strict=True):
            if request.rows != rows:
                rows = request.rows
                shape = self._shape(form, shapes, rows, arrays)
            ident, mark = request.ident, prediction_id.encode()
            if (
                request.wanted is not None
                or request.is_marked_final
                or shape.size > self._limit
                or len(ident) >= _SHORT
                or len(mark) >= _SHORT
            ):
                cut = [a[row : row + rows] for a in arrays]
                answers.append(self._write_one(request, cut, prediction_id))
                row += rows
                continue
            parts: list[bytes | memoryview] = [heads[len(ident)], ident, marks[len(mark)], mark]
            for data, lead, width in zip(datas, shape.leads, shape.widths, strict=True):
                part = data[row * width : (row + rows) * width]
                parts.append(lead)
                if isinstance(part, list):
                    part = b"".join(part)
                    parts.append(_RAW_TAG + varint(len(part)))
                parts.append(part)
            row += rows
            answer = b"".join(parts)
            answers.append(answer if len(answer) <= self._limit else self._too_large(len(answer)))
        return answers

    def _shape(
        self, form: Form, shapes: tuple[Any, ...], rows: int, arrays: Sequence[Array]
    ) -> "_Shape":
        key = (shapes, rows)
        found = form.answers.get(key)
        if found is None:
            found = _shape_of(form.outputs, arrays, rows)
            if len(form.answers) >= MAX_SHAPES:
                form.answers.clear()
            form.answers[key] = found
        shape: _Shape = found
        return shape

    def _write_each(
        self,
        requests: Sequence[Request],
        arrays: Sequence[Array],
        prediction_ids: Sequence[str],
    ) -> list[bytes | FoglineError]:
        answers: list[bytes | FoglineError] = []
        row = 0
        for request, prediction_id in zip(requests, prediction_ids, strict=True):
            cut = [a[row : row + request.rows] for a in arrays]
            answers.append(self._write_one(request, cut, prediction_id))
            row += request.rows
        return answers

    def _write_one(
        self, request: Request, arrays: Sequence[Array], prediction_id: str
    ) -> bytes | FoglineError:
        try:
            return self._answer(request, arrays, prediction_id)
        except FoglineError as e:
            return e

    def _answer(self, request: Request, arrays: Sequence[Array], prediction_id: str) -> bytes:
        self._check_size(sum(a.nbytes for a in arrays))
        parts = [self._head]
        if request.ident:
            parts.append(delimited(_ID, request.ident))
        if prediction_id:
            mark = prediction_id.encode()
            parts += (_mark(len(mark)), mark)
        if request.is_marked_final:
            parts.append(_FINAL)
        contents = []
        for name, array in zip(request.outputs, arrays, strict=True):
            described, raw = self._output(request, name, array)
            parts.append(described)
            contents.append(delimited(_RAW, raw))
        parts += contents
        self._check_size(sum(map(len, parts)))
        return b"".join(parts)

    def _output(self, request: Request, name: str, array: Array) -> tuple[bytes, bytes]:
        what = f"{self._label}, output {name!r}"
        wanted = request.wanted.get(name) if request.wanted else None
        if wanted is not None and wanted.classes:
            field = self._fields[name]
            by_row = bool(field.shape and array.shape) and field.shape[0] == -1
            array = classify(
                array, wanted.classes, field.labels, by_row=by_row, limit=self._max_classes
            )
        datatype, raw = encode_tensor(what, array)
        if wanted is not None and wanted.slot is not None and self._regions is not None:
            slot = wanted.slot
            if len(raw) > slot.byte_size:
                raise Exhausted(
                    f"{what}: {len(raw)} bytes, the request gives {slot.byte_size} bytes of "
                    f"shared memory for it"
                )
            self._regions.write(slot.region, slot.offset, raw)
            raw = b""
        return _described(name, datatype, array.shape), raw

    def _check_size(self, size: int) -> None:
        # Counted before the arrays are copied, and again with names and lengths added.
        if size > self._limit:
            raise self._too_large(size)

    def _too_large(self, size: int) -> Exhausted:
        return Exhausted(
            f"{self._label}: the answer has {size} bytes, at most {self._limit} are sent; ask for "
            "fewer rows or outputs"
        )

    def _unstacked(self, name: str, array: Array, rows: int) -> FoglineError:
        return FoglineError(
            f"{self._label}, output {name!r}: expected {rows} rows for stacked requests, got the "
            f"shape {list(array.shape)}"
        )


class _Shape:
    """The constant bytes of answers of one shape: what stands before each output's contents."""

    __slots__ = ("leads", "size", "widths")

    def __init__(self, leads: tuple[bytes, ...], widths: tuple[int, ...], size: int) -> None:
        self.leads = leads
        self.widths = widths
        """Bytes of a row of each output, of text its elements."""
        self.size = size
        """Bytes of an answer of numbers, at most."""


_PLAIN = frozenset(d for n, d in DATATYPES.items() if n != "BYTES")
"""Types whose arrays are their own raw contents."""


def _shape_of(names: Sequence[str], arrays: Sequence[Array], rows: int) -> _Shape:
    numbers = [not a.dtype.hasobject for a in arrays]
    widths = tuple(
        math.prod(a.shape[1:]) * (a.itemsize if is_number else 1)
        for a, is_number in zip(arrays, numbers, strict=True)
    )
    described = b"".join(
        _described(name, datatype_of(array), (rows, *array.shape[1:]))
        for name, array in zip(names, arrays, strict=True)
    )
    leads = [
        _RAW_TAG + varint(rows * width) if is_number else b""
        for width, is_number in zip(widths, numbers, strict=True)
    ]
    leads[0] = described + leads[0]
    size = sum(map(len, leads)) + rows * sum(widths) + _MARGIN
    return _Shape(tuple(leads), widths, size)


def _described(name: str, datatype: str, shape: Sequence[int]) -> bytes:
    """The field of one output, without contents."""
    dims = b"".join(map(varint, shape))
    return delimited(
        _OUTPUTS,
        delimited(_OUTPUT_NAME, name.encode())
        + delimited(_DATATYPE, datatype.encode())
        + (delimited(_SHAPE, dims) if dims else b""),
    )


def _mark(length: int) -> bytes:
    if not length:
        return b""
    key = delimited(_KEY, b"prediction_id")
    value = tag(_STRING) + varint(length)
    lead = key + tag(_VALUE) + varint(len(value) + length) + value
    return tag(_PARAMETERS) + varint(len(lead) + length) + lead


_MARKS = tuple(_mark(n) for n in range(_SHORT))
"""Everything of the parameter `prediction_id` up to its value, by the value's length."""
