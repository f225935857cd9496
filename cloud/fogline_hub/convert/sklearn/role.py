"""What an estimator answers, and how its original is asked."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor

from fogline.errors import Unsupported
from fogline_hub.convert.frame import Column
from fogline_hub.convert.parity import Answers
from fogline_hub.convert.sklearn.precision import last_of
from fogline_hub.convert.sklearn.unsupervised import CLUSTERS, DETECTORS, OUTLIER_CLASSES


class Role(Enum):
    CLASSIFIER = "classifier"
    REGRESSOR = "regressor"
    DETECTOR = "detector"
    CLUSTER = "cluster"
    TRANSFORMER = "transformer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """How it answers.

    Attributes:
        role: What it is.
        classes: What `predict` chooses among; None for numbers.
        method: What gives the numbers beside the class; empty for none.
    """

    role: Role
    classes: Column | None
    method: str

    def ask(self, estimator: Any, rows: Any) -> Answers:
        """The original's answers; raises ValueError for rows that it refuses."""
        if self.classes is None:
            return Answers(labels=None, numbers=as_matrix(getattr(estimator, self.method)(rows)))
        predicted = np.asarray(estimator.predict(rows))
        labels = np.searchsorted(self.classes, predicted)
        if not self.method:
            return Answers(labels=labels, numbers=np.zeros((len(labels), 0)))
        numbers = as_matrix(getattr(estimator, self.method)(rows))
        is_distance = self.method == "transform"
        return Answers(labels=labels, numbers=-numbers if is_distance else numbers)


def answering_of(estimator: Any) -> Answering:
    """How a fitted estimator answers.

    Raises:
        Unsupported: it predicts and transforms nothing, or several classes a row.
    """
    name = type(last_of(estimator)).__name__
    if name in DETECTORS:
        return Answering(role=Role.DETECTOR, classes=OUTLIER_CLASSES, method="decision_function")
    if name in CLUSTERS:
        return _cluster(last_of(estimator), name)
    if is_classifier(estimator):
        return _classifier(estimator)
    if is_regressor(estimator):
        return Answering(role=Role.REGRESSOR, classes=None, method="predict")
    if hasattr(estimator, "transform"):
        return Answering(role=Role.TRANSFORMER, classes=None, method="transform")
    raise Unsupported(f"{name} neither predicts nor transforms new rows; nothing can be served")


def _classifier(estimator: Any) -> Answering:
    classes = estimator.classes_
    if isinstance(classes, list):
        raise Unsupported(
            "a classifier with several outputs is not converted; train and convert one for each"
        )
    methods = ("predict_proba", "decision_function")
    method = next((m for m in methods if hasattr(estimator, m)), "")
    return Answering(role=Role.CLASSIFIER, classes=np.asarray(classes), method=method)


def _cluster(model: Any, name: str) -> Answering:
    if "Mixture" in name:
        classes = np.arange(model.n_components)
        return Answering(role=Role.CLUSTER, classes=classes, method="predict_proba")
    classes = np.arange(len(model.cluster_centers_))
    method = "transform" if hasattr(model, "transform") else ""
    return Answering(role=Role.CLUSTER, classes=classes, method=method)


def as_matrix(numbers: Any) -> Any:
    """float64 [rows, k]; raises `Unsupported` for several arrays."""
    dense = numbers.toarray() if hasattr(numbers, "toarray") else numbers
    if isinstance(dense, list):
        raise Unsupported("models with several class outputs are not converted; convert each alone")
    made = np.asarray(dense, dtype=np.float64)
    return made.reshape(len(made), -1)
