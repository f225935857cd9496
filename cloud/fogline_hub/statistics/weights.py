"""Estimates from samples drawn with unequal, known probabilities."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


def effective_size(weights: ArrayLike) -> float:
    """Kish's effective sample size, (sum w)^2 / sum w^2 (L. Kish, Survey Sampling, 1965).

    >>> effective_size([1, 1, 1, 1]), round(effective_size([1, 1, 4]), 3)
    (4.0, 2.0)
    """
    w = np.asarray(weights, dtype=np.float64)
    return float(w.sum() ** 2 / (w**2).sum()) if w.any() else 0.0


class HajekEstimate(NamedTuple):
    """A weighted mean, its standard error, and the size that an unweighted sample would need."""

    mean: float
    standard_error: float
    effective_rows: float


def hajek(values: ArrayLike, weights: ArrayLike) -> HajekEstimate:
    """The weighted mean sum(w x) / sum(w) with its linearised (sandwich) standard error.

    J. Hajek, comment in Foundations of Statistical Inference, 1971; the variance by linearisation
    for sampling with replacement (C.-E. Sarndal et al., Model Assisted Survey Sampling, 1992). The
    effective rows are those at which x (1 - x) / n has this variance, so that a Wilson interval on
    them is the design's; for x that is not 0 or 1 they are Kish's.

    >>> found = hajek([1, 0, 1, 1], [1, 1, 1, 1])
    >>> found.mean, round(found.standard_error, 4), round(found.effective_rows, 4)
    (0.75, 0.25, 3.0)
    """
    x, w = np.asarray(values, np.float64), np.asarray(weights, np.float64)
    n, total = len(x), float(w.sum())
    if n < 2 or total <= 0:
        return HajekEstimate(float("nan"), float("inf"), 0.0)
    mean = float((w * x).sum() / total)
    variance = float(n / (n - 1) * ((w * (x - mean)) ** 2).sum() / total**2)
    kish = effective_size(w)
    binary = bool(np.isin(x, (0.0, 1.0)).all())
    rows = mean * (1 - mean) / variance if binary and variance > 0 else kish
    return HajekEstimate(mean, float(np.sqrt(variance)), float(rows))
