"""The fast path: messages recognised by their bytes.

Two messages of one client differ in their id, in the numbers of a few parameters and in the raw
contents of tensors; all bytes between these are the same. A layout is those bytes, kept from a
message that protobuf has parsed and that was checked whole, with the id, the parameters and the
contents cut out. A message that has them in the same places has the same fields, and needs no
other check than those of what was cut out: an id is UTF-8, a BOOL 0 or 1, a value within declared
bounds. Everything else is protobuf's.

    | model_name model_version | id  | parameters | inputs outputs 1st raw tag | raw | tag  | raw ..
      the codec's own            cut   cut          kept                         cut   kept   cut
"""

import threading
from collections.abc import Sequence
from itertools import dropwhile

import numpy as np

from fogline.errors import InvalidInput
from fogline.schema import Schema, is_within
from fogline.tensors import DATATYPES, is_bool
from fogline_edge.serving.codec.fields import BYTES, Span, delimited, scan
from fogline_edge.serving.codec.limits import CodecLimits
from fogline_edge.serving.codec.request import Form, Request
from fogline_edge.serving.codec.settings import PARAMETERS_TAG, read_settings
from fogline_edge.serving.codec.wanted import Wanted

MAX_SAME_SIZE = 8
"""Layouts whose messages are equally long behind their parameters: each is tried in turn."""

_NAME, _VERSION = 1, 2
_INPUTS, _RAW = 5, 7
_ID_TAG = 0x1A
_SHORT = 128
"""Lengths below this take one byte."""


class Layout:
    """What messages of one layout share."""

    __slots__ = ("cuts", "form", "kept", "lead", "lead_size", "rows", "wanted")

    def __init__(
        self,
        lead: bytes,
        kept: tuple[tuple[int, bytes], ...],
        cuts: tuple[tuple[int, int], ...],
        form: Form,
        rows: int,
        wanted: dict[str, Wanted] | None,
    ) -> None:
        self.lead = lead
        """Up to the first raw contents."""
        self.lead_size = len(lead)
        self.kept = kept
        """Bytes between raw contents, with their places behind the parameters."""
        self.cuts = cuts
        """Where each part of the form lies behind the parameters; empty where there is one, which
        lies behind the lead."""
        self.form = form
        self.rows = rows
        self.wanted = wanted

    def cut(self, message: bytes, at: int) -> tuple[bytes, ...]:
        """The parts of a message with this lead; none if it differs between them."""
        for place, kept in self.kept:
            if not message.startswith(kept, at + place):
                return ()
        return tuple([message[at + start : at + end] for start, end in self.cuts])

    @property
    def size_bytes(self) -> int:
        return len(self.lead) + sum(len(kept) for _, kept in self.kept)


