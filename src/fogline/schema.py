"""Named, typed inputs and outputs of a model: part of a manifest, and every request's check."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

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
    """Holds `arrays` against the schema and returns the number of rows.

    Rows are the common first dimension of all inputs whose first dimension is free. Without such
    an input they are the first dimension of the first input that has one, else 1.

    Args:
        schema: What the model takes.
        arrays: Its inputs by name.
        model: How the error names the model.

    Raises:
        InvalidInput: a missing or unknown name, or another datatype, rank or dimension than the
            schema's; the text names model, tensor, expected and got.
    """
    if arrays.keys() != {f.name for f in schema.inputs}:
        raise InvalidInput(_names_differ(schema, arrays, model))
    rows: int | None = None
    fixed: int | None = None
    for field in schema.inputs:
        array = arrays[field.name]
        if not _fits(field, array):
            raise InvalidInput(
                f"{model}, input {field.name!r}: expected {_form(field.datatype, field.shape)}, "
                f"got {_form(datatype_of(array, f'input {field.name!r}'), array.shape)}"
            )
        if not field.shape:
            continue
        if field.shape[0] != -1:
            fixed = array.shape[0] if fixed is None else fixed
        elif rows is None:
            rows = array.shape[0]
        elif rows != array.shape[0]:
            raise InvalidInput(
                f"{model}, input {field.name!r}: expected {rows} rows as in the inputs before it, "
                f"got {array.shape[0]}"
            )
    if rows is not None:
        return rows
    return 1 if fixed is None else fixed


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


def _fits(field: Field, array: Array) -> bool:
    return (
        DATATYPES[field.datatype] == array.dtype
        and len(field.shape) == array.ndim
        and all(want in (-1, got) for want, got in zip(field.shape, array.shape, strict=True))
    )


def _form(datatype: str, shape: tuple[int, ...]) -> str:
    return f"{datatype} [{','.join(map(str, shape))}]"


def _names_differ(schema: Schema, arrays: Mapping[str, Array], model: str) -> str:
    wanted = [f.name for f in schema.inputs]
    missing = [repr(n) for n in wanted if n not in arrays]
    unknown = [repr(n[:80]) for n in arrays if n not in wanted]
    parts = [f"missing {', '.join(missing[:8])}"] if missing else []
    parts += [f"unknown {', '.join(unknown[:8])}"] if unknown else []
    return f"{model}: expected the inputs {', '.join(map(repr, wanted[:32]))}: {'; '.join(parts)}"
