"""Which tensors of a version capture looks at, and how: from its schema, reference and bounds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from fogline.schema import Field, Schema
from fogline.summaries import Reference
from fogline.tensors import Array
from fogline_edge.capture.held import hold
from fogline_edge.capture.prediction_ids import IdHead, model_key
from fogline_edge.capture.predictions import Predictions
from fogline_edge.serving.observer import Observation

Side = Literal["inputs", "outputs"]
SIDES: tuple[Side, Side] = ("inputs", "outputs")

MAX_TABLE_COLUMNS = 64
"""Columns without names of a [rows, k] tensor that are sampled as columns of their own; wider
tensors are one wide column."""
MAX_NAME_CHARS = 128
"""Longest name of a sampled column that the hub takes."""


class CountedTensor:
    """A tensor of which the reference lists columns.

    Attributes:
        name: The tensor's.
    """

    __slots__ = ("_columns", "_picks", "_wanted", "_width", "name")

    def __init__(self, field: Field, wanted: frozenset[str]) -> None:
        self.name = field.name
        self._columns = field.columns
        self._wanted = wanted
        self._width = -1
        self._picks: tuple[tuple[int, str], ...] = ()

    def columns(self, tensor: Array) -> Iterator[tuple[str, Array]]:
        """The listed columns [rows] of a tensor [rows] or [rows, k], named as by `columns_of`."""
        table = tensor.reshape(len(tensor), 1) if tensor.ndim == 1 else tensor
        if table.ndim != 2:
            return
        if table.shape[1] != self._width:
            self._picks = tuple(self._find(table.shape[1]))
            self._width = table.shape[1]
        for i, name in self._picks:
            yield name, table[:, i]

    def _find(self, width: int) -> Iterator[tuple[int, str]]:
        names: Sequence[str] = self._columns
        if not names:
            names = (self.name,) if width == 1 else [f"{self.name}[{i}]" for i in range(width)]
        return ((i, n) for i, n in zip(range(width), names, strict=False) if n in self._wanted)


class Reader:
    """How to read one version's requests and answers; the same for as long as its schema is.

    Attributes:
        schema: The version's.
        predictions: What it predicted.
        id_head: What its prediction ids begin with.
        counted: The tensors that summaries are made of, by side.
        watched: Side and name of all that must be alike in requests that are counted together.
    """

    __slots__ = (
        "_max_width", "_named", "_samples", "_whole", "counted", "id_head", "predictions",
        "schema", "watched",
    )  # fmt: skip

    def __init__(
        self,
        model: str,
        version: int,
        schema: Schema,
        reference: Reference,
        *,
        samples: bool,
        max_width: int,
    ) -> None:
        self.schema = schema
        self.predictions = Predictions(schema, reference)
        self.id_head = IdHead(model_key(model), version, len(self.predictions.labels))
        self.counted: dict[Side, tuple[CountedTensor, ...]] = {
            "inputs": _counted(schema.inputs, frozenset(f.name for f in reference.inputs)),
            "outputs": _counted(schema.outputs, frozenset(f.name for f in reference.outputs)),
        }
        self._samples = samples
        self._max_width = max_width
        self.watched: list[tuple[Side, str]] = [(s, t.name) for s in SIDES for t in self.counted[s]]
        if self.predictions.probabilities:
            self.watched.append(("outputs", self.predictions.probabilities))
        self.watched = list(dict.fromkeys(self.watched))
        self._named = {s: frozenset(f.name for f in getattr(schema, s) if f.columns) for s in SIDES}
        self._whole = {s: frozenset(self._always_kept(s)) for s in SIDES}

    def trim(self, observation: Observation) -> int:
        """Lets go of tensors that are neither counted nor sampled, and of memory behind others.

        Returns:
            The bytes of the arrays that are left.
        """
        if observation.error is not None:
            observation.inputs = observation.outputs = {}
            return 0
        inputs, outputs = observation.inputs, observation.outputs
        if not inputs.keys() <= self._whole["inputs"]:
            inputs = self._kept("inputs", inputs)
        if not outputs.keys() <= self._whole["outputs"]:
            outputs = self._kept("outputs", outputs)
        observation.inputs, taken = hold(inputs)
        observation.outputs, given = hold(outputs)
        return taken + given

    def is_sampled(self, side: Side, name: str, tensor: Array) -> bool:
        """Whether rows of a tensor [rows, ...] are sampled."""
        return self._samples and (
            (tensor.ndim == 2 and name in self._named[side])
            or 0 < tensor.size <= len(tensor) * self._max_width
        )

    def _kept(self, side: Side, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        whole = self._whole[side]
        return {
            n: a
            for n, a in arrays.items()
            if n in whole or (a.ndim and self.is_sampled(side, n, a))
        }

    def _always_kept(self, side: Side) -> Iterator[str]:
        yield from (name for s, name in self.watched if s == side)
        for field in getattr(self.schema, side):
            inner = field.shape[1:]
            width = 1
            for size in inner:
                width *= size
            if self._samples and min(inner, default=1) > 0 and width <= self._max_width:
                yield field.name


def _counted(fields: tuple[Field, ...], wanted: frozenset[str]) -> tuple[CountedTensor, ...]:
    tables = wanted | {n.rpartition("[")[0] for n in wanted}  # `x[3]` is a column of `x`
    return tuple(
        CountedTensor(f, wanted)
        for f in fields
        if len(f.shape) in (1, 2) and not tables.isdisjoint(f.columns or (f.name,))
    )
