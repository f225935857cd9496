"""Challenger against champion and against a constant answer, on rows that neither was trained on.

Each comparison is of the same rows, so whatever makes a row hard cancels. The estimate is Hajek's
(weights are inverse inclusion probabilities, scaled to sum to one), its variance the usual
linearisation (Sarndal, Swensson and Wretman 1992, section 5.7), the interval Student's with Kish's
effective size minus one as degrees of freedom. The two comparisons share alpha (Bonferroni).
"""

import math
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from scipy.special import stdtrit

from fogline.errors import InvalidInput
from fogline.records import Record

MIN_EFFECTIVE = 30
"""Effective rows below which nothing is decided."""


class Difference(Record, frozen=True, kw_only=True):
    """Accuracy of the challenger minus that of another, with its interval."""

    estimate: float
    low: float
    high: float
    confidence: float


class Judgement(Record, frozen=True, kw_only=True):
    """The verdict and every number behind it."""

    is_promoted: bool
    reason: str
    rows: Annotated[int, Meta(ge=0)]
    n_effective: float
    accuracy_challenger: float
    accuracy_champion: float
    accuracy_constant: float
    over_champion: Difference
    over_constant: Difference


def judge(
    challenger: NDArray[np.bool_],
    champion: NDArray[np.bool_],
    constant: NDArray[np.bool_],
    weights: NDArray[np.float64],
    *,
    alpha: float = 0.05,
) -> Judgement:
    """Decides whether the challenger takes over.

    Args:
        challenger: Whether it was right, [rows].
        champion: The same of the version that serves, [rows].
        constant: The same of always answering the training rows' most frequent label, [rows].
        weights: Inverse inclusion probabilities, [rows].
        alpha: One minus the joint confidence of the two intervals.

    Raises:
        InvalidInput: lengths differ, or a weight is not finite and positive.

    >>> rng = np.random.default_rng(7)
    >>> truth = rng.random(500)
    >>> result = judge(truth < .8, truth < .6, truth < .65, np.full(500, 2.0))
    >>> result.is_promoted, round(result.over_champion.estimate, 3)
    (True, 0.204)
    """
    if not len(challenger) == len(champion) == len(constant) == len(weights):
        raise InvalidInput("judge: the four columns must have one length")
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise InvalidInput("judge: weights must be finite and positive")
    n_effective = _effective(weights)
    over_champion = _difference(challenger, champion, weights, alpha / 2)
    over_constant = _difference(challenger, constant, weights, alpha / 2)
    reason = _reason(n_effective, over_champion, over_constant)
    return Judgement(
        is_promoted=not reason,
        reason=reason or "better than champion and constant answer",
        rows=len(weights),
        n_effective=n_effective,
        accuracy_challenger=_mean(challenger, weights),
        accuracy_champion=_mean(champion, weights),
        accuracy_constant=_mean(constant, weights),
        over_champion=over_champion,
        over_constant=over_constant,
    )


def _reason(n_effective: float, champion: Difference, constant: Difference) -> str:
    """Why the challenger does not take over; empty if it does."""
    if n_effective < MIN_EFFECTIVE:
        return f"{n_effective:.0f} effective rows, at least {MIN_EFFECTIVE} decide"
    for name, d in (("champion", champion), ("constant answer", constant)):
        if d.low <= 0:
            return (
                f"not shown to beat the {name}: {d.estimate:+.3f}, "
                f"{d.confidence:.1%} interval {d.low:+.3f} to {d.high:+.3f}"
            )
    return ""


def _difference(
    ours: NDArray[np.bool_], theirs: NDArray[np.bool_], weights: NDArray[np.float64], alpha: float
) -> Difference:
    gain = ours.astype(np.float64) - theirs
    estimate = _mean(gain, weights)
    size = _effective(weights)
    if size <= 1:
        return Difference(estimate=estimate, low=-1.0, high=1.0, confidence=1 - alpha)
    share = weights / weights.sum()
    spread = math.sqrt(float((share**2 * (gain - estimate) ** 2).sum()) * size / (size - 1))
    half = float(stdtrit(size - 1, 1 - alpha / 2)) * spread
    return Difference(
        estimate=estimate, low=estimate - half, high=estimate + half, confidence=1 - alpha
    )


def _mean(values: NDArray[np.generic], weights: NDArray[np.float64]) -> float:
    return float(np.average(values.astype(np.float64), weights=weights)) if len(values) else 0.0


def _effective(weights: NDArray[np.float64]) -> float:
    """Kish 1965: the size of an equally weighted sample of the same variance."""
    return float(weights.sum() ** 2 / (weights**2).sum()) if len(weights) else 0.0
