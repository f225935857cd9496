"""Who was right more often on the same days, with an interval that allows for alike neighbours."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fogline_hub.statistics.dependence import autocorrelation_time


@dataclass(frozen=True, slots=True)
class Gain:
    """Accuracy of one minus that of another, with its interval; `days` is how many were shared."""

    estimate: float
    low: float
    high: float
    days: int

    @property
    def is_certain(self) -> bool:
        """Whether the interval excludes zero and all below."""
        return self.low > 0


def gain(ours: NDArray[np.bool_], theirs: NDArray[np.bool_], confidence: float = 0.95) -> Gain:
    """Paired difference of two accuracies.

    Whatever makes a day hard cancels, since both were asked about it. Days resemble their
    neighbours: the effective size is their number over the integrated autocorrelation time of the
    differences (A. D. Sokal, "Monte Carlo methods in statistical mechanics", 1996).

    Args:
        ours: Whether we were right, [days] in order of time.
        theirs: Whether they were.
        confidence: Of the interval, Student's.

    >>> rng = np.random.default_rng(5)
    >>> found = gain(rng.random(2000) < 0.8, rng.random(2000) < 0.7)
    >>> found.is_certain, round(found.estimate, 3)
    (True, 0.104)
    """
    days = len(ours)
    if days < 4:
        return Gain(0.0, -1.0, 1.0, days)
    difference = ours.astype(np.float64) - theirs
    estimate = float(difference.mean())
    effective = days / autocorrelation_time(difference).rows
    if effective <= 2:
        return Gain(estimate, -1.0, 1.0, days)
    half = (
        float(stats.t.ppf((1 + confidence) / 2, effective - 1))
        * float(difference.std(ddof=1))
        / sqrt(effective)
    )
    return Gain(estimate, estimate - half, estimate + half, days)
