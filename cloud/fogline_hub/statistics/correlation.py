"""Whether rank correlations between columns changed, whatever their marginals did.

Each side is ranked by its own ranks, so that a monotone change of a column changes nothing here:
scores fixed by the reference would take a shifted marginal for a broken correlation. Correlations
are compared on Fisher's z scale. Plain 1 / (n - 3) is wrong for dependent, tied or heavy-tailed
columns, so variances and covariances come from the reference's influence functions: the limit of
its bootstrap (B. Efron, "Nonparametric estimates of standard error", Biometrika 68, 1981), at the
cost of one pass. Names are controlled by the maximum over pairs (J. P. Romano and M. Wolf, "Exact
and approximate stepdown methods", JASA 100, 2005).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from fogline_hub.statistics.multiplicity import step_down_max
from fogline_hub.statistics.shares import Floats

CLIP: Final = 0.9999
"""Correlations beyond it count as it: Fisher's z of +-1 is infinite."""
VARIANCE_FLOOR: Final = 0.05
"""Least variance of sqrt(n) z that is believed; for independent Gaussian columns it is 1."""
DRAWS: Final = 4_999


def uniform_ranks(table: Floats) -> Floats:
    """Mid-ranks of each column of [rows, d], scaled to (0, 1) with mean 1/2.

    >>> uniform_ranks(np.array([[3.0], [1.0], [1.0]])).ravel().round(4).tolist()
    [0.8333, 0.3333, 0.3333]
    """
    found: Floats = (rankdata(table, axis=0) - 0.5) / max(1, len(table))
    return found


def rank_correlations(table: Floats, weights: Floats | None = None) -> Floats:
    """Spearman's correlations [d, d] of [rows, d]; NaN where a column is constant."""
    ranks = uniform_ranks(table) if weights is None else _weighted_ranks(table, weights)
    w = np.ones(len(table)) if weights is None else weights
    centred = ranks - np.average(ranks, axis=0, weights=w)
    cross = (centred * w[:, None]).T @ centred
    spread = np.sqrt(np.diag(cross))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = cross / np.outer(spread, spread)
    return found


def _weighted_ranks(table: Floats, weights: Floats) -> Floats:
    ranks = np.empty_like(table)
    for j, column in enumerate(table.T):
        _, places = np.unique(column, return_inverse=True)
        mass = np.bincount(places, weights)
        ranks[:, j] = (np.cumsum(mass) - mass / 2)[places] / weights.sum()
    return ranks


def fisher_z(r: Floats) -> Floats:
    found: Floats = np.arctanh(np.clip(r, -CLIP, CLIP))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class PairModel:
    """What a table says about the correlations of its columns, for P pairs.

    Attributes:
        pairs: int64 [P, 2], columns of each pair.
        r: float64 [P].
        influence: float64 [rows, P] on z; its variance over n is that of z, NaN-free.
    """

    pairs: NDArray[np.int64]
    r: Floats
    influence: Floats


def pair_model(table: Floats, pairs: NDArray[np.int64], weights: Floats | None = None) -> PairModel:
    """Spearman correlations of `pairs` of columns of [rows, d], and each row's influence on z.

    The influence on the correlation of grades adds to the row's own product the effect of its value
    on everybody's ranks (C. Croux and C. Dehon, "Influence functions of the Spearman and Kendall
    correlation measures", Stat. Methods Appl. 19, 2010), found by sorting and summing.
    """
    w = np.full(len(table), 1.0 / len(table)) if weights is None else weights / weights.sum()
    ranks = uniform_ranks(table) if weights is None else _weighted_ranks(table, weights)
    centred = ranks - w @ ranks
    spread = np.maximum(w @ centred**2, 1e-300)
    smoothers = [_Smoother(column) for column in table.T]
    influence = np.empty((len(table), len(pairs)))
    r = np.empty(len(pairs))
    own = np.empty_like(centred)
    for j in range(table.shape[1]):
        own[:, j] = centred[:, j] ** 2 + 2 * smoothers[j].exceeding(w * centred[:, j])
    for p, (a, b) in enumerate(pairs):
        scale = np.sqrt(spread[a] * spread[b])
        r[p] = float(w @ (centred[:, a] * centred[:, b])) / scale
        product = centred[:, a] * centred[:, b]
        product = product + smoothers[a].exceeding(w * centred[:, b])
        product = product + smoothers[b].exceeding(w * centred[:, a])
        psi = product / scale - r[p] * (own[:, a] / spread[a] + own[:, b] / spread[b]) / 2
        influence[:, p] = psi - w @ psi
    influence /= 1 - np.clip(r, -CLIP, CLIP) ** 2
    return PairModel(pairs, r, influence)


