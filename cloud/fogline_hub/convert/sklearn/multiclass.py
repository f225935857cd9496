"""Several classes by classifiers of two: one against the rest, one against one."""

from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn import svm
from fogline_hub.convert.sklearn.decision import Decision, Kind, binary, highest_score, score_of
from fogline_hub.convert.sklearn.tensor import INT64, Given, Tensor, joined, matrix_of
from fogline_hub.convert.sklearn.writer import Classifier, Regressor, Steps, Writer


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
    return share, score_of(said, estimator) if has_score else None


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


TRANSFORMERS: dict[str, Steps] = {}
CLASSIFIERS: dict[str, Classifier] = {
    "OneVsRestClassifier": one_against_rest,
    "OneVsOneClassifier": one_against_one,
}
REGRESSORS: dict[str, Regressor] = {}
