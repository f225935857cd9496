"""Which arrays of a sample fill the inputs of a model that takes tensors.

An input is filled by the sample's array of its name, whole; by the columns of its schema; or, where
it is the only one, by the sample's only array or by all columns but the target as one matrix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fogline.errors import InvalidInput
from fogline.schema import Field, column_names
from fogline.tensors import DATATYPES
from fogline_hub.convert.dataset import Column, Dataset, shown_names
from fogline_hub.convert.frame import Frame, is_text, rows_of
from fogline_hub.convert.source import select_columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input as far as the model itself says it."""

    name: str
    datatype: str = ""
    """A key of `fogline.tensors.DATATYPES`; empty where the sample's type decides."""
    shape: tuple[int, ...] | None = None
    """-1 is free; None where the sample's decides."""
    number: str = "FP32"
    """What numbers with a point become where `datatype` is empty."""


@dataclass(frozen=True, slots=True)
class Filled:
    """The frame, and each input as the sample fills it: [rows, ...], with `columns` if it has."""

    frame: Frame
    fields: tuple[Field, ...]


def fill(ports: Sequence[Port], sample: Dataset, target: str | None) -> Filled:
    """Finds each input's values.

    Raises:
        InvalidInput: the sample lacks an input, or its array has another rank, width or type.
    """
    features = sample.features(target)
    frame: dict[str, Column] = {}
    fields: list[Field] = []
    for port in ports:
        found = _whole(port, sample, features, is_sole=len(ports) == 1)
        if found is not None:
            frame[port.name] = found
            fields.append(_field(port, found, ()))
            continue
        columns = _columns(port, sample, features, target, is_sole=len(ports) == 1)
        frame |= columns
        is_vector = port.shape is not None and len(port.shape) == 1
        is_vector |= port.shape is None and len(ports) > 1
        names = () if is_vector else tuple(columns)
        fields.append(_field(port, next(iter(columns.values())), names))
    return Filled(frame, tuple(fields))


def example(tensors: Mapping[str, Column], rows: int) -> dict[str, Column]:
    """`rows` rows of the tensors, repeated where there are fewer."""
    there = rows_of(tensors)
    return {n: t[[i % there for i in range(rows)]] for n, t in tensors.items()}


def _whole(
    port: Port, sample: Dataset, features: Mapping[str, Column], *, is_sole: bool
) -> Column | None:
    """The array that is the input, of two dimensions or more."""
    array = sample.tensors.get(port.name)
    if array is None and is_sole and len(sample.tensors) == 1:
        (name, array), *_ = sample.tensors.items()
        parts = {f"{name}[{i}]" for i in range(array.shape[1] if array.ndim == 2 else 0)}
        array = array if features.keys() <= parts else None
    if array is None:
        return None
    if port.shape is not None and not _fits(port.shape, array.shape):
        raise InvalidInput(
            f"{sample.name}: input {port.name!r} takes shape {_shown(port.shape)}, the sample's "
            f"array is {_shown((-1, *array.shape[1:]))}"
        )
    _check_type(port, array, sample.name)
    return array


def _columns(
    port: Port,
    sample: Dataset,
    features: Mapping[str, Column],
    target: str | None,
    *,
    is_sole: bool,
) -> dict[str, Column]:
    """The columns that make up an input of one dimension or two."""
    rank = None if port.shape is None else len(port.shape)
    if rank is not None and rank > 2:
        raise InvalidInput(
            f"{sample.name}: input {port.name!r} has shape {_shown(port.shape or ())}; give a .npz "
            f"file with an array of that name, rows first; it has {shown_names(_arrays(sample))}"
        )
    if is_sole and rank != 1 and (port.name not in features or len(features) > 1):
        width = None if port.shape is None or port.shape[1] == -1 else port.shape[1]
        chosen = dict(select_columns(sample, target, None, width))
    elif port.shape is None or port.shape[1:] in ((), (-1,), (1,)):
        chosen = {port.name: _named(port.name, sample)}
    else:
        field = Field(name=port.name, datatype=port.datatype or port.number, shape=port.shape)
        chosen = {n: sample.column(n) for n in column_names(field)}
    if not chosen:
        raise InvalidInput(f"{sample.name}: no columns beside the target for {port.name!r}")
    for column in chosen.values():
        _check_type(port, column, sample.name)
    return chosen


def _named(name: str, sample: Dataset) -> Column:
    if name in sample.columns:
        return sample.columns[name]
    raise InvalidInput(
        f"{sample.name}: nothing is named as the input {name!r}; there are "
        f"{shown_names(_arrays(sample) or tuple(sample.columns))}. Give a .npz file with one array "
        "for each input, named as it, rows first"
    )


def _arrays(sample: Dataset) -> tuple[str, ...]:
    return tuple(sample.tensors)


def _field(port: Port, array: Column, columns: tuple[str, ...]) -> Field:
    kinds = {"O": "BYTES", "i": "INT64", "b": "BOOL"}
    datatype = port.datatype or kinds.get(array.dtype.kind, port.number)
    shape = (-1, len(columns)) if columns else (-1, *array.shape[1:])
    return Field(name=port.name, datatype=datatype, shape=shape, role="feature", columns=columns)


def _fits(shape: tuple[int, ...], got: tuple[int, ...]) -> bool:
    """Whether an array's shape is the input's, whose first dimension is the rows."""
    return len(shape) == len(got) and all(
        want in (-1, have) for want, have in zip(shape[1:], got[1:], strict=True)
    )


def _check_type(port: Port, array: Column, sample: str) -> None:
    if not port.datatype:
        return
    kind = DATATYPES[port.datatype].kind
    if (kind == "O") != is_text(array):
        given = "text" if is_text(array) else "numbers"
        raise InvalidInput(f"{sample}: input {port.name!r} takes {port.datatype}, it is {given}")
    if kind in "iub" and array.dtype.kind == "f":
        raise InvalidInput(
            f"{sample}: input {port.name!r} takes {port.datatype}, and its numbers have a point"
        )


def _shown(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join("rows" if i == 0 else str(d) for i, d in enumerate(shape)) + "]"
