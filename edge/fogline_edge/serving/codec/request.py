"""One ModelInfer request that has been read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fogline.tensors import DATATYPES, Array
from fogline_edge.serving.codec.wanted import Wanted


class Form:
    """What requests share that may be stacked; compared by identity.

    A form that allows no stacking belongs to one request.
    """

    __slots__ = ("answers", "dtypes", "is_raw", "is_stackable", "names", "outputs", "tails")

    def __init__(
        self,
        names: tuple[str, ...],
        datatypes: tuple[str, ...],
        tails: tuple[tuple[int, ...], ...],
        outputs: tuple[str, ...],
        *,
        is_stackable: bool,
    ) -> None:
        """Makes a form.

        Args:
            names: Inputs in the order of the parts of a request.
            datatypes: Of each.
            tails: Shape of each, without the rows where the form is stackable.
            outputs: Names of the outputs wanted.
            is_stackable: Whether rows are the first dimension of everything.
        """
        self.names = names
        self.dtypes: tuple[np.dtype[Any], ...] = tuple(DATATYPES[d] for d in datatypes)
        self.is_raw = "BYTES" not in datatypes
        self.tails = tails
        self.outputs = outputs
        self.is_stackable = is_stackable
        self.answers: dict[object, Any] = {}
        """What `answers` keeps of the forms of answers, by their shapes."""


class Request:
    """A checked request; a plain class, because the common one is made in a microsecond.

    Attributes:
        form: Requests of one version with the same form may be stacked.
        rows: How many it asks for.
        parts: Contents of each input in the form's order: raw bytes, of BYTES a flat array of
            `str`.
        ident: The id as UTF-8.
        event_us: Event time, Unix microseconds.
        timeout_s: How long the answer may take, seconds; None if the request does not say.
        priority: 0 for the model's default, else 1 for the highest, 2 for the next ...
        wanted: Outputs that are not given as plain contents, by name; None if there are none.
        is_marked_final: Whether the answer is to say that it is its request's last.
        held: What has to live as long as the request.
    """

    __slots__ = (
        "event_us", "form", "held", "ident", "is_marked_final", "parts", "priority", "rows",
        "timeout_s", "wanted",
    )  # fmt: skip

    def __init__(
        self,
        form: Form,
        rows: int,
        parts: tuple[bytes | Array, ...],
        ident: bytes,
        event_us: int,
        wanted: Mapping[str, Wanted] | None = None,
    ) -> None:
        self.form = form
        self.rows = rows
        self.parts = parts
        self.ident = ident
        self.event_us = event_us
        self.wanted = wanted
        self.timeout_s: float | None = None
        self.priority = 0
        self.is_marked_final = False
        self.held: object = None

    @property
    def id(self) -> str:
        return self.ident.decode()

    @property
    def uses_shared_memory(self) -> bool:
        """Whether an input came from there, or an output goes there."""
        wanted = self.wanted
        return self.held is not None or (
            wanted is not None and any(w.slot is not None for w in wanted.values())
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs wanted, in the order wanted."""
        return self.form.outputs

    @property
    def inputs(self) -> dict[str, Array]:
        """The inputs by name, decoded anew; raw ones are read-only."""
        return stack((self,))


def stack(requests: "Sequence[Request]") -> dict[str, Array]:
    """The inputs of requests of one form, one below the other in their order.

    Each array owns its memory, or shares that of one request's own copy of it, and is aligned as
    an array of numpy's: sums over a tensor depend on where it begins, in the last bits.
    """
    first = requests[0]
    form = first.form
    if len(requests) == 1:
        if form.is_stackable and form.is_raw:
            rows = first.rows
            return {
                name: np.ndarray((rows, *tail), dtype, part)
                for name, tail, dtype, part in zip(
                    form.names, form.tails, form.dtypes, first.parts, strict=True
                )
            }
        return _arrays(first, form)
    rows = 0
    for request in requests:
        rows += request.rows
    arrays: dict[str, Array] = {}
    for i, name in enumerate(form.names):
        parts: list[Any] = [request.parts[i] for request in requests]
        shape = (rows, *form.tails[i])
        if isinstance(parts[0], bytes):
            arrays[name] = np.ndarray(shape, form.dtypes[i], b"".join(parts))
        else:
            arrays[name] = np.concatenate(parts).reshape(shape)
    return arrays


def _arrays(request: Request, form: Form) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name, tail, dtype, part in zip(
        form.names, form.tails, form.dtypes, request.parts, strict=True
    ):
        shape = (request.rows, *tail) if form.is_stackable else tail
        arrays[name] = (
            np.ndarray(shape, dtype, part) if isinstance(part, bytes) else part.reshape(shape)
        )
    return arrays
