"""Linear models: ordinary, logistic, generalised, with hinge losses; and discriminant analysis."""

from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.decision import Decision, binary, highest_score, most_probable
from fogline_hub.convert.sklearn.tensor import Tensor, joined


def regression(model: Any, x: Tensor) -> Tensor:
    weights = np.atleast_2d(_dense(model.coef_))
    return x @ weights.T + np.reshape(model.intercept_, (1, -1))


def _dense(weights: Any) -> Any:
    return np.asarray(weights.toarray() if hasattr(weights, "toarray") else weights)


def generalised(model: Any, x: Tensor) -> Tensor:
    """Poisson, Gamma and Tweedie regression: the inverse of the link."""
    raw = regression(model, x)
    link = type(model._base_loss.link).__name__  # noqa: SLF001
    match link:
        case "LogLink":
            return raw.exp()
        case "IdentityLink":
            return raw
        case _:
            raise Unsupported(f"{type(model).__name__} with {link} is not converted")


def least_squares_projection(model: Any, x: Tensor) -> Tensor:
    """PLSRegression, PLSCanonical and CCA as models."""
    return (x - model._x_mean[None, :]) @ model.coef_.T + np.reshape(  # noqa: SLF001
        model.intercept_, (1, -1)
    )


def logistic(model: Any, x: Tensor) -> Decision:
    score = regression(model, x)
    if score.width == 1:
        return most_probable(binary(score.sigmoid()), score)
    is_one_by_one = getattr(model, "multi_class", "auto") == "ovr" or (
        getattr(model, "solver", "") == "liblinear"
    )
    return most_probable(one_by_one(score) if is_one_by_one else score.softmax(), score)


def one_by_one(score: Tensor) -> Tensor:
    """A sigmoid for each class, divided by their sum."""
    shares = score.sigmoid()
    return shares / shares.sum()


def scored(model: Any, x: Tensor) -> Decision:
    """LinearSVC, RidgeClassifier, Perceptron: no probabilities."""
    return highest_score(regression(model, x))


def stochastic(model: Any, x: Tensor) -> Decision:
    """SGDClassifier: probabilities for two of its losses."""
    score = regression(model, x)
    if model.loss == "log_loss":
        made = binary(score.sigmoid()) if score.width == 1 else one_by_one(score)
        return most_probable(made, score)
    if model.loss == "modified_huber":
        share = (score.clip(-1.0, 1.0) + 1.0) / 2.0
        if score.width == 1:
            return most_probable(binary(share), score)
        total = share.sum()
        flat = share * 0.0 + 1.0 / score.width
        return Decision(
            kind=most_probable(share).kind,
            numbers=(total == 0.0).choose(flat, share / (total == 0.0).choose(total + 1.0, total)),
            codes=score.argmax(),
            score=score,
        )
    return highest_score(score)


def discriminant(model: Any, x: Tensor) -> Decision:
    """LinearDiscriminantAnalysis."""
    score = regression(model, x)
    made = binary(score.sigmoid()) if score.width == 1 else score.softmax()
    return most_probable(made, score)


def quadratic(model: Any, x: Tensor) -> Decision:
    """QuadraticDiscriminantAnalysis."""
    parts = []
    for mean, rotation, scaling, prior in zip(
        model.means_, model.rotations_, model.scalings_, model.priors_, strict=True
    ):
        turned = (x - mean[None, :]) @ (rotation * (scaling ** (-0.5)))
        parts.append(
            -0.5 * ((turned * turned).sum() + float(np.sum(np.log(scaling)))) + float(np.log(prior))
        )
    score = joined(parts)
    said = score.column(1) - score.column(0) if score.width == 2 else score
    return most_probable(score.softmax(), said)


REGRESSORS = {
    **dict.fromkeys(
        (
            "LinearRegression",
            "Ridge",
            "RidgeCV",
            "Lasso",
            "LassoCV",
            "ElasticNet",
            "ElasticNetCV",
            "Lars",
            "LarsCV",
            "LassoLars",
            "LassoLarsCV",
            "LassoLarsIC",
            "OrthogonalMatchingPursuit",
            "OrthogonalMatchingPursuitCV",
            "MultiTaskLasso",
            "MultiTaskLassoCV",
            "MultiTaskElasticNet",
            "MultiTaskElasticNetCV",
            "BayesianRidge",
            "ARDRegression",
            "HuberRegressor",
            "TheilSenRegressor",
            "QuantileRegressor",
            "SGDRegressor",
            "PassiveAggressiveRegressor",
            "LinearSVR",
        ),
        regression,
    ),
    "PoissonRegressor": generalised,
    "GammaRegressor": generalised,
    "TweedieRegressor": generalised,
    "PLSRegression": least_squares_projection,
    "PLSCanonical": least_squares_projection,
    "CCA": least_squares_projection,
}
CLASSIFIERS = {
    "LogisticRegression": logistic,
    "LogisticRegressionCV": logistic,
    "SGDClassifier": stochastic,
    "LinearSVC": scored,
    "RidgeClassifier": scored,
    "RidgeClassifierCV": scored,
    "Perceptron": scored,
    "PassiveAggressiveClassifier": scored,
    "LinearDiscriminantAnalysis": discriminant,
    "QuadraticDiscriminantAnalysis": quadratic,
}
