"""Error control over many hypotheses: the family-wise rate, with Holm's step-down names."""

import numpy as np
from numpy.typing import ArrayLike

from fogline_hub.statistics.shares import Floats


def holm(p_values: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Adjusted p-values of the weighted Holm procedure; reject where <= alpha.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
    It is the closed test whose local tests are weighted Bonferroni tests, so something is rejected
    exactly when the global (smallest weighted p) test rejects: a detection always has a name.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    >>> holm([0.01, 0.04], [3, 1]).round(4).tolist()
    [0.0133, 0.04]
    """
    p = np.asarray(p_values, dtype=np.float64)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(p / w, kind="stable")
    left = np.cumsum(w[order][::-1])[::-1]
    stepped = np.maximum.accumulate(np.minimum(1.0, p[order] * left / w[order]))
    adjusted = np.empty(len(p))
    adjusted[order] = stepped
    return adjusted


def smallest_weighted(p_values: ArrayLike, weights: ArrayLike) -> float:
    """One p-value of several tests of one hypothesis: min p_i / w_i, the weights summing to 1.

    >>> smallest_weighted([0.01, 0.5], [0.75, 0.25])
    0.013333333333333334
    """
    p, w = np.asarray(p_values, np.float64), np.asarray(weights, np.float64)
    return float(min(1.0, (p * w.sum() / w).min())) if len(p) else 1.0


def step_down_max(observed: Floats, null: Floats) -> Floats:
    """Adjusted p-values of hypotheses [k] by the step-down maximum over joint null draws [b, k].

    P. H. Westfall and S. S. Young, Resampling-Based Multiple Testing, 1993; J. P. Romano and
    M. Wolf, "Exact and approximate stepdown methods for multiple hypothesis testing", JASA 100,
    2005. The observation counts as one of the draws, so p is never 0.

    >>> step_down_max(np.array([3.0, 1.0]), np.array([[0.5, 2.0], [1.5, 0.5], [0.0, 0.0]])).tolist()
    [0.25, 0.5]
    """
    order = np.argsort(-observed, kind="stable")
    largest = np.maximum.accumulate(null[:, order][:, ::-1], axis=1)[:, ::-1]
    exceed = (largest >= observed[order] - 1e-12).sum(axis=0)
    adjusted = np.empty(len(observed))
    adjusted[order] = np.maximum.accumulate((1 + exceed) / (1 + len(null)))
    return adjusted
