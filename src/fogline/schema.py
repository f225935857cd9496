"""Named, typed inputs and outputs of a model: part of a manifest, and every request's check."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from fogline.errors import InvalidInput
from fogline.records import Record
from fogline.tensors import DATATYPES, MAX_RANK, Array, datatype_of

Text = Annotated[str, Meta(max_length=256)]
Role = Literal["feature", "label", "probabilities", "score", "other"]

MAX_FIELDS = 4096
"""Most inputs, or outputs, of one model."""
MAX_COLUMNS = 65536
"""Most named columns of one tensor."""


class Field(Record, frozen=True, kw_only=True):
    """One tensor of a model."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    datatype: Text
    """A key of `fogline.tensors.DATATYPES`."""
    shape: Annotated[tuple[Annotated[int, Meta(ge=-1)], ...], Meta(max_length=MAX_RANK)]
    """-1 is free; the first dimension is the batch."""
    role: Role = "other"
    labels: Annotated[tuple[Text, ...], Meta(max_length=MAX_COLUMNS)] = ()
    """Class names, in the order of a probabilities tensor's columns."""
    unit: Text = ""
    columns: Annotated[tuple[Text, ...], Meta(max_length=MAX_COLUMNS)] = ()
    """Names of the columns of a [batch, n] tensor."""
    minimum: int | float | None = None
    """No element of an input is less; None bounds nothing, and neither does a bound of an output.

    A graph that allocates by an input's values is served only with bounds (`runtime.bounds`)."""
    maximum: int | float | None = None
    """No element of an input is more; a request with one that is, or with NaN, is refused."""

    def __post_init__(self) -> None:
        if self.datatype not in DATATYPES:
            raise ValueError(f"tensor {self.name!r}: no datatype {self.datatype!r}")
        width = self.shape[1] if len(self.shape) == 2 else 1
        if self.columns and width not in (-1, len(self.columns)):
            raise ValueError(
                f"tensor {self.name!r}: {len(self.columns)} column names for a width of {width}"
            )
        if len(set(self.columns)) != len(self.columns):
            raise ValueError(f"tensor {self.name!r}: a column name stands twice")
        if self.has_bounds:
            _check_bounds(self)

    @property
    def has_bounds(self) -> bool:
        return self.minimum is not None or self.maximum is not None


class Schema(Record, frozen=True, kw_only=True):
    """All inputs and outputs of a model; names are unique on each side."""

    inputs: Annotated[tuple[Field, ...], Meta(max_length=MAX_FIELDS)]
    outputs: Annotated[tuple[Field, ...], Meta(max_length=MAX_FIELDS)]

    def __post_init__(self) -> None:
        for kind, fields in (("input", self.inputs), ("output", self.outputs)):
            names = [f.name for f in fields]
            if len(set(names)) != len(names):
                raise ValueError(f"an {kind} name stands twice")


def check_inputs(schema: Schema, arrays: Mapping[str, Array], model: str = "model") -> int:
    """Holds `arrays` against the schema and returns the number of rows, as `check_shapes` does.

    Raises:
        InvalidInput: as `check_shapes`, or a value outside the bounds that the schema declares.
    """
    rows = check_shapes(
        schema, {n: (datatype_of(a, f"input {n!r}"), a.shape) for n, a in arrays.items()}, model
    )
    for field in schema.inputs:
        if field.has_bounds:
            check_values(field, arrays[field.name], model)
    return rows


def check_shapes(
    schema: Schema, shapes: Mapping[str, tuple[str, tuple[int, ...]]], model: str = "model"
) -> int:
    """Holds datatypes and shapes against the schema and returns the number of rows.

    Rows are the common first dimension of all inputs whose first dimension is free. Without such
    an input they are the first dimension of the first input that has one, else 1.

    Args:
        schema: What the model takes.
        shapes: Datatype and shape of each input by name.
        model: How the error names the model.

    Raises:
        InvalidInput: a missing or unknown name, or another datatype, rank or dimension than the
            schema's; the text names model, tensor, expected and got.
    """
    if shapes.keys() != {f.name for f in schema.inputs}:
        raise InvalidInput(_names_differ(schema, shapes, model))
    rows: int | None = None
    fixed: int | None = None
    for field in schema.inputs:
        datatype, shape = shapes[field.name]
        if not _fits(field, datatype, shape):
            raise InvalidInput(
                f"{model}, input {field.name!r}: expected {_form(field.datatype, field.shape)}, "
                f"got {_form(datatype, shape)}"
            )
        if not field.shape:
            continue
        if field.shape[0] != -1:
            fixed = shape[0] if fixed is None else fixed
        elif rows is None:
            rows = shape[0]
        elif rows != shape[0]:
            raise InvalidInput(
                f"{model}, input {field.name!r}: expected {rows} rows as in the inputs before it, "
                f"got {shape[0]}"
            )
    if rows is not None:
        return rows
    return 1 if fixed is None else fixed


