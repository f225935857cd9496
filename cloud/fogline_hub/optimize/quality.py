"""How well a variant answers on held-out rows, beside the model that it was made from."""

import math
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from fogline.records import Record
from fogline_hub.convert.parity import Answers
from fogline_hub.optimize.evidence import mean_bound

_Z = 1.959963984540054
"""Quantile of the normal distribution for intervals of 95 %."""


class Quality(Record, frozen=True, kw_only=True):
    """On held-out rows; intervals are of 95 %.

    AUC is not among the metrics: it has no allowance a row, so no exact bound, and a change of rank
    that matters at a threshold flips a label, which is counted.
    """

    rows: int
    metric: str
    """`accuracy` or `r2` of actual values; without them `agreement` of labels with the base's,
    `cosine` of several numbers a row, `r2_to_base` of one. Empty where there is nothing to rate."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    loss: float | None = None
    """The base's value less this one's."""
    loss_low: float | None = None
    loss_high: float | None = None
    has_labels: bool = False
    """Labels, or the place of the largest number, were compared."""
    label_flips: int = 0
    """Rows with another label than the base's."""
    row_loss_deviation: float = 0.0
    """Standard deviation of the loss over rows, where it is a mean of losses a row."""
    max_difference: Annotated[float, Meta(ge=0)] = 0.0
    """Largest difference of a number from the base's; beyond numbers where one became NaN."""


_FAR = 1e12
"""Stands for a number that is none any more."""


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


def wilson(hits: int, rows: int) -> Interval:
    """Interval of a share (Wilson 1927).

    >>> found = wilson(310, 365)
    >>> round(found.low, 4), round(found.high, 4)
    (0.809, 0.8824)
    """
    if rows == 0:
        return Interval(0.0, 1.0)
    share = hits / rows
    middle = share + _Z**2 / (2 * rows)
    reach = _Z * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    scale = 1 + _Z**2 / rows
    return Interval((middle - reach) / scale, (middle + reach) / scale)


def paired_difference(only_first: int, only_second: int, rows: int) -> Interval:
    """Interval of the difference of two shares of the same rows (Agresti and Min 2005).

    Args:
        only_first: Rows that the first alone gets right.
        only_second: Rows that the second alone gets right.
        rows: All rows.

    >>> found = paired_difference(5, 3, 365)
    >>> round(found.low, 4), round(found.high, 4)
    (-0.0106, 0.0215)
    """
    if rows == 0:
        return Interval(-1.0, 1.0)
    b, c, n = only_first + 0.5, only_second + 0.5, rows + 2.0
    middle = (b - c) / n
    reach = _Z * math.sqrt(b + c - (b - c) ** 2 / n) / n
    return Interval(middle - reach, middle + reach)


def rate(
    base: Answers,
    variant: Answers,
    labels: NDArray[np.int64] | None = None,
    values: NDArray[np.float64] | None = None,
) -> Quality:
    """Quality of `variant` where `base` is what it was made from.

    Args:
        base: Answers of the base on the rows.
        variant: Answers of the variant.
        labels: Actual label codes [rows], for a classifier.
        values: Actual values [rows], for a regressor.
    """
    rows = base.rows
    has_labels = base.labels is not None and variant.labels is not None
    flips = int(np.count_nonzero(base.labels != variant.labels)) if has_labels else 0
    plain = Quality(
        rows=rows,
        metric="",
        has_labels=has_labels,
        label_flips=flips,
        max_difference=_largest(base.numbers, variant.numbers),
    )
    if base.labels is not None and variant.labels is not None:
        if labels is None:
            return _agreement(plain)
        return _accuracy(plain, base.labels == labels, variant.labels == labels)
    width = base.numbers.shape[1]
    if values is not None and np.var(values) > 0:
        actual, metric = values, "r2"
    elif width == 1:
        actual, metric = base.numbers[:, 0], "r2_to_base"
    else:
        return _cosine(plain, base.numbers, variant.numbers) if width else plain
    return _r2(plain, base.numbers[:, 0], variant.numbers[:, 0], actual, metric)


def _largest(base: NDArray[np.float64], variant: NDArray[np.float64]) -> float:
    """Of differences; a number that is finite in one of the two alone counts as the largest."""
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.abs(variant - base)
    same = (base == variant) | (np.isnan(base) & np.isnan(variant))
    differences[same] = 0.0
    return float(np.nan_to_num(differences, nan=_FAR, posinf=_FAR).max(initial=0.0))


def _agreement(plain: Quality) -> Quality:
    """Share of rows with the base's label."""
    kept = wilson(plain.rows - plain.label_flips, plain.rows)
    share = plain.label_flips / plain.rows
    return msgspec.structs.replace(
        plain,
        metric="agreement",
        value=1 - share,
        low=kept.low,
        high=kept.high,
        loss=share,
        loss_low=1 - kept.high,
        loss_high=1 - kept.low,
    )


def _mean_loss(
    plain: Quality, metric: str, value: float, row_losses: NDArray[np.float64]
) -> Quality:
    """A loss that is a mean over rows, with its paired interval (Student)."""
    mean = float(row_losses.mean())
    deviation = float(row_losses.std(ddof=1)) if len(row_losses) > 1 else 0.0
    reach = mean_bound(0.0, deviation, len(row_losses), 0.025) if deviation else 0.0
    return msgspec.structs.replace(
        plain,
        metric=metric,
        value=value,
        loss=mean,
        loss_low=mean - reach,
        loss_high=mean + reach,
        row_loss_deviation=deviation,
    )


def _cosine(plain: Quality, base: NDArray[np.float64], variant: NDArray[np.float64]) -> Quality:
    """Mean cosine of the rows' numbers with the base's; a row that is no number any more has 0."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        inner = np.einsum("ij,ij->i", base, variant)
        scale = np.linalg.norm(base, axis=1) * np.linalg.norm(variant, axis=1)
        cosines = np.where(scale > 0, inner / scale, (base == variant).all(axis=1))
    cosines = np.clip(np.nan_to_num(cosines, nan=0.0, posinf=0.0, neginf=0.0), -1.0, 1.0)
    # Rounding leaves a cosine of a row with itself just off one.
    cosines[(base == variant).all(axis=1)] = 1.0
    return _mean_loss(plain, "cosine", float(cosines.mean()), 1 - cosines)


def _accuracy(plain: Quality, base: NDArray[np.bool_], variant: NDArray[np.bool_]) -> Quality:
    within = wilson(int(variant.sum()), plain.rows)
    only_base, only_variant = int((base & ~variant).sum()), int((variant & ~base).sum())
    lost = paired_difference(only_base, only_variant, plain.rows)
    return msgspec.structs.replace(
        plain,
        metric="accuracy",
        value=float(variant.mean()),
        low=within.low,
        high=within.high,
        loss=float(base.mean() - variant.mean()),
        loss_low=lost.low,
        loss_high=lost.high,
    )


def _r2(
    plain: Quality,
    base: NDArray[np.float64],
    variant: NDArray[np.float64],
    actual: NDArray[np.float64],
    metric: str,
) -> Quality:
    """Share of the variance explained; the variance of these rows counts as given."""
    spread = float(np.var(actual))
    if spread == 0:
        return plain
    with np.errstate(invalid="ignore", over="ignore"):
        before, after = ((v - actual) ** 2 / spread for v in (base, variant))
        losses = np.nan_to_num(after - before, nan=_FAR, posinf=_FAR, neginf=-_FAR)
        value = float(np.clip(1 - np.nan_to_num(after, nan=_FAR, posinf=_FAR).mean(), -_FAR, 1.0))
    return _mean_loss(plain, metric, value, losses)
