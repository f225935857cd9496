"""Confidence intervals and bounds of proportions."""

from math import sqrt
from typing import NamedTuple

from scipy.stats import beta, norm


class Interval(NamedTuple):
    low: float
    high: float


def wilson(successes: float, rows: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval; `rows` may be an effective size.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22,
    1927. The whole [0, 1] without rows.

    >>> [round(v, 4) for v in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if rows <= 0:
        return Interval(0.0, 1.0)
    z = float(norm.ppf((1 + confidence) / 2))
    share = successes / rows
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * sqrt(share * (1 - share) / rows + z * z / (4 * rows**2))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def clopper_pearson_upper(successes: float, rows: float, error: float) -> float:
    """The bound that a binomial share exceeds with probability at most `error`.

    C. J. Clopper and E. S. Pearson, Biometrika 26, 1934.

    >>> round(clopper_pearson_upper(0, 59, 0.05), 4)
    0.0495
    """
    if rows <= 0 or successes >= rows:
        return 1.0
    return float(beta.ppf(1 - error, successes + 1, rows - successes))


def newcombe_difference(
    first: tuple[float, float], second: tuple[float, float], confidence: float = 0.95
) -> Interval:
    """Interval for first minus second share, each given as (successes, rows).

    R. G. Newcombe, "Interval estimation for the difference between independent proportions", Stat.
    Med. 17, 1998, method 10: Wilson's limits, combined by squares.

    >>> [round(v, 4) for v in newcombe_difference((56, 70), (48, 80))]
    [0.0524, 0.3339]
    """
    if min(first[1], second[1]) <= 0:
        return Interval(-1.0, 1.0)
    p, q = first[0] / first[1], second[0] / second[1]
    a, b = wilson(*first, confidence), wilson(*second, confidence)
    return Interval(
        p - q - sqrt((p - a.low) ** 2 + (b.high - q) ** 2),
        p - q + sqrt((a.high - p) ** 2 + (q - b.low) ** 2),
    )
