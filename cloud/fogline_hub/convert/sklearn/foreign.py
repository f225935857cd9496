"""Writes a fitted scikit-learn estimator as ONNX; the only importer of skl2onnx.

Precision is chosen by how the estimator computes. scikit-learn prepares data in float64; its own
trees then round to float32, while histogram boosting compares float64. So preparation runs in
float64 behind a Cast, and where a tree follows and the sample holds numbers that float32 does not,
the model takes float64: otherwise rows near a threshold fall on its other side.
"""

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import onnx
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from skl2onnx.operator_converters.common import concatenate_variables
from skl2onnx.operator_converters.imputer_op import convert_sklearn_imputer
from skl2onnx.sklapi import CastTransformer
from sklearn.base import BaseEstimator, is_classifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline

from fogline.errors import Unsupported
from fogline_hub.convert import graph
from fogline_hub.convert.frame import Column, Frame, is_float32_exact
from fogline_hub.convert.sklearn import foreign_trees

INPUT = "input"
"""The name of the one tensor of a model whose columns are all numbers."""


class Precision(Enum):
    """How an estimator compares and adds."""

    SMOOTH = "smooth"
    """A small change of the input is a small change of the answer."""
    FLOAT32_TREES = "float32_trees"
    """Rounds its input to float32, then jumps at thresholds."""
    FLOAT64_TREES = "float64_trees"


PRECISIONS = {
    "DecisionTree": Precision.FLOAT32_TREES,
    "ExtraTree": Precision.FLOAT32_TREES,
    "ExtraTrees": Precision.FLOAT32_TREES,
    "RandomForest": Precision.FLOAT32_TREES,
    "GradientBoosting": Precision.FLOAT32_TREES,
    "AdaBoost": Precision.FLOAT32_TREES,
    "Bagging": Precision.FLOAT32_TREES,
    "HistGradientBoosting": Precision.FLOAT64_TREES,
}
"""By class name without `Classifier` or `Regressor`; all others are smooth until parity objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where float64 is used; float32 elsewhere."""

    input: bool
    preparation: bool
    model: bool

    def __str__(self) -> str:
        parts = (("input", self.input), ("preparation", self.preparation), ("model", self.model))
        return ", ".join(f"{name} {'float64' if wide else 'float32'}" for name, wide in parts)


def plans(estimator: Any, frame: Frame, *, takes_columns: bool) -> list[Plan]:
    """Ways to choose the types, the best first.

    Args:
        estimator: What is converted.
        frame: The sample's rows.
        takes_columns: Each column is an input of its own, before which no Cast can stand.
    """
    precision = _precision(last_of(estimator))
    is_prepared = isinstance(estimator, Pipeline)
    loses = not is_float32_exact(frame)
    casts = is_prepared and not takes_columns
    small = Plan(input=False, preparation=casts, model=False)
    wide_front = Plan(input=True, preparation=True, model=False)
    wide = Plan(input=True, preparation=True, model=True)
    plain = Plan(input=False, preparation=False, model=False)
    match precision:
        case Precision.FLOAT64_TREES if loses or takes_columns:
            order = [wide, small]
        case Precision.FLOAT64_TREES:
            order = [Plan(input=False, preparation=casts, model=casts), wide]
        case Precision.FLOAT32_TREES if is_prepared and (loses or takes_columns):
            order = [wide_front, small]
        case Precision.FLOAT32_TREES:
            order = [small, wide_front]
        case _:
            order = [small, plain, wide_front, wide]
    return list(dict.fromkeys(order))


