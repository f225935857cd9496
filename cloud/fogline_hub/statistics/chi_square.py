"""Chi-square tests on cells pooled until each is expected to hold enough.

K. Pearson, Phil. Mag. 50, 1900; with weights the null is the exact mixture of Rao and Scott (1984)
instead of a chi-square. W. G. Cochran, "Some methods for strengthening the common chi-square
tests", Biometrics 10, 1954, for pooling to expected counts of five.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, hypergeom

from fogline_hub.statistics.outcome import NOTHING, TestOutcome
from fogline_hub.statistics.quadratic import mixture_tail
from fogline_hub.statistics.shares import (
    CellSample,
    Floats,
    difference_covariance,
    pooled_shares,
)

MIN_EXPECTED = 5.0
EXACT_ROWS = 10_000
"""Two unweighted cells are tested exactly up to so many rows of the smaller side."""


def coarse_chi_square(reference: CellSample, current: CellSample, cells: int = 10) -> TestOutcome:
    """Chi-square over at most `cells` runs of neighbouring ordered cells of about equal share.

    Beside Anderson-Darling it sees what a distribution function hides: a hole or a lump inside.

    >>> import numpy as np
    >>> a, b = CellSample.of_counts(np.full(64, 80)), CellSample.of_counts(np.full(64, 8))
    >>> coarse_chi_square(a, b).p_value
    1.0
    """
    pooled = pooled_shares(reference, current)
    smallest = _effective_minimum(reference, current)
    count = int(max(2, min(cells, smallest / MIN_EXPECTED)))
    middles = np.cumsum(pooled) - pooled / 2
    raw = np.minimum((middles * count).astype(np.int64), count - 1)
    groups = np.unique(raw, return_inverse=True)[1].astype(np.int64)
    k = int(groups.max()) + 1 if len(groups) else 0
    return chi_square(reference.grouped(groups, k), current.grouped(groups, k))


def pooled_chi_square(reference: CellSample, current: CellSample) -> TestOutcome:
    """Chi-square over categories, the rare ones (expected below five) pooled into one cell.

    >>> a, b = CellSample.of_counts([900, 95, 3, 2]), CellSample.of_counts([80, 19, 0, 1])
    >>> round(pooled_chi_square(a, b).p_value, 4)
    0.0049
    """
    groups = rare_groups(pooled_shares(reference, current), _effective_minimum(reference, current))
    k = int(groups.max()) + 1 if len(groups) else 0
    return chi_square(reference.grouped(groups, k), current.grouped(groups, k))


def rare_groups(pooled: Floats, smallest: float) -> NDArray[np.int64]:
    """Group of each cell: one for itself where common, one shared by all rare ones.

    When the rare ones together are still too few, the next rarest joins them.
    """
    if (pooled > 0).sum() <= 2:
        return np.arange(len(pooled))  # tested exactly, however few they are
    rarest_first = np.argsort(pooled, kind="stable")
    together = np.cumsum(pooled[rarest_first]) * smallest
    alone = pooled[rarest_first] * smallest >= MIN_EXPECTED
    rare = ~alone
    if rare.any() and not rare.all() and together[rare.sum() - 1] < MIN_EXPECTED:
        rare[rare.sum()] = True
    groups = np.empty(len(pooled), dtype=np.int64)
    groups[rarest_first[rare]] = 0
    groups[rarest_first[~rare]] = np.arange(int((~rare).sum())) + int(rare.any())
    return groups


def chi_square(reference: CellSample, current: CellSample) -> TestOutcome:
    """Chi-square over the cells as they are; exact where only two are left and none is weighted."""
    pooled = pooled_shares(reference, current)
    used = pooled > 0
    k = int(used.sum())
    if k < 2 or min(reference.effective_rows, current.effective_rows) <= 0:
        return NOTHING
    weighted = reference.is_weighted or current.is_weighted
    if k == 2 and not weighted and min(reference.rows, current.rows) <= EXACT_ROWS:
        at = int(np.flatnonzero(used)[0])
        return _exact(reference, current, at)
    scale = 1 / (1 / reference.effective_rows + 1 / current.effective_rows)
    difference = (current.shares - reference.shares)[used]
    statistic = scale * float((difference**2 / pooled[used]).sum())
    if not weighted:
        total = reference.effective_rows + current.effective_rows
        return TestOutcome(statistic, float(chi2.sf(statistic * (total - 1) / total, k - 1)))
    root = np.sqrt(scale / pooled[used])
    covariance = difference_covariance(reference, current, pooled)[np.ix_(used, used)]
    eigenvalues = np.linalg.eigvalsh(root[:, None] * covariance * root)
    return TestOutcome(statistic, mixture_tail(statistic, np.maximum(eigenvalues, 0.0)))


def _exact(reference: CellSample, current: CellSample, at: int) -> TestOutcome:
    """Fisher's exact test with the mid-p of Lancaster (1961), doubled from the smaller tail.

    Mid-p keeps close to its level where Fisher's own is far below it.
    """
    hits = int(current.sums[at])
    law = hypergeom(reference.rows + current.rows, int(reference.sums[at]) + hits, current.rows)
    point = float(law.pmf(hits))
    below, above = float(law.cdf(hits)) - point / 2, float(law.sf(hits)) + point / 2
    return TestOutcome(float(hits), min(1.0, 2 * max(0.0, min(below, above))))


def _effective_minimum(reference: CellSample, current: CellSample) -> float:
    return min(reference.effective_rows, current.effective_rows)
