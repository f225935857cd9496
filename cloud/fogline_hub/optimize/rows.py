"""Rows that variants are tuned with and held against, as the tensors that the model takes.

Both never overlap: rows that chose a variant's trees, ranges or nodes say too much good of it.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fogline.errors import InvalidInput, Unsupported
from fogline.schema import Field, Schema, column_names
from fogline.tensors import DATATYPES, Array
from fogline_hub.convert.dataset import Dataset, DatasetLimits, read_dataset
from fogline_hub.convert.frame import Column, is_text, tensors_of
from fogline_hub.optimize.handover import RowsSource

TUNING_SHARE = 5
"""Every fifth row is set aside to tune with, where no sample is given."""
MIN_ROWS = 10
"""Fewer held-out rows say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Inputs of a model, and what is known of their outcome.

    Attributes:
        tensors: Input name -> array [rows, ...].
        actual: Column of outcomes [rows]; None where there is none.
    """

    tensors: dict[str, Array]
    actual: Column | None

    @property
    def count(self) -> int:
        return len(next(iter(self.tensors.values())))

    def take(self, rows: NDArray[np.int64] | slice) -> "Rows":
        return Rows(
            tensors={n: np.ascontiguousarray(a[rows]) for n, a in self.tensors.items()},
            actual=None if self.actual is None else self.actual[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Rows to tune with, and rows held out."""

    tuning: Rows
    held: Rows
    sha256: str


def read_split(source: RowsSource, schema: Schema) -> Split:
    """Reads and splits the rows.

    Raises:
        NotFound, Corrupt, Exhausted: as `read_dataset`.
        InvalidInput: they do not fit the model, or are too few.
        Unsupported: a table for inputs that are no columns.
    """
    held, sha256 = _read(Path(source.data), schema, source.target, source.limits)
    if source.sample:
        tuning, _ = _read(
            Path(source.sample), schema, None, source.limits, prefix=source.sample_prefix
        )
    else:
        places = np.arange(held.count)
        aside = places % TUNING_SHARE == TUNING_SHARE - 1
        tuning, held = held.take(places[aside]), held.take(places[~aside])
    if held.count < MIN_ROWS or tuning.count < 1:
        raise InvalidInput(
            f"{Path(source.data).name}: {held.count} rows to hold variants against; "
            f"at least {MIN_ROWS} are needed"
        )
    step = -(-tuning.count // source.max_tuning_rows)
    return Split(tuning=tuning.take(slice(None, None, step)), held=held, sha256=sha256)


def _read(
    path: Path, schema: Schema, target: str | None, limits: DatasetLimits, *, prefix: str = ""
) -> tuple[Rows, str]:
    data = read_dataset(path, limits)
    if prefix:
        named = {n.removeprefix(prefix): c for n, c in data.columns.items() if n.startswith(prefix)}
        data = replace(data, columns=named)
    actual = None if target is None else data.column(target)
    tensors = {f.name: data.tensors[f.name] for f in schema.inputs if f.name in data.tensors}
    if len(tensors) == len(schema.inputs):
        fitted = {f.name: _fitted(data, f, tensors[f.name]) for f in schema.inputs}
    else:
        fitted = _tensors(data, schema, target)
    return Rows(tensors=fitted, actual=actual), data.sha256


def _tensors(data: Dataset, schema: Schema, target: str | None) -> dict[str, Array]:
    schema = _with_columns(data, schema, target)
    frame = {n: data.column(n) for f in schema.inputs for n in column_names(f)}
    for field in schema.inputs:
        for name in column_names(field):
            if is_text(frame[name]) != (field.datatype == "BYTES"):
                raise InvalidInput(
                    f"{data.name}: column {name!r} has another type than the model's input "
                    f"{field.name!r} ({field.datatype})"
                )
    return tensors_of(frame, schema)


def _with_columns(data: Dataset, schema: Schema, target: str | None) -> Schema:
    """The schema with the table's columns for a matrix whose columns have no names.

    Raises:
        Unsupported: an input is neither columns nor a matrix of them.
        InvalidInput: the matrix has another width than the table.
    """
    fields = schema.inputs
    if all(column_names(f) and all(n in data.columns for n in column_names(f)) for f in fields):
        return schema
    if len(fields) == 1 and len(fields[0].shape) == 2 and not fields[0].columns:
        names, width = tuple(data.features(target)), fields[0].shape[1]
        if width not in (-1, len(names)):
            raise InvalidInput(
                f"{data.name}: {len(names)} columns beside the target, and the model takes {width}"
            )
        one = fields[0]
        named = Field(name=one.name, datatype=one.datatype, shape=(-1, len(names)), columns=names)
        return Schema(inputs=(named,), outputs=schema.outputs)
    if any(not column_names(f) for f in fields):
        raise Unsupported(
            "the model's inputs are no columns, so a table cannot fill them; give an .npz file "
            "with an array for each input: " + ", ".join(f.name for f in fields)
        )
    return schema  # a column is missing, which `Dataset.column` names


def _fitted(data: Dataset, field: Field, array: Array) -> Array:
    """A whole array of an npz file as an input's tensor; raises `InvalidInput`."""
    shape = field.shape
    if array.ndim != len(shape) or any(
        want not in (-1, got) for want, got in zip(shape[1:], array.shape[1:], strict=True)
    ):
        raise InvalidInput(
            f"{data.name}: {field.name!r} has shape {list(array.shape)}, "
            f"and the model takes {list(shape)}"
        )
    if is_text(array) != (field.datatype == "BYTES"):
        raise InvalidInput(f"{data.name}: {field.name!r} is not of the type {field.datatype}")
    return np.ascontiguousarray(array.astype(DATATYPES[field.datatype]))
