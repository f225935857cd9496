"""A whole model of a fitted estimator: inputs, what is written between, and named outputs."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from fogline.schema import Field, Schema
from fogline_hub.convert.ensembles import Assembly
from fogline_hub.convert.frame import Column, Frame
from fogline_hub.convert.graph_ports import DATATYPES, INPUT, value_of
from fogline_hub.convert.sklearn.decision import Decision, Kind
from fogline_hub.convert.sklearn.precision import Plan
from fogline_hub.convert.sklearn.role import Answering, Role
from fogline_hub.convert.sklearn.tensor import (
    BOOL,
    CONTRIB,
    DOUBLE,
    FLOAT,
    INT64,
    STRING,
    Given,
    Table,
    Tensor,
    matrix_of,
)
from fogline_hub.convert.sklearn.walk import Walk

PREFIX = "fogline"


def write(
    estimator: Any, answering: Answering, frame: Frame, plan: Plan, *, takes_columns: bool
) -> tuple[onnx.ModelProto, Schema]:
    """The model and its schema.

    Args:
        estimator: Fitted.
        answering: What it answers.
        frame: The sample's rows, for names and types.
        plan: Of types.
        takes_columns: Each column is an input of its own.

    Raises:
        Unsupported: a part has no converter.
    """
    assembly = Assembly(PREFIX)
    number = DOUBLE if plan.input else FLOAT
    if takes_columns:
        inputs, given = _columns(assembly, frame, number)
    else:
        inputs, given = _matrix(assembly, frame, number)
    walk = Walk(float32=not plan.model)
    outputs = _Outputs(assembly)
    if answering.classes is None:
        if answering.role is Role.TRANSFORMER:
            made = matrix_of(walk.transform(estimator, given))
            outputs.add("transformed", made, role="other")
        else:
            outputs.add("score", walk.regress(estimator, given), role="score")
    else:
        decision = walk.classify(estimator, given)
        outputs.add_decision(decision, answering)
    model = assembly.model(list(map(value_of, inputs)), list(map(value_of, outputs.fields)))
    if any(node.domain == CONTRIB for node in assembly.nodes):
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    return model, Schema(inputs=tuple(inputs), outputs=tuple(outputs.fields))


def label_texts(classes: NDArray[Any]) -> tuple[str, ...] | None:
    """Class names as the served model gives them: text, or whole numbers; None for others.

    >>> label_texts(np.array([False, True])), label_texts(np.array([0.5, 1.0]))
    (('0', '1'), None)
    """
    if classes.dtype.kind in "UO" and all(isinstance(c, str) for c in classes):
        return tuple(str(c) for c in classes)
    if classes.dtype.kind == "O" and all(isinstance(c, (bool, int, np.integer)) for c in classes):
        return tuple(str(int(c)) for c in classes)
    if classes.dtype.kind in "iubf" and np.array_equal(classes, classes.astype(np.int64)):
        return tuple(str(int(c)) for c in classes)
    return None


class _Outputs:
    """Named outputs while they are written."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self.fields: list[Field] = []

    def add(self, name: str, value: Tensor, *, role: Any, labels: tuple[str, ...] = ()) -> None:
        self._assembly.add("Identity", value.name, output=name)
        shape = (-1, value.width) if value.width else (-1,)
        self.fields.append(
            Field(name=name, datatype=DATATYPES[value.type], shape=shape, role=role, labels=labels)
        )

    def add_decision(self, decision: Decision, answering: Answering) -> None:
        classes = answering.classes
        names = label_texts(classes) if classes is not None else None
        if names is None or classes is None:
            return
        is_text = classes.dtype.kind in "UO" and isinstance(classes[0], str)
        table = np.array(names, dtype=object) if is_text else np.array([int(n) for n in names])
        kind = STRING if is_text else INT64
        self.add("label", decision.codes.rows_of(table, kind), role="label", labels=names)
        if not answering.method or decision.kind is Kind.NOTHING:
            return
        if answering.method == "predict_proba":
            self.add("probabilities", decision.numbers, role="probabilities", labels=names)
        else:
            self.add("score", decision.numbers, role="score")


def _matrix(assembly: Assembly, frame: Frame, number: int) -> tuple[list[Field], Given]:
    field = Field(
        name=INPUT,
        datatype=DATATYPES[number],
        shape=(-1, len(frame)),
        role="feature",
        columns=tuple(frame),
    )
    return [field], Tensor(assembly, INPUT, number, len(frame))


def _columns(assembly: Assembly, frame: Frame, number: int) -> tuple[list[Field], Given]:
    fields, columns = [], []
    for place, (name, column) in enumerate(frame.items()):
        kind = _column_type(column, number)
        given = name if not name.startswith(PREFIX + ".") else f"column.{place}"
        fields.append(
            Field(
                name=given,
                datatype=DATATYPES[kind],
                shape=(-1, 1),
                role="feature",
                columns=(name,),
            )
        )
        columns.append(Tensor(assembly, given, kind, 1))
    return fields, Table(tuple(columns))


def _column_type(column: Column, number: int) -> int:
    return {"O": STRING, "i": INT64, "b": BOOL}.get(column.dtype.kind, number)