class _Smoother:
    """Sums of other rows' terms over those whose value is above one's own, ties half."""

    def __init__(self, column: Floats) -> None:
        _, self._places = np.unique(column, return_inverse=True)

    def exceeding(self, terms: Floats) -> Floats:
        mass = np.bincount(self._places, terms)
        found: Floats = (mass.sum() - np.cumsum(mass) + mass / 2)[self._places]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class CorrelationOutcome:
    """Changes of P correlations.

    Attributes:
        before: float64 [P], the reference's rank correlations.
        after: float64 [P].
        statistic: float64 [P], difference of z over its standard error.
        p_values: float64 [P], of one pair alone.
        adjusted: float64 [P], family-wise over the pairs; the smallest is the global p-value.
    """

    before: Floats
    after: Floats
    statistic: Floats
    p_values: Floats
    adjusted: Floats

    @property
    def p_value(self) -> float:
        return float(self.adjusted.min(initial=1.0))


def compare_correlations(
    before: Floats,
    after: Floats,
    variance: Floats,
    *,
    degrees: float = np.inf,
    null: Floats | None = None,
) -> CorrelationOutcome:
    """Tests the change of P rank correlations, each from its side's own ranks.

    Args:
        before: The reference's, [P].
        after: The window's, [P].
        variance: Variance of the difference of z, [P].
        degrees: Degrees of freedom of `variance`; infinite where it comes from many rows.
        null: Joint draws [draws, P] of the statistic's null distribution, from `bootstrap_null` or
            `gaussian_null`; Sidak's inequality without.
    """
    statistic = np.abs(fisher_z(after) - fisher_z(before)) / np.sqrt(variance)
    p = 2 * (norm.sf(statistic) if np.isinf(degrees) else student.sf(statistic, degrees))
    adjusted = _sidak(p) if null is None else step_down_max(statistic, null)
    if null is not None:
        p = (1 + (null >= statistic - 1e-12).sum(axis=0)) / (1 + len(null))
    return CorrelationOutcome(before, after, statistic, p, adjusted)


def _sidak(p: Floats) -> Floats:
    """Step-down p-values for Gaussian statistics of any correlation (Z. Sidak, JASA 62, 1967)."""
    order = np.argsort(p, kind="stable")
    left = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(
        -np.expm1(left * np.log1p(-np.minimum(p[order], 1 - 1e-16)))
    )
    return adjusted


def gaussian_null(influence: Floats, draws: int = DRAWS, seed: int = 0) -> Floats:
    """Absolute standard Gaussian draws [draws, P] with the correlations of the influences."""
    scaled = influence / np.maximum(np.sqrt((influence**2).mean(axis=0)), 1e-12)
    values, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    factor = vectors * np.sqrt(np.maximum(values, 0.0))
    rng = np.random.default_rng(seed)
    found: Floats = np.abs(rng.standard_normal((draws, len(values))) @ factor.T)
    return found


def bootstrap_null(
    table: Floats, model: PairModel, rows: int, draws: int = 999, seed: int = 0
) -> Floats:
    """Absolute null draws [draws, P] for windows of `rows` rows: resampled from the reference.

    Small windows need it: at 50 to 500 rows the Gaussian limit rejects 1.5 to 2.6 % at 1 %. What
    the reference itself misses adds as Gaussian noise with its influences' covariance.
    """
    rng = np.random.default_rng(seed)
    spread = np.sqrt(z_variance(model))
    first, second = model.pairs.T
    expected = fisher_z(model.r)
    drawn = np.empty((draws, len(model.pairs)))
    for i in range(draws):
        window = table[rng.integers(0, len(table), rows)]
        with np.errstate(invalid="ignore"):
            drawn[i] = fisher_z(rank_correlations(window)[first, second]) - expected
    np.nan_to_num(drawn, copy=False)
    values, vectors = np.linalg.eigh(model.influence.T @ model.influence / len(table) ** 2)
    noise = rng.standard_normal((draws, len(values))) * np.sqrt(np.maximum(values, 0.0))
    total = spread * np.sqrt(1 / rows + 1 / len(table))
    found: Floats = np.abs(drawn + noise @ vectors.T) / total
    return found


def z_variance(model: PairModel) -> Floats:
    """Variance [P] of sqrt(n) z for independent rows."""
    found: Floats = np.maximum((model.influence**2).mean(axis=0), VARIANCE_FLOOR)
    return found
