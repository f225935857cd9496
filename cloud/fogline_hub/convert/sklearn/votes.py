"""Several estimators asked the same: votes, stacks, bags, boosting of any estimator."""

from typing import Any

import numpy as np

from fogline_hub.convert.sklearn import trees
from fogline_hub.convert.sklearn.decision import Decision, Kind, most_probable, score_of
from fogline_hub.convert.sklearn.tensor import INT64, Given, Tensor, beside, joined, matrix_of
from fogline_hub.convert.sklearn.writer import Classifier, Regressor, Steps, Writer


def vote(model: Any, given: Given, writer: Writer) -> Decision:
    """VotingClassifier, soft or hard."""
    said = [writer.classify(e, given) for e in model.estimators_]
    weights = model._weights_not_none or [1.0] * len(said)  # noqa: SLF001
    if model.voting == "soft":
        return most_probable(_mean([d.numbers.double() for d in said], weights))
    classes = np.arange(len(model.classes_))
    votes = [
        (d.codes.matrix() == classes[None, :]).double() * float(w)
        for d, w in zip(said, weights, strict=True)
    ]
    total = total_of(votes)
    return Decision(kind=Kind.NOTHING, numbers=total, codes=total.argmax())


def average(model: Any, given: Given, writer: Writer) -> Tensor:
    """VotingRegressor."""
    said = [writer.regress(e, given).double() for e in model.estimators_]
    return _mean(said, model._weights_not_none or [1.0] * len(said))  # noqa: SLF001


def total_of(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _mean(parts: list[Tensor], weights: Any) -> Tensor:
    weighed = [p if w == 1 else p * float(w) for p, w in zip(parts, weights, strict=True)]
    return total_of(weighed) / float(np.sum(weights))


def stacked(model: Any, given: Given, writer: Writer) -> Given:
    """What the first layer of a stack says, and the columns themselves where they pass through."""
    parts: list[Given] = []
    for estimator, method in zip(model.estimators_, model.stack_method_, strict=True):
        parts.append(_said(model, estimator, method, given, writer))
    return beside([*parts, given] if model.passthrough else parts)


def _said(model: Any, estimator: Any, method: str, given: Given, writer: Writer) -> Tensor:
    if not hasattr(estimator, "classes_"):
        return writer.regress(estimator, given).double()
    said = writer.classify(estimator, given)
    if method == "predict_proba":
        made = said.numbers.double()
        return made.column(1) if len(model.classes_) == 2 else made
    if method == "decision_function":
        return score_of(said, estimator)
    return said.codes.rows_of(np.asarray(estimator.classes_, dtype=np.float64)).matrix()


def stack_classifier(model: Any, given: Given, writer: Writer) -> Decision:
    return writer.classify(model.final_estimator_, stacked(model, given, writer))


def stack_regressor(model: Any, given: Given, writer: Writer) -> Tensor:
    return writer.regress(model.final_estimator_, stacked(model, given, writer))


def bagged(model: Any, given: Given, writer: Writer) -> Decision:
    """BaggingClassifier: the mean of probabilities, or of votes where there are none."""
    x = matrix_of(given)
    if all(
        hasattr(e, "tree_") and len(e.classes_) == len(model.classes_) for e in model.estimators_
    ):
        return trees.shared(model, x)
    classes = np.arange(len(model.classes_))
    parts = []
    for estimator, chosen in zip(model.estimators_, model.estimators_features_, strict=True):
        said = writer.classify(estimator, x.take(chosen))
        # Inside of the ensemble classes are numbers, of which a member may have seen some only.
        if hasattr(estimator, "predict_proba"):
            known = np.asarray(estimator.classes_, dtype=np.int64)
            share = said.numbers.double()
            if len(known) < len(classes):
                share = share @ np.eye(len(classes))[known]
        else:
            share = (_class_numbers(said, estimator) == classes[None, :]).double()
        parts.append(share)
    return most_probable(total_of(parts) / float(len(parts)))


def _class_numbers(said: Decision, estimator: Any) -> Tensor:
    """The predicted class of an inner estimator, whose classes are numbers: int64 [rows, 1]."""
    return said.codes.rows_of(np.asarray(estimator.classes_), INT64).matrix()


def bagged_regressor(model: Any, given: Given, writer: Writer) -> Tensor:
    x = matrix_of(given)
    if all(hasattr(e, "tree_") for e in model.estimators_):
        return trees.written(model, x)
    pairs = zip(model.estimators_, model.estimators_features_, strict=True)
    said = [writer.regress(e, x.take(chosen)).double() for e, chosen in pairs]
    return total_of(said) / float(len(said))


def adaptive(model: Any, given: Given, writer: Writer) -> Decision:
    """AdaBoostClassifier: Zhu et al. 2009, eq. 15."""
    if all(hasattr(e, "tree_") for e in model.estimators_):
        return trees.adaptive(model, matrix_of(given))
    classes = len(model.classes_)
    weights = model.estimator_weights_[: len(model.estimators_)]
    parts = []
    for estimator, weight in zip(model.estimators_, weights, strict=True):
        said = writer.classify(estimator, given)
        places = np.searchsorted(model.classes_, estimator.classes_)
        table = np.full((len(places), classes), -1.0 / max(1, classes - 1) * weight)
        table[np.arange(len(places)), places] = weight
        parts.append(said.codes.rows_of(table))
    return trees.by_votes(total_of(parts) / float(model.estimator_weights_.sum()))


def adaptive_regressor(model: Any, given: Given, writer: Writer) -> Tensor:
    """AdaBoostRegressor: the weighted median of what its trees say."""
    said = joined([writer.regress(e, given).double() for e in model.estimators_])
    weights = np.asarray(model.estimator_weights_[: len(model.estimators_)], dtype=np.float64)
    count = said.width
    places = f"{said.name}.places"
    top = said.op("TopK", said.constant([count], INT64), axis=1, largest=0, sorted=1)
    said.graph.nodes[-1].output.append(places)
    order = Tensor(said.graph, places, INT64, count)
    heap = order.rows_of(weights)
    running = heap.op("CumSum", order.constant(1, INT64))
    half = float(np.cumsum(weights)[-1]) * 0.5
    chosen = (running >= half).double().argmax().matrix()
    return top.op("GatherElements", chosen, width=1, axis=1)


TRANSFORMERS: dict[str, Steps] = {
    "StackingClassifier": stacked,
    "StackingRegressor": stacked,
}
CLASSIFIERS: dict[str, Classifier] = {
    "VotingClassifier": vote,
    "StackingClassifier": stack_classifier,
    "BaggingClassifier": bagged,
    "AdaBoostClassifier": adaptive,
}
REGRESSORS: dict[str, Regressor] = {
    "VotingRegressor": average,
    "StackingRegressor": stack_regressor,
    "BaggingRegressor": bagged_regressor,
    "AdaBoostRegressor": adaptive_regressor,
}
