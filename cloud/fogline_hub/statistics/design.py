"""Design effects from blocks: how many rows one independent row is worth, from counts alone."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fogline_hub.statistics.dependence import autocorrelation_time, autocorrelations
from fogline_hub.statistics.shares import Floats

COMPONENTS = 2
HARMONICS = 2
"""Sines and cosines of the season that are taken out of block shares first."""


class DesignEffect(NamedTuple):
    """Rows that one independent row is worth, and how many blocks are independent."""

    value: float
    units: float


def block_design_effect(
    counts: NDArray[np.int64], phases: Floats | None = None, *, ordered: bool
) -> DesignEffect:
    """The design effect of consecutive blocks' counts.

    The season's course (its first two harmonics) is taken out of the blocks' shares; what is left
    varies by sampling, by likeness of rows within a block and of neighbouring blocks, all of which
    enter; the direction in which they enter most decides. What varies between whole seasons cannot
    be seen in one of them.

    Args:
        counts: int64 [blocks, cells], in order of event time.
        phases: Where in the season each block lies, [blocks] in [0, 1); None without seasons.
        ordered: Whether cells are ordered (numbers) or not (categories).

    >>> rng = np.random.default_rng(4)
    >>> independent = rng.multinomial(30, [0.25] * 4, size=60)
    >>> round(block_design_effect(independent, ordered=True).value, 2)
    1.83
    >>> likes = np.repeat(rng.multinomial(3, [0.25] * 4, size=60) * 10, 1, axis=0)
    >>> 7 < block_design_effect(likes, ordered=True).value < 14
    True
    """
    sizes = counts.sum(axis=1).astype(np.float64)
    used = sizes > 0
    counts, sizes = counts[used], sizes[used]
    columns = 1 + (2 * HARMONICS if phases is not None else 0)
    if len(counts) < columns + 4:
        return DesignEffect(1.0, float(len(counts)))
    table = counts.cumsum(axis=1)[:, :-1] if ordered else counts
    pooled = table.sum(axis=0) / sizes.sum()
    spread = pooled * (1 - pooled)
    kept = spread > 1e-12
    if not kept.any():
        return DesignEffect(1.0, float(len(counts)))
    # Weighted residuals: a block's share counts by its rows.
    excess = (table[:, kept] - sizes[:, None] * pooled[kept]) / np.sqrt(spread[kept])
    regressors = _seasonal(phases[used] if phases is not None else None, len(counts))
    regressors = regressors * sizes[:, None]
    residual = excess - regressors @ np.linalg.lstsq(regressors, excess, rcond=None)[0]
    freedom = (len(counts) - columns) / len(counts)
    independent = _independent(pooled[kept], sizes.sum(), ordered=ordered)
    worst, longest = 1.0, 1.0
    for direction in _leading(residual):
        series = residual @ direction
        tau = _time(series)
        varied = float((series**2).sum()) / freedom * tau
        worst = max(worst, varied / max(float(direction @ independent @ direction), 1e-12))
        longest = max(longest, tau)
    return DesignEffect(worst, len(counts) / longest)


def _time(series: Floats) -> float:
    """Autocorrelation time of few blocks: the longer of the windowed sum and a first-order one.

    The first autocorrelation of n points is too low by about (1 + 4 rho) / n (F. H. C. Marriott and
    J. A. Pope, "Bias in the estimation of autocorrelations", Biometrika 41, 1954).
    """
    rho = float(autocorrelations(series, 1)[1])
    rho = min(0.95, max(0.0, rho + (1 + 4 * rho) / len(series)))
    return max(autocorrelation_time(series).rows, (1 + rho) / (1 - rho))


def _independent(pooled: Floats, rows: float, *, ordered: bool) -> Floats:
    """Covariance of the residuals' sum for `rows` independent rows."""
    spread = np.sqrt(pooled * (1 - pooled))
    both = np.minimum.outer(pooled, pooled) if ordered else np.diag(pooled)
    found: Floats = rows * (both - np.outer(pooled, pooled)) / np.outer(spread, spread)
    return found


def _seasonal(phases: Floats | None, blocks: int) -> Floats:
    columns = [np.ones(blocks)]
    if phases is not None:
        for k in range(1, HARMONICS + 1):
            columns += [np.sin(2 * np.pi * k * phases), np.cos(2 * np.pi * k * phases)]
    return np.column_stack(columns)


def _leading(residual: Floats) -> list[Floats]:
    """Directions in which blocks vary most: the first principal components of the residuals."""
    _, _, directions = np.linalg.svd(residual, full_matrices=False)
    return list(directions[:COMPONENTS])


def unit_effective_rows(sums: Floats, *, ordered: bool) -> float:
    """Independent rows that the pooled shares of independent units are worth.

    Args:
        sums: float64 [units, cells], sums of weights (counts).
        ordered: Whether cells are ordered.

    Returns:
        At least 1, at most the rows of equally weighted ones; 1 for a single unit, 0 for none.

    >>> sums = np.array([[10.0, 0], [0, 10], [10, 0], [0, 10]])
    >>> round(unit_effective_rows(sums, ordered=True), 6)
    3.0
    """
    sizes = sums.sum(axis=1)
    sums, sizes = sums[sizes > 0], sizes[sizes > 0]
    if len(sums) < 2:
        return float(len(sums))
    table = sums.cumsum(axis=1)[:, :-1] if ordered else sums
    total = float(sizes.sum())
    pooled = table.sum(axis=0) / total
    kept = pooled * (1 - pooled) > 1e-12
    if not kept.any():
        return total
    excess = table[:, kept] - sizes[:, None] * pooled[kept]
    excess = excess / np.sqrt(pooled[kept] * (1 - pooled[kept]))
    direction = _leading(excess)[0]
    variance = float(((excess @ direction) ** 2).sum()) * len(sums) / (len(sums) - 1) / total**2
    single = float(direction @ _independent(pooled[kept], 1.0, ordered=ordered) @ direction)
    return float(np.clip(single / max(variance, 1e-300), 1.0, total))
