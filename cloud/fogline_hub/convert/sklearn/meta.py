"""Estimators made of others: pipelines, tables of columns, searches, votes, stacks, calibration."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn import scaling, svm, trees
from fogline_hub.convert.sklearn.decision import (
    Decision,
    Kind,
    binary,
    highest_score,
    most_probable,
)
from fogline_hub.convert.sklearn.tensor import (
    INT64,
    Given,
    Tensor,
    beside,
    joined,
    matrix_of,
)


class Writer(Protocol):
    """Writes the estimators inside of others."""

    def transform(self, model: Any, given: Given) -> Given: ...

    def classify(self, model: Any, given: Given) -> Decision: ...

    def regress(self, model: Any, given: Given) -> Tensor: ...


def pipeline_steps(model: Any, given: Given, writer: Writer) -> Given:
    """All steps of a Pipeline that ends in a transformer."""
    return _through(model.steps, given, writer)


def _through(steps: Any, given: Given, writer: Writer) -> Given:
    made = given
    for _, step in steps:
        if step is not None and step != "passthrough":
            made = writer.transform(step, made)
    return made


def columns(model: Any, given: Given, writer: Writer) -> Given:
    """ColumnTransformer: each step gets its columns, by their places in the training data."""
    parts: list[Given] = []
    places = model._transformer_to_input_indices  # noqa: SLF001
    for name, step, _ in model.transformers_:
        chosen = [int(p) for p in places[name]]
        if step == "drop" or not chosen:
            continue
        taken = given.take(chosen)
        parts.append(taken if step == "passthrough" else writer.transform(step, taken))
    return beside(parts)


def union(model: Any, given: Given, writer: Writer) -> Given:
    """FeatureUnion, with its weights."""
    weights = model.transformer_weights or {}
    parts: list[Given] = []
    for name, step in model.transformer_list:
        if step == "drop":
            continue
        made = given if step == "passthrough" else writer.transform(step, given)
        parts.append(matrix_of(made) * float(weights[name]) if name in weights else made)
    return beside(parts)


def _last(model: Any, given: Given, writer: Writer) -> tuple[Any, Given]:
    return model.steps[-1][1], _through(model.steps[:-1], given, writer)


def pipeline_classifier(model: Any, given: Given, writer: Writer) -> Decision:
    return writer.classify(*_last(model, given, writer))


def pipeline_regressor(model: Any, given: Given, writer: Writer) -> Tensor:
    return writer.regress(*_last(model, given, writer))


def _inner(model: Any) -> Any:
    """What a search, a frozen or a self-training estimator answers with."""
    for name in ("best_estimator_", "estimator_", "estimator"):
        if hasattr(model, name):
            return getattr(model, name)
    raise Unsupported(f"{type(model).__name__} holds no fitted estimator")


def inner_steps(model: Any, given: Given, writer: Writer) -> Given:
    return writer.transform(_inner(model), given)


def inner_classifier(model: Any, given: Given, writer: Writer) -> Decision:
    return writer.classify(_inner(model), given)


def inner_regressor(model: Any, given: Given, writer: Writer) -> Tensor:
    return writer.regress(_inner(model), given)


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
    total = _total(votes)
    return Decision(kind=Kind.NOTHING, numbers=total, codes=total.argmax())


def average(model: Any, given: Given, writer: Writer) -> Tensor:
    """VotingRegressor."""
    said = [writer.regress(e, given).double() for e in model.estimators_]
    return _mean(said, model._weights_not_none or [1.0] * len(said))  # noqa: SLF001


def _total(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _mean(parts: list[Tensor], weights: Any) -> Tensor:
    weighed = [p if w == 1 else p * float(w) for p, w in zip(parts, weights, strict=True)]
    return _total(weighed) / float(np.sum(weights))


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
        return _score_of(said, estimator)
    return said.codes.rows_of(np.asarray(estimator.classes_, dtype=np.float64)).matrix()


def _score_of(said: Decision, estimator: Any) -> Tensor:
    if said.score is None:
        raise Unsupported(f"the decision function of {type(estimator).__name__} is not converted")
    return said.score.double()


def stack_classifier(model: Any, given: Given, writer: Writer) -> Decision:
    return writer.classify(model.final_estimator_, stacked(model, given, writer))


def stack_regressor(model: Any, given: Given, writer: Writer) -> Tensor:
    return writer.regress(model.final_estimator_, stacked(model, given, writer))


def calibrated(model: Any, given: Given, writer: Writer) -> Decision:
    """CalibratedClassifierCV: the mean over its folds."""
    parts = [_one_calibrated(c, given, writer) for c in model.calibrated_classifiers_]
    return most_probable(_total(parts) / float(len(parts)))


def _one_calibrated(model: Any, given: Given, writer: Writer) -> Tensor:
    estimator = model.estimator
    said = writer.classify(estimator, given)
    has_score = hasattr(estimator, "decision_function")
    values = _score_of(said, estimator) if has_score else said.numbers.double()
    if model.method == "temperature":
        if not has_score:
            values = (values + float(np.finfo(np.float64).eps)).log()
        elif values.width == 1:
            values = joined([-values, values])
        return (values * float(model.calibrators[0].beta_)).softmax()
    classes = len(model.classes)
    if classes == 2:
        value = values if values.width == 1 else values.column(1)
        return binary(_calibrate(model.calibrators[0], value))
    places = np.searchsorted(model.classes, estimator.classes_).tolist()
    shares = [values.zeros() for _ in range(classes)]
    for number, (place, calibrator) in enumerate(zip(places, model.calibrators, strict=True)):
        shares[place] = _calibrate(calibrator, values.column(number))
    made = joined(shares)
    total = made.sum()
    is_zero = total == 0.0
    flat = made * 0.0 + 1.0 / classes
    return is_zero.choose(flat, made / is_zero.choose(total + 1.0, total))


def _calibrate(calibrator: Any, value: Tensor) -> Tensor:
    if type(calibrator).__name__ == "_SigmoidCalibration":
        return (-(value * float(calibrator.a_) + float(calibrator.b_))).sigmoid()
    return isotonic(calibrator, value)


def isotonic(model: Any, given: Given, _: Writer | None = None) -> Tensor:
    """IsotonicRegression of one column: straight lines between its knots, flat outside of them."""
    x = matrix_of(given)
    knots = np.asarray(model.X_thresholds_, dtype=np.float64)
    heights = np.asarray(model.y_thresholds_, dtype=np.float64)
    if model.out_of_bounds != "clip":
        raise Unsupported("IsotonicRegression is converted with out_of_bounds='clip'")
    if len(knots) == 1:
        return x * 0.0 + float(heights[0])
    value = x.clip(float(knots[0]), float(knots[-1]))
    below = (value > knots[None, :]).cast(INT64).sum(keep=False)
    low = (below - 1).clip(0, len(knots) - 2)
    slopes = np.diff(heights) / np.diff(knots)
    picked = low.rows_of(np.column_stack([knots[:-1], heights[:-1], slopes]))
    return picked.column(2) * (value - picked.column(0)) + picked.column(1)


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
    return most_probable(_total(parts) / float(len(parts)))


def _class_numbers(said: Decision, estimator: Any) -> Tensor:
    """The predicted class of an inner estimator, whose classes are numbers: int64 [rows, 1]."""
    return said.codes.rows_of(np.asarray(estimator.classes_), INT64).matrix()


def bagged_regressor(model: Any, given: Given, writer: Writer) -> Tensor:
    x = matrix_of(given)
    if all(hasattr(e, "tree_") for e in model.estimators_):
        return trees.written(model, x)
    pairs = zip(model.estimators_, model.estimators_features_, strict=True)
    said = [writer.regress(e, x.take(chosen)).double() for e, chosen in pairs]
    return _total(said) / float(len(said))


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
    return trees.by_votes(_total(parts) / float(model.estimator_weights_.sum()))


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


def one_against_rest(model: Any, given: Given, writer: Writer) -> Decision:
    """OneVsRestClassifier of one label a row."""
    if model.multilabel_:
        raise Unsupported("OneVsRestClassifier with several labels a row is not converted")
    said = [_positive(e, given, writer) for e in model.estimators_]
    followed = [score if score is not None else share for share, score in said]
    if len(said) == 1:
        share, score = said[0]
        if share is None:
            return highest_score(_given(score))
        codes = ((score > 0.0) if score is not None else (share > 0.5)).cast(INT64).vector()
        return Decision(kind=Kind.PROBABILITIES, numbers=binary(share), codes=codes, score=score)
    codes = joined([_given(f) for f in followed]).argmax()
    scores = None if any(s is None for _, s in said) else joined([_given(s) for _, s in said])
    if any(share is None for share, _ in said):
        return Decision(kind=Kind.SCORE, numbers=_given(scores), codes=codes, score=scores)
    shares = joined([_given(s) for s, _ in said])
    total = shares.sum()
    divisor = (total == 0.0).choose(total + 1.0, total)
    return Decision(kind=Kind.PROBABILITIES, numbers=shares / divisor, codes=codes, score=scores)


def _given(value: Tensor | None) -> Tensor:
    if value is None:
        raise Unsupported("its estimators give neither probabilities nor decision functions")
    return value


def _positive(estimator: Any, given: Given, writer: Writer) -> tuple[Tensor | None, Tensor | None]:
    """Probability and score of the second class, where there are such."""
    if type(estimator).__name__ == "_ConstantPredictor":
        constant = matrix_of(given).zeros() + float(np.ravel(estimator.y_)[0])
        return constant, constant
    said = writer.classify(estimator, given)
    share = said.numbers.double().column(1) if said.kind is Kind.PROBABILITIES else None
    has_score = hasattr(estimator, "decision_function")
    return share, _score_of(said, estimator) if has_score else None


def thresholded(model: Any, given: Given, writer: Writer) -> Decision:
    """FixedThresholdClassifier and TunedThresholdClassifierCV."""
    said = writer.classify(model.estimator_, given)
    if getattr(model, "pos_label", None) is not None or len(model.classes_) != 2:
        raise Unsupported(f"{type(model).__name__} with pos_label is not converted")
    is_share = said.kind is Kind.PROBABILITIES and model.response_method != "decision_function"
    fixed = getattr(model, "threshold", None)
    limit: Any = getattr(model, "best_threshold_", fixed)
    if limit == "auto":
        limit = 0.5 if is_share else 0.0
    value = said.numbers.double().column(1) if is_share else _score_of(said, model)
    codes = (value >= float(limit)).cast(INT64).vector()
    return Decision(kind=said.kind, numbers=said.numbers, codes=codes, score=said.score)


def one_against_one(model: Any, given: Given, writer: Writer) -> Decision:
    """OneVsOneClassifier: votes of all pairs, ties broken by their confidence."""
    x = matrix_of(given)
    chosen = model.pairwise_indices_ or [None] * len(model.estimators_)
    wins, sure = [], []
    for estimator, places in zip(model.estimators_, chosen, strict=True):
        taken = x if places is None else x.take(places)
        share, score = _positive(estimator, taken, writer)
        said = score if score is not None else _given(share)
        limit = 0.0 if score is not None else 0.5
        wins.append((said > limit).double())
        sure.append(said)
    score = svm.by_pairs(joined(wins), joined(sure), len(model.classes_))
    if len(model.classes_) == 2:
        return highest_score(score.column(1))
    return highest_score(score)


def refined_classifier(model: Any, given: Given, writer: Writer) -> Decision:
    """RFE and RFECV as models: their estimator on the columns that they kept."""
    return writer.classify(model.estimator_, given.take(model.get_support(indices=True).tolist()))


def refined_regressor(model: Any, given: Given, writer: Writer) -> Tensor:
    return writer.regress(model.estimator_, given.take(model.get_support(indices=True).tolist()))


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


_Steps = Callable[[Any, Given, Writer], Given]
_Classifier = Callable[[Any, Given, Writer], Decision]
_Regressor = Callable[[Any, Given, Writer], Tensor]
_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")

TRANSFORMERS: dict[str, _Steps] = {
    "Pipeline": pipeline_steps,
    "ColumnTransformer": columns,
    "FeatureUnion": union,
    "FrozenEstimator": inner_steps,
    "StackingClassifier": stacked,
    "StackingRegressor": stacked,
    "IsotonicRegression": isotonic,
    **dict.fromkeys(_SEARCHES, inner_steps),
}
CLASSIFIERS: dict[str, _Classifier] = {
    "Pipeline": pipeline_classifier,
    "FrozenEstimator": inner_classifier,
    "SelfTrainingClassifier": inner_classifier,
    **dict.fromkeys(_SEARCHES, inner_classifier),
    "VotingClassifier": vote,
    "StackingClassifier": stack_classifier,
    "CalibratedClassifierCV": calibrated,
    "BaggingClassifier": bagged,
    "AdaBoostClassifier": adaptive,
    "OneVsRestClassifier": one_against_rest,
    "FixedThresholdClassifier": thresholded,
    "TunedThresholdClassifierCV": thresholded,
    "OneVsOneClassifier": one_against_one,
    "RFE": refined_classifier,
    "RFECV": refined_classifier,
    "DummyClassifier": constant_classifier,
}
REGRESSORS: dict[str, _Regressor] = {
    "Pipeline": pipeline_regressor,
    "FrozenEstimator": inner_regressor,
    "RANSACRegressor": inner_regressor,
    **dict.fromkeys(_SEARCHES, inner_regressor),
    "VotingRegressor": average,
    "StackingRegressor": stack_regressor,
    "BaggingRegressor": bagged_regressor,
    "AdaBoostRegressor": adaptive_regressor,
    "MultiOutputRegressor": several,
    "RegressorChain": chained,
    "TransformedTargetRegressor": retargeted,
    "IsotonicRegression": isotonic,
    "RFE": refined_regressor,
    "RFECV": refined_regressor,
    "DummyRegressor": constant_regressor,
}
