"""What the converters of boosted trees share: columns in, the library asked, one graph out.

A booster is read into a `Predictor`. Where all columns are numbers the graph takes one tensor; a
column of categories, which the library codes itself, makes every column an input of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fogline.errors import InvalidInput, Unsupported
from fogline.schema import Field, Schema
from fogline_hub.convert import graph
from fogline_hub.convert.dataset import Column, Dataset, shown_names
from fogline_hub.convert.ensembles.assembly import Assembly
from fogline_hub.convert.ensembles.categories import write_codes
from fogline_hub.convert.ensembles.predictor import Predictor, write_predictor
from fogline_hub.convert.frame import Frame, is_text
from fogline_hub.convert.graph_ports import INPUT, value_of
from fogline_hub.convert.parity import Answers
from fogline_hub.convert.source import Attempt, Candidate, select_columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What a booster takes.

    Attributes:
        count: How many columns.
        names: Their names, where it was trained on a table.
        categories: Position -> the values that the library codes as 0, 1, 2 ...: object of str, or
            numbers. Other values are missing to it.
    """

    count: int
    names: tuple[str, ...] | None = None
    categories: Mapping[int, Column] = field(default_factory=dict)
    blanks_are_underscores: bool = False
    """Names were changed so when the library was trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the library answers.

    Attributes:
        labels: Class codes, int64 [rows]; None for a model without classes.
        numbers: Probabilities or values, [rows, k].
    """

    labels: NDArray[np.int64] | None
    numbers: NDArray[np.floating]


class Booster(Protocol):
    """A loaded model of one library."""

    framework: str
    kind: str
    packages: tuple[str, ...]
    columns: Columns
    rounds_to_float32: bool
    """The library rounds its input to float32, so that nothing is lost when it is sent so."""

    def ask(self, rows: Any) -> Said:
        """Answers of the library for a table or matrix; raises `Refused`."""

    def predictor(self) -> Predictor:
        """The model as arrays; raises `Unsupported`."""