class Layouts:
    """A bounded number of layouts of one version, found by how long a message is."""

    def __init__(self, name: str, version: int, schema: Schema, limits: CodecLimits) -> None:
        self._head = delimited(_NAME, name.encode())
        self._head_size = len(self._head)
        self._version = delimited(_VERSION, b"%d" % version)
        self._version_size = len(self._version)
        self._names = [f.name for f in schema.inputs]
        self._checks = tuple(
            (i, f) for i, f in enumerate(schema.inputs) if f.datatype == "BOOL" or f.has_bounds
        )
        self._limits = limits
        self._lock = threading.Lock()
        self._by_size: dict[int, tuple[Layout, ...]] = {}
        self._count = 0
        self._bytes = 0

    def read(self, message: bytes, arrived_us: int) -> Request | None:  # noqa: C901, PLR0912 - one call
        """The request, if the message has a layout that is known and nothing in it is wrong."""
        if not message.startswith(self._head):
            return None
        at = self._head_size
        if message.startswith(self._version, at):
            at += self._version_size
        ident = b""
        settings = None
        try:
            if message[at] == _ID_TAG:
                start = at + 2
                at = start + message[at + 1]
                ident = message[start:at]
                if message[start - 1] >= _SHORT or not (ident.isascii() or ident.decode()):
                    return None
            if message[at] == PARAMETERS_TAG:
                at, settings = read_settings(message, at)
        except (IndexError, UnicodeDecodeError, InvalidInput):
            return None
        for layout in self._by_size.get(len(message) - at, ()):
            if message.startswith(layout.lead, at):
                parts: tuple[bytes, ...] = (message[at + layout.lead_size :],)
                if layout.cuts:
                    parts = layout.cut(message, at)
                if parts:
                    break
        else:
            return None
        if self._checks and not self._are_right(parts):
            return None
        request = Request(layout.form, layout.rows, parts, ident, arrived_us, layout.wanted)
        if settings is not None:
            event_us, request.timeout_s, request.priority = settings
            if event_us is not None:
                request.event_us = event_us
        return request

    def _are_right(self, parts: tuple[bytes, ...]) -> bool:
        for i, field in self._checks:
            if field.datatype == "BOOL":
                if not is_bool(parts[i]):
                    return False
            elif not is_within(field, np.frombuffer(parts[i], DATATYPES[field.datatype])):
                return False
        return True

    def learn(self, message: bytes, request: Request) -> None:
        """Keeps the layout of a message that was read as `request`, if it has one."""
        form = request.form
        if not self._limits.max_layouts or not form.is_raw or not form.is_stackable:
            return
        try:
            spans = list(dropwhile(lambda s: s.number < _INPUTS, scan(message)))
        except InvalidInput:  # groups, which protobuf passes over
            return
        layout = self._layout(message, spans, request)
        if layout is not None:
            self._keep(len(message) - spans[0].start, layout)

    def _layout(self, message: bytes, spans: list[Span], request: Request) -> Layout | None:
        """The layout that begins at the first input.

        None if the fields from there on are not inputs, outputs and raw contents in this order.
        What stands before the first input is no part of a layout: `read` takes that apart itself.
        """
        numbers = [s.number for s in spans]
        inputs, raws = numbers.count(_INPUTS), numbers.count(_RAW)
        if (
            not inputs
            or inputs != raws
            or numbers != sorted(numbers)
            or numbers[0] != _INPUTS
            or numbers[-1] != _RAW
            or any(s.kind != BYTES for s in spans)
        ):
            return None
        order = self._order(message, spans[:inputs])
        at = spans[0].start
        contents = spans[-raws:]
        lead = message[at : contents[0].value]
        if order is None or len(lead) > self._limits.max_layout_bytes // 16:
            return None
        kept = tuple((s.start - at, message[s.start : s.value]) for s in contents[1:])
        cuts = tuple((contents[i].value - at, contents[i].end - at) for i in order)
        return Layout(
            lead,
            kept,
            cuts if raws > 1 else (),
            request.form,
            request.rows,
            dict(request.wanted) if request.wanted else None,
        )

    def _order(self, message: bytes, inputs: Sequence[Span]) -> list[int] | None:
        """For each input of the schema, which of the message's it is."""
        names: list[str] = []
        for span in inputs:
            found = [s for s in scan(message[span.value : span.end]) if s.number == 1]
            if len(found) != 1 or found[0].kind != BYTES:
                return None
            start = span.value
            names.append(message[start + found[0].value : start + found[0].end].decode())
        return [names.index(name) for name in self._names]

    def _keep(self, size: int, layout: Layout) -> None:
        """Puts a layout in and, where there is no room, the oldest out."""
        with self._lock:
            others = self._by_size.get(size, ())
            if any(layout.lead == o.lead and layout.kept == o.kept for o in others):
                return
            if len(others) >= MAX_SAME_SIZE:
                self._forget(size, others[:1])
            while self._by_size and (
                self._count >= self._limits.max_layouts
                or self._bytes + layout.size_bytes > self._limits.max_layout_bytes
            ):
                oldest = next(iter(self._by_size))
                self._forget(oldest, self._by_size[oldest])
            self._by_size[size] = (*self._by_size.get(size, ()), layout)
            self._count += 1
            self._bytes += layout.size_bytes

    def _forget(self, size: int, layouts: tuple[Layout, ...]) -> None:
        left = tuple(o for o in self._by_size.pop(size) if o not in layouts)
        if left:
            self._by_size[size] = left
        self._count -= len(layouts)
        self._bytes -= sum(o.size_bytes for o in layouts)
