"""Testing by betting on bounded means: evidence that may be looked at after every observation.

I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86,
2024. Wealth that starts at 1 and, under the null hypothesis, is not expected to grow, exceeds
1 / alpha with probability at most alpha, ever (Ville's inequality).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fogline_hub.statistics.intervals import Interval
from fogline_hub.statistics.shares import Floats

BOLDNESS: Final = (0.2, 0.5, 0.9)
"""Shares of the largest bet that keeps wealth positive; small rises are found by the first."""
TRUNCATION: Final = 0.5
"""Bets of the confidence sequence stay below this share of the largest one."""


@dataclass(frozen=True, slots=True)
class SleepingBets:
    """An e-process against "the conditional mean of x is at most its bound", x in [0, 1].

    Wealth sleeps until it is bet: at each observation a share `hazard` of what still sleeps wakes
    up and is spread over bets of different boldness, which it then follows for good. So wealth is a
    mixture over all times at which a rise may begin, with geometric prior: a rise after years of
    none costs a factor of hazard, instead of all that was lost until then (an infinite sum of
    restarted martingales, as in A. N. Shiryaev, 1963, here with weights that sum to one, which
    keeps it an e-process).

    Attributes:
        asleep: Wealth not yet bet.
        awake: Wealth by boldness, as `BOLDNESS`.

    >>> bets = SleepingBets()
    >>> for _ in range(12):
    ...     bets = bets.observe(0.9, bound=0.3, hazard=0.01)
    >>> round(bets.wealth, 4)
    1225.9897
    """

    asleep: float = 1.0
    awake: tuple[float, ...] = (0.0,) * len(BOLDNESS)

    @property
    def wealth(self) -> float:
        return self.asleep + sum(self.awake)

    def observe(self, x: float, bound: float, hazard: float) -> "SleepingBets":
        """Bets on one observation and returns the new wealth.

        Args:
            x: The observation, in [0, 1].
            bound: Its largest conditional mean under the null hypothesis, in (0, 1], fixed before
                x was seen.
            hazard: Share of the sleeping wealth that wakes up.
        """
        woken = self.asleep * hazard / len(BOLDNESS)
        return SleepingBets(
            self.asleep * (1 - hazard),
            tuple(
                (w + woken) * (1 + c / bound * (x - bound))
                for w, c in zip(self.awake, BOLDNESS, strict=True)
            ),
        )


def betting_interval(values: ArrayLike, confidence: float = 0.95, grid: int = 1000) -> Interval:
    """Time-uniform interval for the mean of values in [0, 1], given in the order of observation.

    The hedged capital process of section 4.4 of the paper: for each candidate mean one bet on more
    and one on less, sized by the variance seen before; the means whose capital never reached
    1 / error remain. It may be computed after every observation without losing its confidence; it
    holds for means that are constant given the past.

    Args:
        values: Observations [n] in [0, 1].
        confidence: Coverage over all times together.
        grid: Candidate means; the interval is widened to the next ones.

    >>> rng = np.random.default_rng(3)
    >>> [round(v, 3) for v in betting_interval(rng.random(500) < 0.3)]
    [0.235, 0.374]
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) == 0:
        return Interval(0.0, 1.0)
    error = 1 - confidence
    bets = _predictable_bets(x, error)
    means = (np.arange(grid) + 0.5) / grid
    up = np.minimum(bets[:, None], TRUNCATION / means)
    down = np.minimum(bets[:, None], TRUNCATION / (1 - means))
    distance = x[:, None] - means
    more = np.cumsum(np.log1p(up * distance), axis=0)
    less = np.cumsum(np.log1p(-down * distance), axis=0)
    kept = means[(np.logaddexp(more, less).max(axis=0) - np.log(2)) < np.log(1 / error)]
    if len(kept) == 0:
        return Interval(float(x.mean()), float(x.mean()))
    half = 0.5 / grid
    return Interval(max(0.0, float(kept[0]) - half), min(1.0, float(kept[-1]) + half))


def _predictable_bets(x: Floats, error: float) -> Floats:
    t = np.arange(1, len(x) + 1)
    running = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - running) ** 2)) / (t + 1)
    before: NDArray[np.float64] = np.concatenate([[0.25], variance[:-1]])
    found: Floats = np.sqrt(2 * np.log(2 / error) / (before * t * np.log(1 + t)))
    return found
