"""Which types a model's inputs and weights get. All else is written in float64.

scikit-learn prepares data in float64; its trees then round to float32, while histogram boosting
compares float64. Where the sample holds numbers that float32 does not, a float32 input puts rows
near a threshold on its other side: models that jump take float64 then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from fogline_hub.convert.frame import Frame, is_float32_exact
from fogline_hub.convert.sklearn.walk import IN_FLOAT32

_ROUNDING = ("DecisionTree", "ExtraTree", "RandomForest", "GradientBoosting", "IsolationForest")
"""Classes that round their input to float32 themselves."""
_JUMPING = (
    *_ROUNDING,
    "HistGradientBoosting",
    "AdaBoost",
    "Bagging",
    "KNeighbors",
    "KBins",
    "Binarizer",
    "Isotonic",
    "Quantile",
    "OneHot",
    "Ordinal",
    "Target",
    "BernoulliNB",
    "RandomTrees",
)
"""Beginnings of the names of classes whose answer jumps somewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where float64 is used; float32 elsewhere."""

    input: bool
    model: bool = True

    def __str__(self) -> str:
        parts = (("input", self.input), ("preparation", True), ("model", self.model))
        return ", ".join(f"{name} {'float64' if wide else 'float32'}" for name, wide in parts)


def plans(estimator: Any, frame: Frame) -> list[Plan]:
    """Ways to choose the types, the best first.

    Args:
        estimator: What is converted.
        frame: The sample's rows.
    """
    names = [type(part).__name__ for part in parts_of(estimator)]
    small, wide = Plan(input=False), Plan(input=True)
    if any(name in IN_FLOAT32 for name in names):
        return [Plan(input=False, model=False), small, wide]
    jumps = any(name.startswith(_JUMPING) for name in names)
    rounds_itself = type(estimator).__name__.startswith(_ROUNDING)
    if jumps and not rounds_itself and not is_float32_exact(frame):
        return [wide, small]
    return [small, wide]


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


def first_of(estimator: Any) -> Any:
    """The step that gets the data: the start of nested pipelines and searches."""
    while True:
        if isinstance(estimator, Pipeline):
            steps = [s for _, s in estimator.steps if s is not None and s != "passthrough"]
            if not steps:
                return estimator
            estimator = steps[0]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator


def last_of(estimator: Any) -> Any:
    """The estimator at the end of nested pipelines and searches."""
    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator
