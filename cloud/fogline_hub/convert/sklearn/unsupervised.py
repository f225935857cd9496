"""Outlier detectors and clusters: a label for each row, and the score that it follows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import digamma
from sklearn.mixture._gaussian_mixture import _compute_log_det_cholesky

from fogline_hub.convert.sklearn import svm
from fogline_hub.convert.sklearn.decision import Decision, Kind, highest_score
from fogline_hub.convert.sklearn.kernels import squared_distances
from fogline_hub.convert.sklearn.neighbors import outlier_factor
from fogline_hub.convert.sklearn.tensor import INT64, Tensor, joined
from fogline_hub.convert.sklearn.trees import isolation

OUTLIER_CLASSES = np.array([-1, 1])
"""What `predict` says of outliers and inliers."""


def elliptic(model: Any, x: Tensor) -> Tensor:
    """EllipticEnvelope: the negative squared Mahalanobis distance, less the offset."""
    away = x - np.reshape(model.location_, (1, -1))
    return -((away @ model.precision_) * away).sum() - float(model.offset_)


def one_class(model: Any, x: Tensor) -> Tensor:
    return svm.regression(model, x)


def linear_one_class(model: Any, x: Tensor) -> Tensor:
    """SGDOneClassSVM."""
    return x @ np.reshape(model.coef_, (-1, 1)) - float(np.ravel(model.offset_)[0])


def _detected(
    score: Callable[[Any, Tensor], Tensor], *, zero_is_inlier: bool
) -> Callable[[Any, Tensor], Decision]:
    def write(model: Any, x: Tensor) -> Decision:
        made = score(model, x)
        inlier = made >= 0.0 if zero_is_inlier else made > 0.0
        codes = inlier.cast(INT64).vector()
        return Decision(kind=Kind.SCORE, numbers=made, codes=codes, score=made)

    return write


DETECTORS = {
    "IsolationForest": _detected(isolation, zero_is_inlier=True),
    "LocalOutlierFactor": _detected(outlier_factor, zero_is_inlier=True),
    "EllipticEnvelope": _detected(elliptic, zero_is_inlier=True),
    "OneClassSVM": _detected(one_class, zero_is_inlier=False),
    "SGDOneClassSVM": _detected(linear_one_class, zero_is_inlier=True),
}


def nearest_centre(model: Any, x: Tensor) -> Decision:
    """KMeans and its kin: the score is the negative distance to each centre."""
    return highest_score(-squared_distances(x, model.cluster_centers_).sqrt())


def mixture(model: Any, x: Tensor) -> Decision:
    """GaussianMixture and BayesianGaussianMixture with full, tied, diagonal or round covariance."""
    kind, width = model.covariance_type, x.width
    parts = []
    for number, mean in enumerate(model.means_):
        root = model.precisions_cholesky_ if kind == "tied" else model.precisions_cholesky_[number]
        away = x - mean[None, :]
        turned = away @ root if kind in ("full", "tied") else away * np.reshape(root, (1, -1))
        parts.append((turned * turned).sum())
    determinant = _compute_log_det_cholesky(model.precisions_cholesky_, kind, width)
    log = -0.5 * (width * np.log(2 * np.pi) + joined(parts)) + np.reshape(determinant, (1, -1))
    joint = log + np.reshape(model._estimate_log_weights(), (1, -1))  # noqa: SLF001
    if type(model).__name__ != "GaussianMixture":
        degrees = model.degrees_of_freedom_
        shift = _bayesian_shift(degrees, model.mean_precision_, width)
        joint = joint + shift[None, :]
    shares = joint.softmax()
    return Decision(kind=Kind.PROBABILITIES, numbers=shares, codes=joint.argmax())


def _bayesian_shift(degrees: Any, precision: Any, width: int) -> Any:
    """What `BayesianGaussianMixture._estimate_log_prob` adds to the Gaussian's."""
    steps = np.arange(width)[:, None]
    log_lambda = width * np.log(2.0) + np.sum(digamma(0.5 * (degrees - steps)), 0)
    return -0.5 * width * np.log(degrees) + 0.5 * (log_lambda - width / precision)


CLUSTERS = {
    "KMeans": nearest_centre,
    "MiniBatchKMeans": nearest_centre,
    "MeanShift": nearest_centre,
    "GaussianMixture": mixture,
    "BayesianGaussianMixture": mixture,
}
"""Without BisectingKMeans, which walks a tree of splits and may end at another centre."""