def to_onnx(estimator: Any, frame: Frame, plan: Plan, *, takes_columns: bool) -> onnx.ModelProto:
    """Converts by one plan.

    Raises:
        Unsupported: skl2onnx cannot convert it so.
    """
    adapted = _with_casts(_adapted(estimator), plan)
    last = last_of(adapted)
    number = DoubleTensorType if plan.input else FloatTensorType
    if takes_columns:
        types = [(n, _column_type(c, number)([None, 1])) for n, c in frame.items()]
    else:
        types = [(INPUT, number([None, len(frame)]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = convert_sklearn(
                adapted,
                name="model",
                initial_types=types,
                options={id(last): {"zipmap": False}} if is_classifier(last) else None,
                custom_conversion_functions={SimpleImputer: _convert_imputer},
            )
        except Exception as e:
            text = " ".join(str(e).split())[:300]
            raise Unsupported(
                f"{type(last).__name__} cannot be converted ({plan}): {type(e).__name__}: {text}"
            ) from e
    foreign_trees.restore(model, last, is_double=plan.model)
    graph.declare_float_outputs(model)
    return model


def parts_of(estimator: Any) -> Iterator[Any]:
    """The estimator and all fitted or given estimators inside it."""
    todo: list[Any] = [estimator]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, BaseEstimator):
            yield one
        if isinstance(one, BaseEstimator) or type(one).__name__ == "_CalibratedClassifier":
            todo.extend(vars(one).values())
        elif isinstance(one, (list, tuple)):
            todo.extend(one)
        elif isinstance(one, dict):
            todo.extend(one.values())
        elif isinstance(one, np.ndarray) and one.dtype == object:
            todo.extend(one.ravel())


def last_of(estimator: Any) -> Any:
    """The estimator at the end of nested pipelines."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def _column_type(column: Column, number: Any) -> Any:
    match column.dtype.kind:
        case "O":
            return StringTensorType
        case "i":
            return Int64TensorType
        case _:
            return number


def _adapted(estimator: Any) -> Any:
    """A copy in the form that skl2onnx reads, with the same answers."""
    made = copy.deepcopy(estimator)
    for part in parts_of(made):
        if type(part).__name__ == "VotingClassifier":
            part.flatten_transform = False  # changes `transform` alone; True fails to convert
        for row in getattr(part, "_predictors", ()):
            for tree in row:  # skl2onnx fails on attributes of type numpy.uint32
                tree.nodes = tree.nodes.astype(_plain_integers(tree.nodes.dtype))
    return made


def _plain_integers(dtype: np.dtype[Any]) -> np.dtype[Any]:
    fields = [(n, dtype[n]) for n in dtype.names or ()]
    return np.dtype([(n, np.dtype(np.int64) if k.kind in "iu" else k) for n, k in fields])


def _with_casts(estimator: Any, plan: Plan) -> Any:
    """The pipeline with the plan's type changes as steps of their own."""
    is_pipeline = isinstance(estimator, Pipeline)
    steps = list(estimator.steps) if is_pipeline else [("model", estimator)]
    is_wide = plan.input
    if is_pipeline and plan.preparation and not is_wide:
        steps.insert(0, ("fogline_wide", CastTransformer(dtype=np.float64)))
        is_wide = True
    if is_wide != plan.model:
        wanted = np.float64 if plan.model else np.float32
        steps.insert(-1, ("fogline_model", CastTransformer(dtype=wanted)))
    return Pipeline(steps) if len(steps) > 1 or is_pipeline else estimator


def _precision(estimator: Any) -> Precision:
    name = type(estimator).__name__.removesuffix("Classifier").removesuffix("Regressor")
    return PRECISIONS.get(name, Precision.SMOOTH)


def _convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    """Where(IsNaN(x), s, x) for float64, for which onnxruntime's Imputer has no kernel."""
    op = operator.raw_operator
    is_plain = isinstance(op.missing_values, float) and np.isnan(op.missing_values)
    is_double = all(isinstance(v.type, DoubleTensorType) for v in operator.inputs)
    statistics = op.statistics_
    if not (is_plain and is_double) or op.add_indicator or not np.isfinite(statistics).all():
        convert_sklearn_imputer(scope, operator, container)
        return
    given = concatenate_variables(scope, operator.inputs, container)
    fill = scope.get_unique_variable_name("imputed")
    hole = scope.get_unique_variable_name("is_missing")
    container.add_initializer(
        fill, onnx.TensorProto.DOUBLE, [1, len(statistics)], statistics.astype(np.float64)
    )
    container.add_node("IsNaN", [given], [hole], name=scope.get_unique_operator_name("IsNaN"))
    container.add_node(
        "Where",
        [hole, fill, given],
        [operator.outputs[0].full_name],
        name=scope.get_unique_operator_name("Where"),
    )
