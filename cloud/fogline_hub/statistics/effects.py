"""How large a change is, with an interval: effect sizes, never verdicts by themselves."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.special import kolmogi
from scipy.stats import norm

from fogline_hub.statistics.shares import CellSample, Floats, pooled_shares, share_covariance


@dataclass(frozen=True, slots=True)
class Effect:
    """An estimate with its interval, and what it measures."""

    measure: str
    value: float
    low: float
    high: float


def kolmogorov_distance(reference: CellSample, current: CellSample, error: float) -> Effect:
    """The largest difference of the two distribution functions over the cells' boundaries.

    The share of rows that had to move. The lower end takes off Kolmogorov's simultaneous band, so
    it is above zero only where a difference is certain. The upper end is that of an equivalence
    test: "every difference is below d" is the union of one-sided tests at each boundary, none of
    which needs correcting (R. L. Berger, "Multiparameter hypothesis testing and acceptance
    sampling", Technometrics 24, 1982).

    Args:
        reference: Reference rows.
        current: Current rows in the same ordered cells.
        error: Probability that the interval misses, at each end.

    >>> a, b = CellSample.of_counts([100, 100, 100, 100]), CellSample.of_counts([60, 60, 40, 40])
    >>> found = kolmogorov_distance(a, b, 0.05)
    >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
    (0.1, 0.0, 0.1703)
    """
    m, n = reference.effective_rows, current.effective_rows
    if min(m, n) <= 0:
        return Effect("ks", 0.0, 0.0, 1.0)
    first = np.cumsum(reference.shares)[:-1]
    second = np.cumsum(current.shares)[:-1]
    if len(first) == 0:
        return Effect("ks", 0.0, 0.0, 0.0)
    distance = np.abs(second - first)
    value = float(distance.max())
    band = float(kolmogi(min(1.0, 2 * error))) * sqrt(1 / m + 1 / n)
    spread = np.sqrt(_binomial_variance(first, m) + _binomial_variance(second, n))
    high = float((distance + norm.isf(error) * spread).max())
    return Effect("ks", value, max(0.0, value - band), min(1.0, high))


def total_variation(reference: CellSample, current: CellSample, error: float) -> Effect:
    """Half the sum of absolute differences of shares: the share of rows that had to move.

    The estimate is too large by chance, at most by the mean absolute noise, which the lower end
    takes off; the upper end needs no correction for it.

    >>> a, b = CellSample.of_counts([300, 100]), CellSample.of_counts([100, 100])
    >>> found = total_variation(a, b, 0.05)
    >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
    (0.25, 0.1487, 0.3182)
    """
    m, n = reference.effective_rows, current.effective_rows
    if min(m, n) <= 0:
        return Effect("tv", 0.0, 0.0, 1.0)
    difference = current.shares - reference.shares
    value = 0.5 * float(np.abs(difference).sum())
    covariance = share_covariance(_smoothed(reference) / m, _smoothed(reference))
    covariance = covariance + share_covariance(_smoothed(current) / n, _smoothed(current))
    signs = np.where(difference >= 0, 1.0, -1.0)
    spread = 0.5 * sqrt(max(0.0, float(signs @ covariance @ signs)))
    noise = 0.5 * sqrt(2 / np.pi) * float(np.sqrt(np.maximum(np.diag(covariance), 0)).sum())
    z = float(norm.isf(error))
    low = max(0.0, value - noise - z * spread)
    return Effect("tv", value, low, min(1.0, value + z * spread))


def population_stability(
    reference: CellSample, current: CellSample, error: float, draws: int = 400, seed: int = 0
) -> Effect:
    """PSI, sum of (q - p) log(q / p) over cells, each count plus one half.

    Two samples of one distribution have a PSI of about (k - 1) (1/m + 1/n); that bias is taken off
    value and interval, whose ends are percentiles of a parametric bootstrap (B. Efron and R. J.
    Tibshirani, An Introduction to the Bootstrap, 1993).

    >>> a, b = CellSample.of_counts([500, 500]), CellSample.of_counts([300, 700])
    >>> found = population_stability(a, b, 0.05)
    >>> round(found.value, 4), found.low < found.value < found.high
    (0.1671, True)
    """
    m, n = reference.effective_rows, current.effective_rows
    k = len(reference.sums)
    if min(m, n) <= 0 or k < 2:
        return Effect("psi", 0.0, 0.0, float("inf"))
    bias = (k - 1) * (1 / m + 1 / n)
    value = float(_psi(reference.shares * m, current.shares * n))
    rng = np.random.default_rng(seed)
    p = rng.multinomial(max(1, round(m)), reference.shares, size=draws).astype(np.float64)
    q = rng.multinomial(max(1, round(n)), current.shares, size=draws).astype(np.float64)
    low, high = np.quantile(_psi(p, q) - value, [error, 1 - error])
    # The bootstrap adds the bias once more, which `value` holds already.
    centre = value - bias
    return Effect(
        "psi",
        max(0.0, centre),
        max(0.0, centre + float(low) - bias),
        max(0.0, centre + float(high) - bias),
    )


def wasserstein(
    reference: CellSample, current: CellSample, boundaries: Floats, scale: float, error: float
) -> Effect:
    """Area between the two distribution functions in units of `scale`: how far rows had to move.

    Distributions are taken as linear within each cell. A shift by d moves it by d / scale. The ends
    of the interval come from moving both distribution functions apart, and together, by `error`'s
    pointwise band.

    Args:
        reference: Reference rows.
        current: Current rows in the same k ordered cells.
        boundaries: float64 [k + 1], the cells' outer and inner boundaries.
        scale: The unit, for example the reference's standard deviation.
        error: Probability that the interval misses, at each end.

    >>> a, b = CellSample.of_counts([50, 50, 0]), CellSample.of_counts([0, 50, 50])
    >>> round(wasserstein(a, b, np.array([0.0, 1.0, 2.0, 3.0]), 1.0, 0.05).value, 4)
    1.0
    """
    m, n = reference.effective_rows, current.effective_rows
    if min(m, n) <= 0 or scale <= 0 or not np.isfinite(boundaries).all():
        return Effect("wasserstein", 0.0, 0.0, float("inf"))
    first = np.concatenate([[0.0], np.cumsum(reference.shares)])
    second = np.concatenate([[0.0], np.cumsum(current.shares)])
    widths = np.diff(boundaries) / scale
    distance = np.abs(second - first)
    spread = norm.isf(error) * np.sqrt(_binomial_variance(first, m) + _binomial_variance(second, n))
    return Effect(
        "wasserstein",
        _area(distance, widths),
        _area(np.maximum(0.0, distance - spread), widths),
        _area(distance + spread, widths),
    )


def _area(heights: Floats, widths: Floats) -> float:
    return float(((heights[:-1] + heights[1:]) / 2 * widths).sum())


def _psi(reference: Floats, current: Floats) -> Floats:
    p, q = reference + 0.5, current + 0.5
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    found: Floats = ((q - p) * np.log(q / p)).sum(-1)
    return found


def _binomial_variance(share: Floats, rows: float) -> Floats:
    """Variance of an estimated share; never zero, by half a row on either side."""
    smoothed = (share * rows + 0.5) / (rows + 1)
    found: Floats = smoothed * (1 - smoothed) / rows
    return found


def _smoothed(sample: CellSample) -> Floats:
    k, rows = len(sample.sums), sample.effective_rows
    found: Floats = (sample.shares * rows + 0.5) / (rows + 0.5 * k)
    return found


def coarse(
    reference: CellSample, current: CellSample, cells: int = 10
) -> tuple[CellSample, CellSample]:
    """Both sides in at most `cells` runs of neighbouring cells of about equal pooled share."""
    pooled = pooled_shares(reference, current)
    middles = np.cumsum(pooled) - pooled / 2
    raw = np.minimum((middles * cells).astype(np.int64), cells - 1)
    groups = np.unique(raw, return_inverse=True)[1].astype(np.int64)
    k = int(groups.max()) + 1 if len(groups) else 0
    return reference.grouped(groups, k), current.grouped(groups, k)
