"""Which function writes which class, and the way through pipelines and tables of columns.

An estimator is written by the name of its class, which has to be scikit-learn's own: what another
package derives from it may answer otherwise.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn import (
    bayes,
    calibration,
    composition,
    encoding,
    features,
    gaussian_process,
    imputing,
    linear,
    multiclass,
    neighbors,
    neural,
    scaling,
    svm,
    targets,
    text,
    trees,
    unsupervised,
    votes,
)
from fogline_hub.convert.sklearn.decision import Decision
from fogline_hub.convert.sklearn.tensor import (
    FLOAT,
    STRING,
    Given,
    Table,
    Tensor,
    beside,
    matrix_of,
    table_of,
)
from fogline_hub.convert.sklearn.writer import Classifier, Regressor, Steps

_MADE_OF_OTHERS = (composition, votes, calibration, multiclass, targets)
OUTER_TRANSFORMERS: dict[str, Steps] = {
    name: write for family in _MADE_OF_OTHERS for name, write in family.TRANSFORMERS.items()
}
OUTER_CLASSIFIERS: dict[str, Classifier] = {
    name: write for family in _MADE_OF_OTHERS for name, write in family.CLASSIFIERS.items()
}
OUTER_REGRESSORS: dict[str, Regressor] = {
    name: write for family in _MADE_OF_OTHERS for name, write in family.REGRESSORS.items()
}
_FAMILIES = (scaling, features, text)
TRANSFORMERS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    name: write for family in _FAMILIES for name, write in family.TRANSFORMERS.items()
}
COLUMN_TRANSFORMERS: dict[str, Callable[[Any, Table], Given]] = {
    **encoding.COLUMN_TRANSFORMERS,
    **imputing.COLUMN_TRANSFORMERS,
}
CLASSIFIERS: dict[str, Callable[[Any, Tensor], Decision]] = {
    **linear.CLASSIFIERS,
    **svm.CLASSIFIERS,
    **bayes.CLASSIFIERS,
    **neural.CLASSIFIERS,
    **neighbors.CLASSIFIERS,
    **trees.CLASSIFIERS,
    **unsupervised.DETECTORS,
    **unsupervised.CLUSTERS,
}
REGRESSORS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    **linear.REGRESSORS,
    **svm.REGRESSORS,
    **neural.REGRESSORS,
    **neighbors.REGRESSORS,
    **trees.REGRESSORS,
    **gaussian_process.REGRESSORS,
}
IN_FLOAT32 = ("MLPClassifier", "MLPRegressor")
"""Whose weights may be stored and multiplied as float32, where the proof allows it."""


class Walk:
    """Writes an estimator and all inside it; implements `Writer`."""

    def __init__(self, *, float32: bool) -> None:
        """`float32` of the networks in `IN_FLOAT32`."""
        self._float32 = float32

    def transform(self, model: Any, given: Given) -> Given:
        """What `model.transform` gives.

        Raises:
            Unsupported: there is no converter, or an option is not converted.
        """
        name = _name(model)
        if name in OUTER_TRANSFORMERS:
            return OUTER_TRANSFORMERS[name](model, given, self)
        if name in text.TEXT_TRANSFORMERS:
            return text.TEXT_TRANSFORMERS[name](model, _documents(model, given))
        if name == "FunctionTransformer":
            return given if model.func is None else scaling.function(model, matrix_of(given))
        if name in COLUMN_TRANSFORMERS:
            return COLUMN_TRANSFORMERS[name](model, table_of(given))
        if name in TRANSFORMERS:
            return TRANSFORMERS[name](model, matrix_of(given))
        raise _unknown(name, "step")

    def classify(self, model: Any, given: Given) -> Decision:
        """Classes and what they follow from; raises as `transform`."""
        name = _name(model)
        if name in OUTER_CLASSIFIERS:
            return OUTER_CLASSIFIERS[name](model, given, self)
        if name == "HistGradientBoostingClassifier":
            return trees.histogram_boosted(model, self._encoded(model, given))
        if name in CLASSIFIERS:
            return CLASSIFIERS[name](model, self._matrix(name, given))
        raise _unknown(name, "classifier")

    def regress(self, model: Any, given: Given) -> Tensor:
        """What `model.predict` gives, [rows, outputs]; raises as `transform`."""
        name = _name(model)
        if name in OUTER_REGRESSORS:
            return OUTER_REGRESSORS[name](model, given, self)
        if name == "HistGradientBoostingRegressor":
            return trees.histogram_regressed(model, self._encoded(model, given))
        if name in REGRESSORS:
            return REGRESSORS[name](model, self._matrix(name, given))
        raise _unknown(name, "regressor")

    def _matrix(self, name: str, given: Given) -> Tensor:
        made = matrix_of(given)
        return made.cast(FLOAT) if self._float32 and name in IN_FLOAT32 else made

    def _encoded(self, model: Any, given: Given) -> Tensor:
        """Columns as histogram boosting's own preprocessor leaves them: the encoded ones first."""
        encoder = model._preprocessor  # noqa: SLF001
        if encoder is None:
            return matrix_of(given)
        is_encoded = np.asarray(model.is_categorical_, dtype=np.bool_)
        table = table_of(given)
        categories = table.take(np.flatnonzero(is_encoded).tolist())
        coded = self.transform(encoder.named_transformers_["encoder"], categories)
        numbers = table.take(np.flatnonzero(~is_encoded).tolist())
        return matrix_of(beside([coded, numbers])) if numbers.columns else matrix_of(coded)


def _documents(model: Any, given: Given) -> Tensor:
    columns = table_of(given).columns
    if len(columns) != 1 or columns[0].type != STRING:
        raise Unsupported(f"{type(model).__name__} takes one column of text")
    return columns[0]


def _name(model: Any) -> str:
    kind = type(model)
    if kind.__module__.partition(".")[0] != "sklearn":
        raise Unsupported(
            f"{kind.__module__}.{kind.__name__} is not one of scikit-learn's classes, and its code "
            "is not converted; use a class of scikit-learn in its place"
        )
    return kind.__name__


def _unknown(name: str, role: str) -> Unsupported:
    return Unsupported(
        f"{name} is not converted as a {role}; docs/conversion.md lists what is. Export it to ONNX "
        "by other means and convert the .onnx file, or use one of the list"
    )
