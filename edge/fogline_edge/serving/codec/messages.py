"""ModelInfer requests that protobuf has parsed: checked whole, and made into a `Request`.

Every form of the protocol goes this way: typed contents, shared memory, parameters, any order of
fields. The fast path (`layouts`) knows only messages of a layout that went this way before.
"""

import math
import threading
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from fogline.errors import InvalidInput, NotFound, Unsupported
from fogline.schema import Field, Schema, check_shapes, check_values
from fogline.tensors import MAX_RANK, Tensor, read_tensor
from fogline.wire.open_inference_pb2 import ModelInferRequest
from fogline_edge.serving.codec import parameters
from fogline_edge.serving.codec.limits import CodecLimits
from fogline_edge.serving.codec.request import Form, Request
from fogline_edge.serving.codec.wanted import Slot, Wanted

MAX_FORMS = 256
"""Forms of one version that are known by identity; a request of one forgotten makes it anew."""


class Regions(Protocol):
    """Registered shared memory."""

    def hold(self, size: int) -> object:
        """Takes a share of what requests may hold; raises `Exhausted`."""

    def read(self, name: str, offset: int, size: int) -> bytes:
        """A copy of so many bytes of a region.

        Raises:
            NotFound: no such region.
            InvalidInput: they are not all within it.
        """

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Copies `data` into a region; raises as `read`."""


class MessageReader:
    """Reads messages for one version."""

    def __init__(
        self, schema: Schema, label: str, regions: Regions | None, limits: CodecLimits
    ) -> None:
        self._schema = schema
        self._label = label
        self._regions = regions
        self._limits = limits
        self._outputs: Mapping[str, Field] = {f.name: f for f in schema.outputs}
        self._all_outputs = tuple(self._outputs)
        self._bounded = tuple(f for f in schema.inputs if f.has_bounds)
        self._lock = threading.Lock()
        self._forms: dict[object, Form] = {}
        self._is_row_wise = bool(schema.inputs) and all(map(_has_rows, schema.inputs))

    def read(self, message: ModelInferRequest, arrived_us: int) -> Request:
        """As `ModelCodec.read`."""
        parameters.refuse_sequences(message.parameters)
        slots = self._slots(message)
        held = self._hold(slots.values())
        tensors = self._inputs(message, slots)
        rows = check_shapes(
            self._schema, {n: (t.datatype, t.shape) for n, t in tensors.items()}, self._label
        )
        for field in self._bounded:
            check_values(field, tensors[field.name].array(), self._label)
        outputs, wanted = self._wanted(message)
        request = Request(
            self._form(tensors, outputs),
            rows,
            tuple(tensors[f.name].content for f in self._schema.inputs),
            message.id.encode(),
            arrived_us,
            wanted or None,
        )
        if message.parameters:
            request.event_us = parameters.event_us_of(message.parameters, arrived_us)
            request.timeout_s = parameters.timeout_s_of(message.parameters)
            request.priority = parameters.priority_of(message.parameters)
            request.is_marked_final = parameters.wants_final_mark(message.parameters)
        request.held = held
        return request

    def _slots(self, message: ModelInferRequest) -> dict[int, Slot]:
        """Which inputs, by their places in the message, lie in shared memory, and where."""
        slots: dict[int, Slot] = {}
        for i, one in enumerate(message.inputs):
            if one.parameters:
                slot = parameters.slot_of(self._what(one), one.parameters)
                if slot is not None:
                    slots[i] = slot
        return slots

    def _hold(self, slots: Collection[Slot]) -> object:
        if not slots:
            return None
        if self._regions is None:
            raise Unsupported(
                f"{self._label}: shared memory is not served here; send the contents of inputs"
            )
        return self._regions.hold(sum(slot.byte_size for slot in slots))

    def _shared(self, slot: Slot) -> bytes | None:
        if self._regions is None:
            return None
        return self._regions.read(slot.region, slot.offset, slot.byte_size)

    def _inputs(self, message: ModelInferRequest, slots: Mapping[int, Slot]) -> dict[str, Tensor]:
        raw = message.raw_input_contents
        if raw and len(raw) != len(message.inputs) - len(slots):
            raise InvalidInput(
                f"{self._label}: {len(raw)} raw contents for {len(message.inputs)} input tensors: "
                "give one for each that is not in shared memory"
            )
        contents = iter(raw)
        tensors: dict[str, Tensor] = {}
        for i, one in enumerate(message.inputs):
            if one.name in tensors:
                raise InvalidInput(f"{self._what(one)} is given twice")
            slot = slots.get(i)
            own = next(contents, None) if slot is None else self._shared(slot)
            self._check_count(one, is_typed=own is None)
            tensors[one.name] = read_tensor(self._what(one), one, own)
        return tensors

    def _check_count(self, tensor: Any, *, is_typed: bool) -> None:
        """Refuses what would take long to make objects of, before it is begun."""
        is_text = tensor.datatype == "BYTES"
        limit = self._limits.max_texts if is_text else self._limits.max_typed
        if (is_text or is_typed) and len(tensor.shape) <= MAX_RANK:
            count = math.prod(tensor.shape)
            if count > limit:
                hint = "fewer rows at once" if is_text else "raw contents"
                raise InvalidInput(
                    f"{self._what(tensor)}: {count} elements in this form, at most {limit} are "
                    f"taken: send {hint}"
                )

    def _what(self, tensor: Any) -> str:
        return f"{self._label}, input {tensor.name[:80]!r}"

    def _wanted(self, message: ModelInferRequest) -> tuple[tuple[str, ...], dict[str, Wanted]]:
        names: dict[str, None] = {}
        wanted: dict[str, Wanted] = {}
        for one in message.outputs:
            field = self._outputs.get(one.name)
            if field is None:
                there = ", ".join(map(repr, self._all_outputs[:32]))
                raise NotFound(f"{self._label} has no output {one.name[:80]!r}; it has {there}")
            if one.name in names:
                raise InvalidInput(f"{self._label}: the output {one.name!r} is wanted twice")
            names[one.name] = None
            if one.parameters:
                self._want(field, one, wanted)
        return tuple(names) or self._all_outputs, wanted

    def _want(self, field: Field, message: Any, wanted: dict[str, Wanted]) -> None:
        what = f"{self._label}, output {field.name!r}"
        found = parameters.wanted_of(what, message.parameters)
        if found is None:
            return
        if found.classes and field.datatype in ("BYTES", "BOOL"):
            raise InvalidInput(f"{what}: a {field.datatype} has no highest values to be classes")
        if found.slot and self._regions is None:
            raise Unsupported(f"{what}: shared memory is not served here; take it in the answer")
        wanted[field.name] = found

    def _form(self, tensors: Mapping[str, Tensor], outputs: tuple[str, ...]) -> Form:
        fields = self._schema.inputs
        names = tuple(f.name for f in fields)
        datatypes = tuple(f.datatype for f in fields)
        shapes = tuple(tensors[name].shape for name in names)
        if not self._is_row_wise or not all(_has_rows(self._outputs[n]) for n in outputs):
            return Form(names, datatypes, shapes, outputs, is_stackable=False)
        tails = tuple(shape[1:] for shape in shapes)
        key = (tails, outputs)
        form = self._forms.get(key)
        if form is None:
            form = Form(names, datatypes, tails, outputs, is_stackable=True)
            with self._lock:
                if len(self._forms) >= MAX_FORMS:
                    del self._forms[next(iter(self._forms))]
                form = self._forms.setdefault(key, form)
        return form


def _has_rows(field: Field) -> bool:
    return bool(field.shape) and field.shape[0] == -1
