"""How sure held-out rows make us that a variant loses no more than it may.

The decision is a test of "it loses more than the allowance"; a variant passes when an upper
confidence bound of its loss is at most the allowance. Its error rate: a search in which some
variant truly loses more than the allowance calls any such variant proven with a probability of at
most `alpha`, over all variants looked at together, because each is tested at `alpha / family`
(Bonferroni; the family is the fixed list of variants, not those that came so far).

For labels that is exact: the bound of Clopper and Pearson (1934) on the share of rows whose label
changes. That share is never less than the accuracy lost, so one bound serves both. For means of
losses a row (R², cosine) it is Student's bound, which is approximate for skewed losses. Rows count
as independent of each other; rows close in time are not, quite, and make both bounds too small.
"""

import math


def flip_bound(flips: int, rows: int, alpha: float) -> float:
    """Upper bound of the share of rows whose label changes, wrong with probability `alpha`.

    Source: Clopper and Pearson, Biometrika 26 (1934), one-sided.

    >>> round(flip_bound(0, 600, 0.05), 5), round(flip_bound(3, 600, 0.05), 5)
    (0.00498, 0.01287)
    """
    if rows == 0 or flips >= rows:
        return 1.0
    from scipy.special import betaincinv

    return float(betaincinv(flips + 1, rows - flips, 1 - alpha))


def mean_bound(mean: float, deviation: float, rows: int, alpha: float) -> float:
    """Upper bound of a mean of which `mean` and `deviation` (of rows, n - 1) were seen.

    >>> round(mean_bound(0.001, 0.01, 400, 0.05), 5)
    0.00182
    """
    if rows < 2:
        return math.inf
    from scipy.special import stdtrit

    return mean + float(stdtrit(rows - 1, 1 - alpha)) * deviation / math.sqrt(rows)


def rows_needed(max_loss: float, alpha: float) -> int:
    """Rows that prove an allowance when no label changes on any of them; 0: none do.

    >>> rows_needed(0.005, 0.05), rows_needed(0.005, 0.005)
    (598, 1058)
    """
    if not 0 < max_loss < 1:
        return 0
    return math.ceil(math.log(alpha) / math.log1p(-max_loss))
