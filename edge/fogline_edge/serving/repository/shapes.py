"""A declaration held against the model's own tensors: what clients see, and how it is reshaped.

Pure. A declared shape may be narrower than the model's, never wider; with `max_batch_size` it is
`[-1] + dims` for the client, and `[-1] + reshape` for the model.
Source: Triton's model configuration, "Inputs and Outputs" and "Reshape".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import msgspec

from fogline.errors import InvalidInput, Unsupported
from fogline.schema import Field, Schema
from fogline.tensors import DATATYPES
from fogline_edge.serving.repository.declaration import Declaration, DeclaredTensor


@dataclass(frozen=True, slots=True)
class Reshape:
    """From one shape to another that holds as many values, row by row where there are rows.

    The free dimensions of the one stand for those of the other, in their order.
    """

    has_rows: bool
    source: tuple[int, ...]
    target: tuple[int, ...]

    def apply(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an array that came with `shape`.

        >>> Reshape(True, (-1, 4), (-1, 2, 2)).apply((8, 3, 4))
        (8, 3, 2, 2)
        """
        rows = shape[:1] if self.has_rows else ()
        free = iter(d for d, s in zip(shape[len(rows) :], self.source, strict=True) if s == -1)
        return rows + tuple(next(free) if d == -1 else d for d in self.target)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model as it is served."""

    schema: Schema
    """As clients see it."""
    reshape_inputs: Mapping[str, Reshape]
    """From the client's shape to the model's."""
    reshape_outputs: Mapping[str, Reshape]
    """From the model's shape to the client's."""
    max_rows: int | None
    """Most rows of a request; None: no bound of the model's own."""

    @property
    def changes_shapes(self) -> bool:
        return bool(self.reshape_inputs or self.reshape_outputs)


def fit(
    declaration: Declaration,
    own: Schema,
    labels: Mapping[str, tuple[str, ...]],
    label: str,
) -> Fitted:
    """Holds a declaration against the model's own tensors.

    Args:
        declaration: What is asked of the model.
        own: Its tensors as onnxruntime has them.
        labels: Contents of the label files, by output.
        label: How errors name the model.

    Raises:
        InvalidInput: they do not agree; the text names model, tensor, declared and own.
        Unsupported: a datatype that is not served.
    """
    batches = declaration.max_batch_size not in (None, 0)
    if batches:
        for field in (*own.inputs, *own.outputs):
            if field.shape[:1] != (-1,):
                raise InvalidInput(
                    f"{label}: max_batch_size is {declaration.max_batch_size}, but the first "
                    f"dimension of {field.name!r} {_text(field.shape)} is not free; declare 0"
                )
    missing = {f.name for f in own.inputs} - {t.name for t in declaration.inputs}
    if declaration.inputs and missing:
        raise InvalidInput(f"{label}: the inputs {sorted(missing)[:16]} are not declared")
    sides: list[list[Field]] = []
    reshapes: list[dict[str, Reshape]] = []
    for kind, tensors, fields in (
        ("input", declaration.inputs, own.inputs),
        ("output", declaration.outputs, own.outputs),
    ):
        made, changed = _side(f"{label}, {kind}", tensors, fields, batches=batches)
        sides.append(made)
        reshapes.append(changed)
    inputs = _bounded(sides[0], declaration, label)
    # As in Triton, labels need not be as many as classes: those beyond them have none.
    outputs = [msgspec.structs.replace(f, labels=labels.get(f.name, f.labels)) for f in sides[1]]
    return Fitted(
        schema=Schema(inputs=tuple(inputs), outputs=tuple(outputs)),
        reshape_inputs=reshapes[0],
        reshape_outputs={
            name: Reshape(r.has_rows, r.target, r.source) for name, r in reshapes[1].items()
        },
        max_rows=declaration.max_batch_size if batches else None,
    )


def _side(
    where: str, tensors: Sequence[DeclaredTensor], own: Sequence[Field], *, batches: bool
) -> tuple[list[Field], dict[str, Reshape]]:
    """Fields as clients see them, in the declared order, and reshapes to the model's."""
    if not tensors:
        return list(own), {}
    by_name = {f.name: f for f in own}
    fields, reshapes = [], {}
    for tensor in tensors:
        field = by_name.pop(tensor.name, None)
        if field is None:
            raise InvalidInput(
                f"{where} {tensor.name[:80]!r}: the model has none, or it is declared twice; "
                f"the model has {', '.join(repr(f.name) for f in own[:16])}"
            )
        if tensor.datatype != field.datatype:
            if tensor.datatype not in DATATYPES:
                raise Unsupported(f"{where} {tensor.name!r}: {tensor.datatype} is not served")
            raise InvalidInput(
                f"{where} {tensor.name!r}: declared {tensor.datatype}, the model's is "
                f"{field.datatype}"
            )
        shape = _shape(where, tensor, field, batches=batches)
        fields.append(msgspec.structs.replace(field, shape=shape))
        if tensor.reshape is not None:
            reshapes[tensor.name] = Reshape(batches, tensor.dims, tensor.reshape)
    return fields, reshapes


def _shape(where: str, tensor: DeclaredTensor, own: Field, *, batches: bool) -> tuple[int, ...]:
    """The client's shape of a declared tensor."""
    rows = (-1,) if batches else ()
    inner = tensor.dims if tensor.reshape is None else tensor.reshape
    expected = rows + inner
    fits = len(expected) == len(own.shape) and all(
        -1 in (want, has) or want == has for want, has in zip(expected, own.shape, strict=True)
    )
    if not fits:
        raise InvalidInput(
            f"{where} {tensor.name!r}: declared {_text(expected)}{' with the rows' * batches}, "
            f"the model's is {_text(own.shape)}"
        )
    if tensor.reshape is None:
        # The narrower of both: what is free in the declaration may be fixed in the model.
        return tuple(
            has if want == -1 else want for want, has in zip(expected, own.shape, strict=True)
        )
    if not _holds_as_many(tensor.dims, tensor.reshape):
        raise InvalidInput(
            f"{where} {tensor.name!r}: dims {_text(tensor.dims)} and reshape "
            f"{_text(tensor.reshape)} do not hold the same values"
        )
    return rows + tensor.dims


def _holds_as_many(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether the fixed dimensions before, between and after the free ones have equal products."""
    return _products(one) == _products(other)


def _products(dims: tuple[int, ...]) -> list[int]:
    parts: list[list[int]] = [[]]
    for d in dims:
        if d == -1:
            parts.append([])
        else:
            parts[-1].append(d)
    return [prod(part) for part in parts]


def _bounded(fields: list[Field], declaration: Declaration, label: str) -> list[Field]:
    unknown = declaration.bounds.keys() - {f.name for f in fields}
    if unknown:
        raise InvalidInput(f"{label}: bounds of the inputs {sorted(unknown)[:16]}: there are none")
    try:
        return [
            msgspec.structs.replace(f, minimum=bounds[0], maximum=bounds[1])
            if (bounds := declaration.bounds.get(f.name))
            else f
            for f in fields
        ]
    except ValueError as e:
        raise InvalidInput(f"{label}: {e}") from None


def _text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
