"""How much rows resemble their neighbours, in time and within devices: what a unit may be."""

from math import ceil
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import f as fisher_f
from scipy.stats import norm

from fogline_hub.statistics.shares import Floats

FEW_LAGS: Final = 16
"""Up to so many lags, sums are faster than a Fourier transform."""
WINDOW: Final = 5.0
"""Sokal's constant: sum correlations up to this many times the autocorrelation time."""


def autocorrelations(values: ArrayLike, lags: int) -> Floats:
    """Sample autocorrelations at lags 0..`lags`, [lags + 1]; 1, 0, 0 ... for a constant series.

    >>> autocorrelations([1.0, -1.0, 1.0, -1.0], 2).tolist()
    [1.0, -0.75, 0.5]
    """
    x = np.asarray(values, dtype=np.float64)
    x = x - x.mean()
    if lags <= FEW_LAGS:
        products = np.array(
            [x[: len(x) - k] @ x[k:] if k < len(x) else 0.0 for k in range(lags + 1)]
        )
    else:
        size = 1 << (2 * len(x) - 1).bit_length()
        spectrum = np.fft.rfft(x, size)
        products = np.fft.irfft(spectrum * np.conj(spectrum), size)[: lags + 1]
        products[np.arange(lags + 1) >= len(x)] = 0.0
    if products[0] <= 1e-12 * max(1.0, float((x**2).max(initial=0.0))):
        return np.concatenate([[1.0], np.zeros(lags)])
    found: Floats = products / products[0]
    return found


class AutocorrelationTime(NamedTuple):
    """Rows that one independent row is worth, 1 for none, and the error of that estimate."""

    rows: float
    standard_error: float


def autocorrelation_time(values: ArrayLike) -> AutocorrelationTime:
    """The integrated autocorrelation time 1 + 2 sum_k rho_k, with an automatic window.

    A. D. Sokal, "Monte Carlo methods in statistical mechanics", 1996: lags are summed up to the
    first M with M >= 5 tau(M); its variance is about 2 (2 M + 1) tau^2 / n. Not below 1.

    >>> rng = np.random.default_rng(2)
    >>> x = np.zeros(20_000)
    >>> for i in range(1, len(x)):
    ...     x[i] = 0.5 * x[i - 1] + rng.standard_normal()
    >>> found = autocorrelation_time(x)  # (1 + .5) / (1 - .5) = 3
    >>> round(found.rows, 2), round(found.standard_error, 2)
    (3.06, 0.18)
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 4:
        return AutocorrelationTime(1.0, float("inf"))
    rho = autocorrelations(x, len(x) // 2)
    taus = 2 * np.cumsum(rho) - 1
    wide = np.arange(len(taus)) >= WINDOW * taus
    window = int(np.argmax(wide)) if wide.any() else len(taus) - 1
    tau = max(1.0, float(taus[window]))
    return AutocorrelationTime(tau, tau * (2 * (2 * window + 1) / len(x)) ** 0.5)


def resembles_neighbours(values: ArrayLike, lags: int = 5) -> float:
    """p-value of "no autocorrelation": the largest positive one of the first lags, Bonferroni.

    >>> f"{resembles_neighbours([1.0, -1.0] * 20):.6e}"
    '4.686171e-09'
    """
    x = np.asarray(values, dtype=np.float64)
    count = min(lags, len(x) - 2)
    if count < 1:
        return 1.0
    rho = autocorrelations(x, count)[1:]
    return min(1.0, count * float(norm.sf(rho.max() * len(x) ** 0.5)))


def block_rows(time_rows: float, multiple: float = 10.0) -> int:
    """Rows of a block that is long against the autocorrelation time."""
    return max(1, ceil(multiple * time_rows))


class IntraclassCorrelation(NamedTuple):
    """Share of variance between groups, and the p-value of "none"."""

    value: float
    p_value: float


def intraclass_correlation(values: ArrayLike, groups: NDArray[np.int64]) -> IntraclassCorrelation:
    """ICC(1) by one-way analysis of variance; `groups` are 0..g-1, of any sizes.

    R. A. Fisher, Statistical Methods for Research Workers, 1925; unequal sizes by A. Donner, "A
    review of inference procedures for the intraclass correlation coefficient", Int. Stat. Rev. 54,
    1986. Not below 0.

    >>> intraclass_correlation([1, 2, 1, 9, 8, 9], np.array([0, 0, 0, 1, 1, 1])).value > 0.9
    True
    """
    x = np.asarray(values, dtype=np.float64)
    sizes = np.bincount(groups).astype(np.float64)
    g, n = int((sizes > 0).sum()), len(x)
    if g < 2 or n <= g:
        return IntraclassCorrelation(0.0, 1.0)
    means = np.bincount(groups, x) / np.maximum(sizes, 1)
    between = float((sizes * (means - x.mean()) ** 2).sum()) / (g - 1)
    within = float(((x - means[groups]) ** 2).sum()) / (n - g)
    if within <= 0:
        return IntraclassCorrelation(float(between > 0), 0.0 if between > 0 else 1.0)
    typical = (n - float((sizes**2).sum()) / n) / (g - 1)
    value = (between - within) / (between + (typical - 1) * within)
    return IntraclassCorrelation(
        max(0.0, value), float(fisher_f.sf(between / within, g - 1, n - g))
    )
