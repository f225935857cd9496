"""ONNX files as a source: the model is its own original, and onnxruntime's answer to it the truth.

Import gathers, cleans and raises the file (`onnx_passes`), and its answers have to stay.
"""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx

from fogline.errors import InvalidInput, Unsupported
from fogline.runtime import ModelPlan, Session
from fogline.schema import Field, Role, Schema
from fogline.summaries import category_text
from fogline_hub.convert import graph
from fogline_hub.convert.dataset import Column, Dataset
from fogline_hub.convert.frame import Frame, rows_of, take, tensors_of
from fogline_hub.convert.graph_ports import fields_of, free_axes
from fogline_hub.convert.heads import (
    LABEL,
    Head,
    add_label,
    class_names,
    find_head,
    is_label,
    label_codes_of,
)
from fogline_hub.convert.inputs import Filled, Port, fill
from fogline_hub.convert.onnx_passes import (
    LEAST_OPSET,
    clean,
    cut_zipmap,
    free_batch,
    raised,
    read,
)
from fogline_hub.convert.onnx_passes import class_names as names_in
from fogline_hub.convert.parity import Answers
from fogline_hub.convert.served import read_answers, rows_at_once
from fogline_hub.convert.source import Attempt, Candidate, Refused

"""What exporters call the class; other outputs keep the role `other`."""
ASKED_ROWS = 256
"""Rows that the original answers at once, where it takes any number."""


def load(path: Path) -> "OnnxModel":
    """Opens an ONNX file whose inputs are tensors with rows in front.

    Raises:
        Corrupt: it is no ONNX model.
        Unsupported: operators, types or shapes that are not served.
        InvalidInput: onnxruntime cannot load it.
    """
    original, model = read(path), read(path)
    names = clean(model, path.name)
    fields_of(model.graph.input, path.name)
    if cut_zipmap(original):  # onnxruntime's answer, but as the tensor that it was before
        with tempfile.TemporaryDirectory() as scratch:
            asked = Path(scratch) / "model.onnx"
            asked.write_bytes(original.SerializeToString())
            session = Session.open(asked, ModelPlan(), label=path.name)
    else:
        session = Session.open(path, ModelPlan(), label=path.name)
    return OnnxModel(path, model, session, names or _names_in_graph(model))


