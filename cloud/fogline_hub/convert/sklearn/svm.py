"""Support vector machines as libsvm asks them: votes of all pairs of classes."""

from itertools import combinations
from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.decision import Decision, Kind, highest_score
from fogline_hub.convert.sklearn.kernels import kernel
from fogline_hub.convert.sklearn.tensor import Tensor


def regression(model: Any, x: Tensor) -> Tensor:
    """SVR, NuSVR, and the decision function of two classes or of OneClassSVM."""
    weights = model.dual_coef_
    dense = np.asarray(weights.toarray() if hasattr(weights, "toarray") else weights)
    return _kernel(model, x) @ dense.T + np.reshape(model.intercept_, (1, -1))


def _kernel(model: Any, x: Tensor) -> Tensor:
    options = {"gamma": model._gamma, "coef0": model.coef0, "degree": model.degree}  # noqa: SLF001
    return kernel(model.kernel, x, model.support_vectors_, options)


def classification(model: Any, x: Tensor) -> Decision:
    """SVC and NuSVC."""
    if model.probability is True:  # later versions have a text where nothing was chosen
        raise Unsupported(
            f"{type(model).__name__}(probability=True) couples its probabilities by an iteration "
            "that is not converted; train with probability=False, or wrap it in a "
            "CalibratedClassifierCV"
        )
    if len(model.classes_) == 2:
        return highest_score(regression(model, x))
    pairs = _pairs(model, x)
    votes, sums = _counted((pairs > 0.0).double(), pairs, len(model.classes_))
    if model.decision_function_shape == "ovo":
        return Decision(kind=Kind.SCORE, numbers=pairs, codes=votes.argmax(), score=pairs)
    score = votes + sums / (3.0 * (sums.abs() + 1.0))
    codes = score.argmax() if model.break_ties else votes.argmax()
    return Decision(kind=Kind.SCORE, numbers=score, codes=codes, score=score)


def _pairs(model: Any, x: Tensor) -> Tensor:
    """[rows, pairs]; above 0 where the first class of the pair wins."""
    ends = np.cumsum(model.n_support_)
    starts = ends - model.n_support_
    dual = model.dual_coef_
    dense = np.asarray(dual.toarray() if hasattr(dual, "toarray") else dual)
    columns = []
    for i, j in combinations(range(len(ends)), 2):
        column = np.zeros(dense.shape[1])
        column[starts[i] : ends[i]] = dense[j - 1, starts[i] : ends[i]]
        column[starts[j] : ends[j]] = dense[i, starts[j] : ends[j]]
        columns.append(column)
    return _kernel(model, x) @ np.column_stack(columns) + np.reshape(model.intercept_, (1, -1))


def by_pairs(second_wins: Tensor, sure: Tensor, classes: int) -> Tensor:
    """scikit-learn's `_ovr_decision_function` of predictions and confidences, [rows, pairs]."""
    votes, sums = _counted(1.0 - second_wins, -sure, classes)
    return votes + sums / (3.0 * (sums.abs() + 1.0))


def _counted(wins: Tensor, pairs: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Votes for each class, and the sum of what its pairs say, [rows, classes] each."""
    order = list(combinations(range(classes), 2))
    first = np.zeros((len(order), classes))
    second = np.zeros((len(order), classes))
    for place, (i, j) in enumerate(order):
        first[place, i] = second[place, j] = 1.0
    votes = wins @ first + (1.0 - wins) @ second
    return votes, pairs @ (first - second)


REGRESSORS = {"SVR": regression, "NuSVR": regression}
CLASSIFIERS = {"SVC": classification, "NuSVC": classification}