def check_values(field: Field, array: Array, model: str = "model") -> None:
    """Holds an input's values against the bounds that its field declares; NaN is outside of any.

    Raises:
        InvalidInput: one is outside; the text names no value.
    """
    if not is_within(field, array):
        low = "-inf" if field.minimum is None else field.minimum
        high = "inf" if field.maximum is None else field.maximum
        raise InvalidInput(
            f"{model}, input {field.name!r}: expected values from {low} to {high}, which its "
            "schema declares, got one outside"
        )


def is_within(field: Field, array: Array) -> bool:
    """Whether all values lie within the bounds that the field declares; NaN does not."""
    if not array.size:
        return True
    # The least and the most of an array with NaN are NaN, which no comparison holds for.
    least, most = array.min().item(), array.max().item()
    low = -math.inf if field.minimum is None else _rounded(field.minimum, array.dtype)
    high = math.inf if field.maximum is None else _rounded(field.maximum, array.dtype)
    return bool(low <= least and most <= high)


def columns_of(field: Field, array: Array) -> Iterator[tuple[str, Array]]:
    """The columns of a tensor as (name, values[rows]).

    A [n] or [n, 1] tensor is one column with the field's own name (or its one column name); a
    [n, k] tensor is k columns, named by `field.columns` or `name[i]`. Scalars and tensors of a
    higher rank have no columns.
    """
    if array.ndim == 1:
        yield (field.columns[0] if field.columns else field.name), array
    elif array.ndim == 2 and array.shape[1] == 1:
        yield (field.columns[0] if field.columns else field.name), array[:, 0]
    elif array.ndim == 2:
        for i in range(array.shape[1]):
            yield (field.columns[i] if field.columns else f"{field.name}[{i}]"), array[:, i]


def column_names(field: Field) -> tuple[str, ...]:
    """The names that `columns_of` gives, from the schema alone; empty where the width is free."""
    if field.columns:
        return field.columns
    match field.shape:
        case (_,) | (_, 1):
            return (field.name,)
        case (_, width) if width > 1:
            return tuple(f"{field.name}[{i}]" for i in range(width))
        case _:
            return ()


def _check_bounds(field: Field) -> None:
    """Raises ValueError where bounds cannot be right."""
    what = f"tensor {field.name!r}"
    kind = DATATYPES[field.datatype].kind
    if kind not in "iuf":
        raise ValueError(f"{what}: a {field.datatype} has no minimum or maximum")
    for bound in (field.minimum, field.maximum):
        if isinstance(bound, int) and not -(2**63) <= bound < 2**64:
            raise ValueError(f"{what}: a bound has at most 64 bits")
        if bound is not None and not math.isfinite(bound):
            raise ValueError(f"{what}: a bound is a finite number")
        if kind != "f" and isinstance(bound, float):
            raise ValueError(f"{what}: a bound of {field.datatype} is a whole number")
    if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
        raise ValueError(f"{what}: its minimum is above its maximum")


def _rounded(bound: float, dtype: np.dtype[Any]) -> float:
    """A bound as the tensor's type has it, so that 0.1 is within a maximum of 0.1 in any."""
    if dtype.kind != "f":
        return bound
    with np.errstate(over="ignore"):
        return float(np.float64(bound).astype(dtype))


def _fits(field: Field, datatype: str, shape: tuple[int, ...]) -> bool:
    return (
        field.datatype == datatype
        and len(field.shape) == len(shape)
        and all(want in (-1, got) for want, got in zip(field.shape, shape, strict=True))
    )


def _form(datatype: str, shape: tuple[int, ...]) -> str:
    return f"{datatype} [{','.join(map(str, shape))}]"


def _names_differ(schema: Schema, given: Mapping[str, object], model: str) -> str:
    wanted = [f.name for f in schema.inputs]
    missing = [repr(n) for n in wanted if n not in given]
    unknown = [repr(n[:80]) for n in given if n not in wanted]
    parts = [f"missing {', '.join(missing[:8])}"] if missing else []
    parts += [f"unknown {', '.join(unknown[:8])}"] if unknown else []
    return f"{model}: expected the inputs {', '.join(map(repr, wanted[:32]))}: {'; '.join(parts)}"
