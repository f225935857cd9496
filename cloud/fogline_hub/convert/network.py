"""A model of tensors, of any framework: asked as a function, exported, and named for the schema.

`Network` is what a framework's module gives; `NetworkModel` makes a `Trained` of it. Its shapes are
the exported graph's: a dimension that the exporter could not keep free is told by the schema, and
those that it kept are tried at other lengths by the proof.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx

from fogline.errors import InvalidInput, Unsupported
from fogline.schema import Field, Role, Schema
from fogline.tensors import Array
from fogline_hub.convert import graph
from fogline_hub.convert.dataset import Dataset
from fogline_hub.convert.frame import Frame, rows_of, take, tensors_of
from fogline_hub.convert.graph_ports import (
    bounded_indices,
    fields_of,
    free_axes,
    make_batch_free,
    same_names,
)
from fogline_hub.convert.heads import (
    LABEL,
    Head,
    add_label,
    class_names,
    find_head,
    label_codes_of,
)
from fogline_hub.convert.inputs import Filled, Port, example, fill
from fogline_hub.convert.parity import Answers
from fogline_hub.convert.served import rows_at_once
from fogline_hub.convert.source import Attempt, Candidate

ASKED_ROWS = 256
"""Rows that the original answers at once."""
FINITE = float(np.finfo(np.float32).max)


class Network(Protocol):
    """A loaded model of one framework."""

    framework: str
    kind: str
    packages: tuple[str, ...]
    ports: tuple[Port, ...]
    notes: tuple[str, ...]
    """What was decided while it was loaded, for the report."""

    def ports_for(self, sample: Dataset) -> tuple[Port, ...]:
        """The inputs that are given; a function's optional ones only where the sample has them."""

    def ask(self, tensors: Mapping[str, Array]) -> Mapping[str, Array]:
        """All outputs [rows, ...] by name, in order; raises `Refused` for what it calls invalid."""

    def export(self, tensors: Mapping[str, Array]) -> onnx.ModelProto:
        """The model as ONNX, from example inputs, with its inputs and outputs named as in `ask`.

        Raises:
            Unsupported: why not, and the way out.
        """