class BoostedModel:
    """A booster as a source of conversion."""

    def __init__(self, booster: Booster) -> None:
        """Reads it at once, so that what is refused is refused before any work.

        Raises:
            Unsupported: a kind of booster, objective or feature that is not converted.
            Corrupt: its parts do not fit each other.
        """
        self._booster = booster
        self._predictor = booster.predictor()
        self.framework = booster.framework
        self.kind = booster.kind
        self.packages = (*booster.packages, "onnx", "onnxruntime", "numpy")
        classes = self._predictor.classes
        self.labels = () if classes is None else tuple(str(c) for c in classes.tolist())

    def select(self, sample: Dataset, target: str | None) -> Frame:
        columns = self._booster.columns
        names = columns.names
        if names is not None and columns.blanks_are_underscores:
            told = {n.replace(" ", "_"): n for n in sample.columns}
            names = tuple(n if n in sample.columns else told.get(n, n) for n in names)
        frame = select_columns(sample, target, names, columns.count)
        texts = []
        for i, (name, column) in enumerate(frame.items()):
            categories = columns.categories.get(i)
            if is_text(column) != (categories is not None and is_text(categories)):
                texts.append(name)
        if texts:
            raise InvalidInput(
                f"{sample.name}: text where {self.kind} was trained on numbers, or the reverse: "
                f"{shown_names(tuple(texts))}"
            )
        return frame

    def answers(self, frame: Frame) -> Answers:
        said = self._booster.ask(self._rows(frame))
        numbers = np.asarray(said.numbers)
        return Answers(
            labels=said.labels,
            numbers=numbers.astype(np.float64).reshape(len(numbers), -1),
            dtype=numbers.dtype,
        )

    def candidates(self, frame: Frame) -> Sequence[Attempt]:
        return [lambda: self._convert(frame)]

    def _rows(self, frame: Frame) -> Any:
        """A table where the library knows names or categories, else a matrix."""
        columns = self._booster.columns
        if columns.names is None and not columns.categories:
            return np.column_stack([c.astype(np.float64, copy=False) for c in frame.values()])
        import pandas as pd

        made = {}
        for i, (name, column) in enumerate(frame.items()):
            categories = columns.categories.get(i)
            plain = column if is_text(column) else column.astype(np.float64)
            made[name] = plain if categories is None else pd.Categorical(plain, categories)
        return pd.DataFrame(made)

    def _convert(self, frame: Frame) -> Candidate:
        assembly = Assembly("booster")
        inputs = self._inputs(frame)
        is_double = any(f.datatype != "FP32" for f in inputs)
        given = INPUT if len(inputs) == 1 and inputs[0].name == INPUT else ""
        if not given:
            given = self._write_columns(assembly, inputs)
        outputs = self._outputs()
        names = tuple(f.name for f in outputs)
        write_predictor(assembly, self._predictor, given, names, is_double=is_double)
        model = assembly.model(list(map(value_of, inputs)), list(map(value_of, outputs)))
        schema = Schema(inputs=inputs, outputs=outputs)
        plan = f"{type(self._predictor.model).__name__.lower()} in float64"
        return Candidate(model=graph.finish(model, "model"), schema=schema, plan=plan)

    def _inputs(self, frame: Frame) -> tuple[Field, ...]:
        columns = self._booster.columns
        number = "FP32" if self._booster.rounds_to_float32 else "FP64"
        if not columns.categories:
            shape = (-1, len(frame))
            return (
                Field(
                    name=INPUT, datatype=number, shape=shape, role="feature", columns=tuple(frame)
                ),
            )
        return tuple(
            Field(
                name=f"column{i}",
                datatype="BYTES" if is_text(column) else "FP64",
                shape=(-1, 1),
                role="feature",
                columns=(name,),
            )
            for i, (name, column) in enumerate(frame.items())
        )

    def _write_columns(self, assembly: Assembly, inputs: tuple[Field, ...]) -> str:
        """One matrix of the columns, categories as their codes."""
        categories = self._booster.columns.categories
        parts = [
            write_codes(assembly, f.name, categories[i]) if i in categories else f.name
            for i, f in enumerate(inputs)
        ]
        return assembly.add("Concat", *parts, axis=1)

    def _outputs(self) -> tuple[Field, ...]:
        predictor, labels = self._predictor, self.labels
        number = "FP32" if predictor.is_single else "FP64"
        shape = (-1, predictor.outputs)
        if predictor.classes is None:
            return (Field(name="score", datatype=number, shape=shape, role="score"),)
        kind = "BYTES" if is_text(predictor.classes) else "INT64"
        return (
            Field(name="label", datatype=kind, shape=(-1,), role="label", labels=labels),
            Field(
                name="probabilities",
                datatype=number,
                shape=shape,
                role="probabilities",
                labels=labels,
            ),
        )


def class_names(classes: Any) -> Column:
    """A library's classes as the served model names them: int64, or object of str.

    Raises:
        Unsupported: they are neither text, whole numbers nor booleans.
    """
    given = np.asarray(classes)
    if given.dtype.kind in "UO" and all(isinstance(c, str) for c in given.tolist()):
        return np.array([str(c) for c in given.tolist()], dtype=np.object_)
    if given.dtype.kind in "iubf" and np.array_equal(given, given.astype(np.int64)):
        return given.astype(np.int64)
    raise Unsupported("only text, whole numbers and booleans are converted as class labels")


def class_codes(classes: Any, predicted: Any) -> NDArray[np.int64]:
    """The place of each predicted class in `classes`, int64 [rows]."""
    places = {c: i for i, c in enumerate(np.asarray(classes).tolist())}
    told = np.asarray(predicted).ravel().tolist()
    return np.array([places[c] for c in told], dtype=np.int64)
