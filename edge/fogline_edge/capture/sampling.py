"""Which rows are kept, with a probability that is known before the draw. Pure but for the draw.

Poisson sampling: each row is drawn by itself with its own probability, so a Hajek estimate with
weights 1/p is consistent for means over all traffic (Sarndal, Swensson and Wretman, "Model Assisted
Survey Sampling", 1992, sections 3.5 and 5.7). No probability is ever 0 while the policy samples at
all, so no row is beyond the sample's reach; and none depends on what was drawn, only on what was
offered before, so the budget does not bias.
"""

from random import Random

import numpy as np
from numpy.typing import NDArray

from fogline.desired import CapturePolicy

MAX_BOOST = 5.0
"""How much likelier than others a row is kept whose two best classes tie."""
_HOUR_S = 3600.0
_DRAWN_AT_ONCE = 4096
"""Rows: Python's generator lets nobody else run while it fills its bytes."""


class HourlyBudget:
    """A leaky bucket of expected rows: fills by probabilities, empties within an hour.

    Half of it is free; then the rate falls in proportion to what is left. In any hour at most twice
    `max_rows_per_hour` are expected, at a steady rate at most once; the number drawn differs from
    that by chance, some multiple of its square root.
    """

    __slots__ = ("_level", "_max_rows", "_seen_at")

    def __init__(self, max_rows_per_hour: int) -> None:
        self._max_rows = float(max_rows_per_hour)
        self._level = 0.0
        self._seen_at: float | None = None

    def spend(self, wanted: NDArray[np.float64], now: float) -> NDArray[np.float64]:
        """Lowers probabilities [rows] as far as the budget asks, and books them.

        Args:
            wanted: Probabilities in [0, 1].
            now: Monotonic seconds.
        """
        if self._seen_at is not None:
            leaked = (now - self._seen_at) * self._max_rows / _HOUR_S
            self._level = max(0.0, self._level - leaked)
        self._seen_at = now
        left = self._max_rows - self._level
        factor = min(1.0, 2.0 * left / self._max_rows)
        total = float(wanted.sum()) * factor
        if total > left / 2.0:
            factor *= left / 2.0 / total
        granted: NDArray[np.float64] = wanted * factor
        self._level += float(granted.sum())
        return granted


def wanted_probabilities(
    policy: CapturePolicy, rows: int, margins: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Inclusion probabilities before the budget, float64 [rows].

    Args:
        policy: `uniform` gives all rows the base rate; `uncertain` up to `MAX_BOOST` times as much
            the smaller their margin is, never above 1 and never below the base rate.
        rows: How many.
        margins: See `Predictions.margins`; None counts as sure.

    >>> policy = CapturePolicy(sample_rate=0.1, strategy="uncertain")
    >>> wanted_probabilities(policy, 3, np.array([1.0, 0.5, 0.0])).round(3).tolist()
    [0.1, 0.2, 0.5]
    """
    base = np.full(rows, policy.sample_rate)
    if policy.strategy == "uniform" or margins is None:
        return base
    boosted: NDArray[np.float64] = base * (1.0 + (MAX_BOOST - 1.0) * (1.0 - margins) ** 2)
    return np.minimum(boosted, 1.0)


def draw(probabilities: NDArray[np.float64], source: Random) -> NDArray[np.int64]:
    """Places of the rows drawn, ascending; each by itself with its own probability.

    Python's generator serves as well as numpy's, which would take two megabytes of the device.
    """
    found = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(probabilities), _DRAWN_AT_ONCE):
        part = probabilities[start : start + _DRAWN_AT_ONCE]
        bits = np.frombuffer(source.randbytes(8 * len(part)), dtype=np.uint64)
        found.append(np.flatnonzero((bits >> np.uint64(11)) * 2.0**-53 < part) + start)
    return np.concatenate(found)