class OnnxModel:
    """A model that is served as it came, or raised to an opset that is known everywhere."""

    framework = "onnx"
    kind = "ONNX"
    packages = ("onnx", "onnxruntime", "numpy")

    def __init__(
        self,
        path: Path,
        model: onnx.ModelProto,
        session: Session,
        names: tuple[str, ...],
    ) -> None:
        self._name = path.name
        self._model = model
        self._session = session
        self._names = names
        self._batch = _fixed_rows(session.inputs, path.name)
        self._filled: Filled | None = None
        self._head: Head | None = None
        self._user_names: tuple[str, ...] = ()
        self.labels: tuple[str, ...] = ()
        for field in session.outputs:
            if field.datatype == "BYTES" and not is_label(field):
                raise Unsupported(
                    f"{path.name}: output {field.name!r} is text that is no class; its answers "
                    "cannot be watched; end the model at the numbers"
                )

    def name_labels(self, labels: tuple[str, ...]) -> None:
        """Takes the names of the classes, in the order of the class output."""
        self._user_names = labels

    def select(self, sample: Dataset, target: str | None) -> Frame:
        ports = [
            Port(name=f.name, datatype=f.datatype, shape=(-1, *f.shape[1:]))
            for f in self._session.inputs
        ]
        filled = fill(ports, sample, target)
        if self._filled is None:
            self._filled = filled
            actual = None if target is None else sample.column(target)
            self._choose_labels(filled.frame, actual)
        return filled.frame

    def answers(self, frame: Frame) -> Answers:
        try:
            outputs = self._run(frame)
        except InvalidInput as e:
            raise Refused(str(e)) from e
        schema = Schema(inputs=(), outputs=self._outputs())
        answers = read_answers(schema, outputs, rows_of(frame))
        if self._head is None or not self.labels:
            return answers
        numbers = outputs[self._head.name].astype(np.float64)
        codes = label_codes_of(self._head, numbers)
        return Answers(labels=codes, numbers=answers.numbers, dtype=answers.dtype)

    def candidates(self, frame: Frame) -> Sequence[Attempt]:  # noqa: ARG002 - one way for any rows
        version = graph.opsets(self._model).get("ai.onnx", LEAST_OPSET)
        ways: list[Attempt] = []
        if version < LEAST_OPSET:
            ways.append(lambda: self._import(raised(self._model, self._name), f"from {version}"))
        ways.append(lambda: self._import(self._model, "as it came"))
        return ways

    def _import(self, model: onnx.ModelProto, how: str) -> Candidate:
        made = free_batch(model, self._batch)
        freed = f"; rows freed from {self._batch}" if self._batch else ""
        added: tuple[Field, ...] = ()
        if self._head is not None and self.labels:
            kind = add_label(made, self._head, self.labels)
            added = (
                Field(name=LABEL, datatype=kind, shape=(-1,), role="label", labels=self.labels),
            )
        whole = {f.name for f in self._fields if not f.columns}
        version = graph.opsets(made).get("ai.onnx", 0)
        return Candidate(
            model=graph.finish(made, "model"),
            schema=Schema(inputs=self._inputs(made), outputs=(*self._outputs(), *added)),
            plan=f"opset {version}, {how}{freed}",
            lengths=free_axes(made, whole),
            takes_no_rows=graph.takes_no_rows(made),
        )

    def _run(self, frame: Frame) -> dict[str, Column]:
        """The original's outputs; where its rows are fixed, asked so many at a time."""
        rows = rows_of(frame)
        tensors = tensors_of(frame, Schema(inputs=self._fields, outputs=()))
        step = self._batch or min(ASKED_ROWS, rows_at_once(tensors))
        parts = []
        for start in range(0, max(rows, 1), step):
            part = take(tensors, slice(start, start + step))
            short = self._batch - rows_of(part) if self._batch else 0
            if short > 0:
                part = {n: np.concatenate([t, t[[-1] * short]]) for n, t in part.items()}
            parts.append(self._session.run(part))
        joined = {n: np.concatenate([p[n] for p in parts]) for n in parts[0] if _has_rows(parts, n)}
        if len(joined) < len(parts[0]):
            lost = sorted(parts[0].keys() - joined.keys())
            raise Unsupported(
                f"{self._name}: output {lost[0]!r} has not one answer for each row; the first "
                "dimension has to be the rows"
            )
        return {n: a[:rows] for n, a in joined.items()} if self._batch else joined

    def _choose_labels(self, frame: Frame, actual: Column | None) -> None:
        label = next((f for f in self._session.outputs if is_label(f)), None)
        if label is None:
            self._head = find_head(self._model)
            self.labels = class_names(self._head, self._user_names, actual)
            return
        if self._user_names:
            raise InvalidInput(f"{self._name}: the model names its classes itself; drop --labels")
        seen = [self._run(frame)[label.name].ravel(), *([] if actual is None else [actual])]
        texts = {t for values in seen for v in values.tolist() if (t := category_text(v))}
        self.labels = self._names if texts <= set(self._names) else _in_order(texts)

    def _inputs(self, model: onnx.ModelProto) -> tuple[Field, ...]:
        columns = {f.name: f.columns for f in self._fields}
        return tuple(
            Field(
                name=f.name,
                datatype=f.datatype,
                shape=(-1, len(columns[f.name])) if columns[f.name] else f.shape,
                role="feature",
                columns=columns[f.name],
            )
            for f in fields_of(model.graph.input, self._name)
        )

    def _outputs(self) -> tuple[Field, ...]:
        return tuple(
            Field(name=f.name, datatype=f.datatype, shape=(-1,), role="label", labels=self.labels)
            if is_label(f)
            else self._number(f)
            for f in self._session.outputs
        )

    def _number(self, field: Field) -> Field:
        is_known = len(field.shape) > 0 and all(d > 0 for d in field.shape[1:])
        width = int(np.prod(field.shape[1:])) if is_known else 0
        is_float = field.datatype in ("FP32", "FP64")
        shape = (-1, *field.shape[1:])
        is_head = self._head is None or self._head.name == field.name
        if self.labels and is_float and is_head and width == len(self.labels):
            is_share = self._head is None or self._head.is_softmax
            return Field(
                name=field.name,
                datatype=field.datatype,
                shape=shape,
                role="probabilities" if is_share else "other",
                labels=self.labels,
            )
        is_score = is_float and width == 1 and len(self._session.outputs) == 1
        role: Role = "score" if is_score else "other"
        return Field(name=field.name, datatype=field.datatype, shape=shape, role=role)

    @property
    def _fields(self) -> tuple[Field, ...]:
        if self._filled is None:
            raise InvalidInput(f"{self._name}: choose its columns first")
        return self._filled.fields


def _fixed_rows(inputs: Iterable[Field], name: str) -> int:
    """The number of rows that all inputs fix; 0 where it is free.

    Raises:
        Unsupported: an input has no rows, or they differ.
    """
    found = set()
    for field in inputs:
        if not field.shape:
            raise Unsupported(
                f"{name}: input {field.name!r} has shape []; every input has rows in front"
            )
        found.add(field.shape[0])
    if len(found) > 1:
        raise Unsupported(f"{name}: its inputs have different numbers of rows")
    return max(0, *found)


def _has_rows(parts: Sequence[dict[str, Column]], name: str) -> bool:
    return all(p[name].ndim > 0 for p in parts)


def _names_in_graph(model: onnx.ModelProto) -> tuple[str, ...]:
    """The class names of the only classifier of `ai.onnx.ml` in the graph."""
    found = {names_in(n) for n in model.graph.node if n.domain == "ai.onnx.ml"} - {()}
    return found.pop() if len(found) == 1 else ()


def _in_order(texts: set[str]) -> tuple[str, ...]:
    """Whole numbers by size, as classes are numbered, and names by the alphabet."""
    if all(t.lstrip("-").isdecimal() for t in texts):
        return tuple(sorted(texts, key=int))
    return tuple(sorted(texts))
