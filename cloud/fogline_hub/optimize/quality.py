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

_Z = 1.959963984540054
"""Quantile of the normal distribution for intervals of 95 %."""


class Quality(Record, frozen=True, kw_only=True):
    """On held-out rows; intervals are of 95 %."""

    rows: int
    metric: str
    """`accuracy` or `r2`; empty without actual values, and then `value` is None."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    loss: float | None = None
    """The base's value less this one's."""
    loss_low: float | None = None
    loss_high: float | None = None
    label_flips: int = 0
    """Rows with another label than the base's."""
    max_difference: Annotated[float, Meta(ge=0)] = 0.0
    """Largest difference of a number from the base's."""


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
    flips = 0
    if base.labels is not None and variant.labels is not None:
        flips = int((base.labels != variant.labels).sum())
    differences = np.abs(variant.numbers - base.numbers)
    plain = Quality(
        rows=rows,
        metric="",
        label_flips=flips,
        max_difference=float(differences[np.isfinite(differences)].max(initial=0.0)),
    )
    if labels is not None and base.labels is not None and variant.labels is not None:
        return _accuracy(plain, base.labels == labels, variant.labels == labels)
    if values is not None and np.var(values) > 0:
        return _r2(plain, base.numbers[:, 0], variant.numbers[:, 0], values)
    return plain


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
    values: NDArray[np.float64],
) -> Quality:
    """Share of the variance explained."""
    before, after = (1 - np.mean((v - values) ** 2) / np.var(values) for v in (base, variant))
    return msgspec.structs.replace(
        plain, metric="r2", value=float(after), loss=float(before - after)
    )
