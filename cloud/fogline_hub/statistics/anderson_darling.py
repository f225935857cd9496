"""The two-sample Anderson-Darling test on counts in ordered cells.

F. W. Scholz and M. A. Stephens, "K-sample Anderson-Darling tests", JASA 82, 1987, for tied data:
here every row of a cell is tied. With D_j the difference of the two distribution functions at the
boundary behind cell j and H_j the pooled one, A^2 = s * sum_j w_j D_j^2 / (H_j (1 - H_j)), where
w_j is the mean pooled share of the two cells that meet there (so that reversing the order changes
nothing) and s scales it as theirs. The null distribution is not their table but the exact limit for
these very cells: a mixture of chi-squares weighted by the eigenvalues of the quadratic form.
"""

import numpy as np

from fogline_hub.statistics.outcome import NOTHING, TestOutcome
from fogline_hub.statistics.quadratic import mixture_tail
from fogline_hub.statistics.shares import (
    CellSample,
    Floats,
    difference_covariance,
    pooled_shares,
)


def anderson_darling(reference: CellSample, current: CellSample) -> TestOutcome:
    """Tests whether two samples in the same ordered cells come from one distribution.

    Most sensitive to shifts and to the tails. Cells may come from the reference's quantiles: the
    comparison is with the reference's own counts, not with nominal shares.

    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> a = CellSample.of_counts(rng.multinomial(5000, np.full(64, 1 / 64)))
    >>> b = CellSample.of_counts(rng.multinomial(500, np.full(64, 1 / 64)))
    >>> found = anderson_darling(a, b)
    >>> round(found.statistic, 4), round(found.p_value, 4)
    (0.5133, 0.7172)
    """
    reference, current = _without_empty(reference, current)
    if len(reference.sums) < 2 or min(reference.effective_rows, current.effective_rows) <= 0:
        return NOTHING
    pooled = pooled_shares(reference, current)
    weights, spread = boundary_weights(pooled)
    difference = np.cumsum(current.shares - reference.shares)[:-1]
    scale = 1 / (1 / reference.effective_rows + 1 / current.effective_rows)
    statistic = scale * float((weights * difference**2 / spread).sum())
    root = np.sqrt(scale * weights / spread)
    covariance = difference_covariance(reference, current, pooled).cumsum(0).cumsum(1)[:-1, :-1]
    eigenvalues = np.linalg.eigvalsh(root[:, None] * covariance * root)
    return TestOutcome(statistic, mixture_tail(statistic, eigenvalues))


def boundary_weights(pooled: Floats) -> tuple[Floats, Floats]:
    """(w_j, H_j (1 - H_j)) at the k - 1 inner boundaries of k cells with these pooled shares."""
    below = np.cumsum(pooled)[:-1]
    return (pooled[:-1] + pooled[1:]) / 2, np.maximum(below * (1 - below), 1e-300)


def _without_empty(reference: CellSample, current: CellSample) -> tuple[CellSample, CellSample]:
    used = (reference.sums + current.sums) > 0
    groups = np.cumsum(used) - 1
    groups[groups < 0] = 0
    k = int(used.sum())
    return reference.grouped(groups, k), current.grouped(groups, k)
