"""What is done to targets: several of them, transformed ones, and none that is learnt."""

from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn import scaling
from fogline_hub.convert.sklearn.decision import Decision, Kind
from fogline_hub.convert.sklearn.tensor import Given, Tensor, joined, matrix_of
from fogline_hub.convert.sklearn.writer import Classifier, Regressor, Steps, Writer


def several(model: Any, given: Given, writer: Writer) -> Tensor:
    """MultiOutputRegressor."""
    return joined([writer.regress(e, given).double() for e in model.estimators_])


def chained(model: Any, given: Given, writer: Writer) -> Tensor:
    """RegressorChain: each gets what those before it said."""
    x = matrix_of(given)
    said: list[Tensor] = []
    for estimator in model.estimators_:
        said.append(writer.regress(estimator, joined([x, *said])).double())
    return joined(said).take(np.argsort(model.order_))


def retargeted(model: Any, given: Given, writer: Writer) -> Tensor:
    """TransformedTargetRegressor: the inverse of what was done to the target."""
    raw = writer.regress(model.regressor_, given).double()
    return scaling.inverse(model.transformer_, raw)


def constant_classifier(model: Any, given: Given, _: Writer) -> Decision:
    """DummyClassifier without chance."""
    if model.strategy not in ("prior", "most_frequent", "constant"):
        raise Unsupported(f"DummyClassifier(strategy={model.strategy!r}) answers by chance")
    one = np.zeros((1, 1))
    numbers = matrix_of(given).zeros(len(model.classes_)) + model.predict_proba(one)
    place = int(np.searchsorted(model.classes_, model.predict(one)[0]))
    return Decision(
        kind=Kind.PROBABILITIES,
        numbers=numbers,
        codes=(numbers.argmax() * 0) + place,
    )


def constant_regressor(model: Any, given: Given, _: Writer) -> Tensor:
    """DummyRegressor."""
    value = np.reshape(model.constant_, (1, -1))
    return matrix_of(given).zeros(value.shape[1]) + value


TRANSFORMERS: dict[str, Steps] = {}
CLASSIFIERS: dict[str, Classifier] = {"DummyClassifier": constant_classifier}
REGRESSORS: dict[str, Regressor] = {
    "MultiOutputRegressor": several,
    "RegressorChain": chained,
    "TransformedTargetRegressor": retargeted,
    "DummyRegressor": constant_regressor,
}
