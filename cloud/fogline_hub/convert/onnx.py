"""ONNX files as a source: the model is its own original; import cleans it and keeps its answers."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from fogline.errors import InvalidInput, Unsupported
from fogline.runtime import ModelPlan, Session
from fogline.schema import Field, Role, Schema, column_names
from fogline.summaries import category_text
from fogline_hub.convert import graph
from fogline_hub.convert.dataset import Dataset
from fogline_hub.convert.frame import Frame, is_text
from fogline_hub.convert.parity import Answers
from fogline_hub.convert.served import ServedModel
from fogline_hub.convert.source import Attempt, Candidate, Refused, select_columns

LABEL_NAMES = ("label", "output_label")
"""What exporters call the class; other outputs keep the role `other`."""


def load(path: Path) -> "OnnxModel":
    """Opens an ONNX file whose inputs are columns or one matrix of them.

    Raises:
        Corrupt: it is no ONNX model.
        Unsupported: types or shapes that a table cannot fill.
        InvalidInput: onnxruntime cannot load it.
    """
    model = graph.load(path)
    graph.check_inline(model, path.name)
    session = Session.open(path, ModelPlan())
    try:
        return OnnxModel(path, session.inputs, session.outputs)
    finally:
        session.close()


class OnnxModel:
    """A model that is served as it came."""

    framework = "onnx"
    kind = "ONNX"
    packages = ("onnx", "onnxruntime", "numpy")

    def __init__(self, path: Path, inputs: tuple[Field, ...], outputs: tuple[Field, ...]) -> None:
        for field in inputs:
            if not field.shape or field.shape[0] != -1 or len(field.shape) > 2:
                raise Unsupported(
                    f"{path.name}: input {field.name!r} has shape {list(field.shape)}; inputs of "
                    "shape [batch] or [batch, n] with a free batch are converted"
                )
        self._path = path
        self._inputs = inputs
        self._outputs = outputs
        self._model: ServedModel | None = None
        self.labels: tuple[str, ...] = ()

    def select(self, sample: Dataset, target: str | None) -> Frame:
        frame = self._columns(sample, target)
        schema = Schema(inputs=self._named(frame), outputs=self._outputs)
        with ServedModel(self._path, schema) as probe:
            answered = probe.run(frame)
        label = next((f for f in self._outputs if _is_label(f)), None)
        if label is not None:
            seen = [answered[label.name].ravel()]
            if target is not None:
                seen.append(sample.column(target))
            texts = {category_text(v) for values in seen for v in values.tolist()}
            self.labels = tuple(sorted(t for t in texts if t is not None))
        self._model = ServedModel(self._path, self._schema(frame))
        return frame

    def answers(self, frame: Frame) -> Answers:
        if self._model is None:
            raise InvalidInput(f"{self._path.name}: choose its columns first")
        try:
            return self._model.answers(frame)
        except InvalidInput as e:
            raise Refused(str(e)) from e

    def candidates(self, frame: Frame) -> Sequence[Attempt]:
        return [partial(self._import, frame)]

    def _import(self, frame: Frame) -> Candidate:
        model = graph.load(self._path)
        return Candidate(
            model=graph.finish(model, "model"), schema=self._schema(frame), plan="as it came"
        )

    def _columns(self, sample: Dataset, target: str | None) -> Frame:
        if len(self._inputs) == 1 and len(self._inputs[0].shape) == 2:
            width = self._inputs[0].shape[1]
            count = len(sample.features(target)) if width == -1 else width
            frame = select_columns(sample, target, None, count)
        else:
            names = [n for f in self._inputs for n in column_names(f)]
            frame = select_columns(sample, target, names, len(names))
        wants_text = {f.datatype == "BYTES" for f in self._inputs}
        texts = [n for n, c in frame.items() if is_text(c)]
        if texts and wants_text == {False}:
            raise InvalidInput(
                f"{sample.name}: column {texts[0]!r} is text, and the model takes numbers"
            )
        return frame

    def _named(self, frame: Frame) -> tuple[Field, ...]:
        if len(self._inputs) > 1 or len(self._inputs[0].shape) == 1:
            return self._inputs
        one = self._inputs[0]
        return (
            Field(
                name=one.name,
                datatype=one.datatype,
                shape=(-1, len(frame)),
                role="feature",
                columns=tuple(frame),
            ),
        )

    def _schema(self, frame: Frame) -> Schema:
        outputs = tuple(
            Field(name=f.name, datatype=f.datatype, shape=(-1,), role="label", labels=self.labels)
            if _is_label(f)
            else self._number(f)
            for f in self._outputs
        )
        return Schema(inputs=self._named(frame), outputs=outputs)

    def _number(self, field: Field) -> Field:
        width = int(np.prod(field.shape[1:])) if field.shape else 0
        is_float = field.datatype in ("FP32", "FP64")
        if self.labels and is_float and width == len(self.labels):
            return Field(
                name=field.name,
                datatype=field.datatype,
                shape=field.shape,
                role="probabilities",
                labels=self.labels,
            )
        role: Role = "score" if is_float and width == 1 and len(self._outputs) == 1 else "other"
        return Field(name=field.name, datatype=field.datatype, shape=field.shape, role=role)


def _is_label(field: Field) -> bool:
    is_named = field.name in LABEL_NAMES
    return is_named and len(field.shape) == 1 and field.datatype in ("INT64", "BYTES")