class NetworkModel:
    """The `Trained` of a network."""

    def __init__(self, network: Network, name: str) -> None:
        self._network = network
        self._name = name
        self._filled: Filled | None = None
        self._actual: Array | None = None
        self._named: tuple[str, ...] = ()
        self._head: Head | None = None
        self.framework = network.framework
        self.kind = network.kind
        self.packages = network.packages
        self.labels: tuple[str, ...] = ()

    def name_labels(self, labels: tuple[str, ...]) -> None:
        """Takes the names of the classes, in the order of the class output."""
        self._named = labels

    def select(self, sample: Dataset, target: str | None) -> Frame:
        filled = fill(self._network.ports_for(sample), sample, target)
        if self._filled is None:
            self._filled = filled
            self._actual = None if target is None else sample.column(target)
        return filled.frame

    def answers(self, frame: Frame) -> Answers:
        rows = rows_of(frame)
        tensors = self._tensors(frame)
        step = min(ASKED_ROWS, rows_at_once(tensors))
        parts = [
            self._network.ask({n: t[i : i + step] for n, t in tensors.items()})
            for i in range(0, max(rows, 1), step)
        ]
        outputs = {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}
        for name, array in outputs.items():
            if array.ndim == 0 or len(array) != rows:
                raise Unsupported(
                    f"{self._name}: output {name!r} has shape {list(array.shape)} for {rows} rows; "
                    "the first dimension has to be the rows"
                )
        flat = [a.reshape(rows, -1) if rows else a.reshape(0, 0) for a in outputs.values()]
        numbers = np.concatenate(flat, axis=1).astype(np.float64)
        codes = None
        if self.labels and self._head is not None:
            head = outputs[self._head.name].reshape(rows, self._head.width)
            codes = label_codes_of(self._head, head.astype(np.float64))
        return Answers(labels=codes, numbers=numbers)

    def candidates(self, frame: Frame) -> Sequence[Attempt]:
        rows = example(self._tensors(take(frame, slice(0, 16))), _example_rows(self._fields))
        exported: list[onnx.ModelProto] = []

        def model() -> onnx.ModelProto:
            if not exported:
                exported.append(self._exported(rows))
            made = onnx.ModelProto()
            made.CopyFrom(exported[0])
            return made

        ways: list[Attempt] = [lambda: self._candidate(model(), is_finite=False)]
        if any(f.datatype in ("FP32", "FP64") for f in self._fields):
            ways.append(lambda: self._candidate(model(), is_finite=True))
        return ways

    def _exported(self, rows: Mapping[str, Array]) -> onnx.ModelProto:
        model = self._network.export(rows)
        same_names(model, [f.name for f in self._fields], list(self._network.ask(rows)))
        make_batch_free(model, self._name)
        self._head = find_head(model)
        self.labels = class_names(self._head, self._named, self._actual)
        return model

    def _candidate(self, model: onnx.ModelProto, *, is_finite: bool) -> Candidate:
        """The model with its schema.

        Args:
            model: As exported.
            is_finite: Have the server refuse numbers that are missing or infinite. onnxruntime's
                MaxPool leaves NaN out where the frameworks answer NaN.
        """
        outputs = fields_of(model.graph.output, self._name)
        label: tuple[Field, ...] = ()
        if self.labels and self._head is not None:
            datatype = add_label(model, self._head, self.labels)
            label = (
                Field(name=LABEL, datatype=datatype, shape=(-1,), role="label", labels=self.labels),
            )
        schema = Schema(
            inputs=tuple(
                self._input(f, bounded_indices(model), is_finite=is_finite)
                for f in fields_of(model.graph.input, self._name)
            ),
            outputs=(*(self._output(f, len(outputs)) for f in outputs), *label),
        )
        notes = (*self._network.notes, *(("missing numbers are refused",) if is_finite else ()))
        whole = {f.name for f in self._fields if not f.columns}
        return Candidate(
            model=graph.finish(model, "model"),
            schema=schema,
            plan="; ".join((f"opset {graph.opsets(model)['ai.onnx']}", *notes)),
            lengths=free_axes(model, whole),
            takes_no_rows=graph.takes_no_rows(model),
        )

    def _input(
        self, field: Field, indices: Mapping[str, tuple[int, int]], *, is_finite: bool
    ) -> Field:
        columns = next((f.columns for f in self._fields if f.name == field.name), ())
        low, high = indices.get(field.name, (None, None))
        if is_finite and field.datatype in ("FP32", "FP64"):
            low, high = -FINITE, FINITE  # type: ignore[assignment]
        return Field(
            name=field.name,
            datatype=field.datatype,
            shape=(-1, len(columns)) if columns else field.shape,
            role="feature",
            columns=columns,
            minimum=low,
            maximum=high,
        )

    def _output(self, field: Field, count: int) -> Field:
        role: Role = "other"
        labels: tuple[str, ...] = ()
        head = self._head
        is_float = field.datatype in ("FP32", "FP64", "FP16")
        if head is not None and head.name == field.name and self.labels:
            labels = self.labels if head.width > 1 else ()
            role = "probabilities" if head.is_softmax else "score" if head.width == 1 else "other"
        elif count == 1 and is_float and field.shape[1:] in ((), (1,)):
            role = "score"
        return Field(
            name=field.name, datatype=field.datatype, shape=field.shape, role=role, labels=labels
        )

    @property
    def _fields(self) -> tuple[Field, ...]:
        if self._filled is None:
            raise InvalidInput(f"{self._name}: choose its columns first")
        return self._filled.fields

    def _tensors(self, frame: Frame) -> dict[str, Array]:
        return tensors_of(frame, Schema(inputs=self._fields, outputs=()))


def _example_rows(fields: Sequence[Field]) -> int:
    """A number of rows that no other dimension has, so that an exporter takes none for another."""
    taken = {d for f in fields for d in f.shape}
    return next(n for n in (3, 5, 7, 11, 13, 17, 19, 23) if n not in taken)
