"""Is the converted model the original? A pure comparison of two sets of answers, and its record.

The original's answers are the truth, in its own precision. A row *differs* when an answer is
further off than the tolerance, or when the labels are not the same and the original was not itself
undecided between its best two classes within that tolerance (a *tie*). Flipped labels are counted
with and without ties, so that nothing is hidden.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from fogline.errors import InvalidInput
from fogline.records import Record

WORST_EXAMPLES = 10
"""Rows listed of those that differ most."""

Codes = NDArray[np.int64]
Numbers = NDArray[np.float64]


class Verdict(Enum):
    EXACT = "exact"
    """Every answer is the original's, rounded to the type that the model returns."""
    WITHIN_TOLERANCE = "within_tolerance"
    DIVERGES = "diverges"


class Tolerance(Record, frozen=True, kw_only=True):
    """`|converted - original| <= absolute + relative * |original|` counts as equal."""

    absolute: Annotated[float, Meta(ge=0)] = 1e-5
    relative: Annotated[float, Meta(ge=0)] = 1e-5


class Difference(Record, frozen=True, kw_only=True):
    """What a comparison of some rows found."""

    rows: int
    rows_differing: int = 0
    label_flips: int = 0
    """Rows with another label than the original's."""
    tied_flips: int = 0
    """Those of them where the original was undecided within the tolerance."""
    max_abs_difference: float = 0.0
    """Over the rows where both answers are finite numbers."""
    is_exact: bool = True
    note: str = ""


class Example(Record, frozen=True, kw_only=True):
    """One row that differs: where, never what."""

    where: str
    """`sample`, or the probe's name."""
    row: int
    difference: float | None
    """None where one of the two answers is no finite number."""
    is_flip: bool


class Parity(Record, frozen=True, kw_only=True):
    """The proof that a bundle carries. Counts are of the sample's rows; probes have their own."""

    verdict: Verdict
    """Over sample and probes."""
    rows: int
    rows_differing: int
    label_flips: int
    tied_flips: int
    max_abs_difference: float
    tolerance: Tolerance
    probes: dict[str, Difference]
    worst: tuple[Example, ...]
    accepted_divergence: bool = False
    """The verdict is not allowed by itself; the user accepted it."""
    isolation: tuple[str, ...] = ()
    """What held while the source was loaded, in the words of `fogline.sandbox.room`."""

    @property
    def is_allowed(self) -> bool:
        return self.verdict is not Verdict.DIVERGES or self.accepted_divergence


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a model said on some rows.

    Attributes:
        labels: Class codes, int64 [rows]; None for a model without classes.
        numbers: Probabilities or values, [rows, k], as float64.
        dtype: The type that the numbers came in, to which an exact answer is rounded.
    """

    labels: Codes | None
    numbers: Numbers
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float64))

    @property
    def rows(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A difference, and row by row what it is made of."""

    difference: Difference
    differs: NDArray[np.bool_]
    distance: Numbers
    flips: NDArray[np.bool_]


def compare(original: Answers, converted: Answers, tolerance: Tolerance) -> Comparison:
    """Holds a converted model's answers against the original's on the same rows.

    Raises:
        InvalidInput: the two have different shapes.

    >>> truth = Answers(labels=np.array([0, 1]), numbers=np.array([[0.9, 0.1], [0.2, 0.8]]))
    >>> other = Answers(labels=np.array([0, 0]), numbers=np.array([[0.9, 0.1], [0.7, 0.3]]))
    >>> found = compare(truth, other, Tolerance()).difference
    >>> found.rows_differing, found.label_flips, round(found.max_abs_difference, 6)
    (1, 1, 0.5)
    """
    if original.numbers.shape != converted.numbers.shape:
        raise InvalidInput(
            f"the converted model answers with shape {converted.numbers.shape}, "
            f"the original with {original.numbers.shape}"
        )
    rows = original.rows
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(converted.numbers - original.numbers)
        allowed = tolerance.absolute + tolerance.relative * np.abs(original.numbers)
        same = (original.numbers == converted.numbers) | (
            np.isnan(original.numbers) & np.isnan(converted.numbers)
        )
        distance[same] = 0.0
        off = ~(same | (distance <= allowed))  # also where one of the two is no finite number
        exact = same | (original.numbers.astype(converted.dtype) == converted.numbers)
    flips = np.zeros(rows, dtype=np.bool_)
    if original.labels is not None and converted.labels is not None:
        flips = original.labels != converted.labels
    ties = flips & _is_undecided(original, tolerance)
    differs = off.any(axis=1) | (flips & ~ties)
    finite = distance[np.isfinite(distance)]
    return Comparison(
        Difference(
            rows=rows,
            rows_differing=int(differs.sum()),
            label_flips=int(flips.sum()),
            tied_flips=int(ties.sum()),
            max_abs_difference=float(finite.max(initial=0.0)),
            is_exact=bool(exact.all() and not flips.any()),
        ),
        differs,
        distance.max(axis=1, initial=0.0),
        flips,
    )


def judge(sample: Comparison, probes: Mapping[str, Comparison], tolerance: Tolerance) -> Parity:
    """One verdict over the sample and all probes."""
    parts = {"sample": sample, **probes}
    found = [c.difference for c in parts.values()]
    if any(d.rows_differing for d in found):
        verdict = Verdict.DIVERGES
    else:
        verdict = Verdict.EXACT if all(d.is_exact for d in found) else Verdict.WITHIN_TOLERANCE
    real = sample.difference
    return Parity(
        verdict=verdict,
        rows=real.rows,
        rows_differing=real.rows_differing,
        label_flips=real.label_flips,
        tied_flips=real.tied_flips,
        max_abs_difference=real.max_abs_difference,
        tolerance=tolerance,
        probes={name: c.difference for name, c in probes.items()},
        worst=_worst(parts),
    )


def _is_undecided(original: Answers, tolerance: Tolerance) -> NDArray[np.bool_]:
    """Rows whose best two classes are as close as two answers that count as equal."""
    if not original.numbers.shape[1]:  # labels alone say nothing of how sure it was
        return np.zeros(original.rows, dtype=np.bool_)
    if original.numbers.shape[1] < 2:  # one decision value of two classes: undecided about zero
        return np.asarray((np.abs(original.numbers) <= tolerance.absolute).all(axis=1))
    best = np.sort(original.numbers, axis=1)
    return np.asarray(
        best[:, -1] - best[:, -2] <= 2 * (tolerance.absolute + tolerance.relative * best[:, -1])
    )


def _worst(parts: Mapping[str, Comparison]) -> tuple[Example, ...]:
    examples = [
        Example(
            where=name,
            row=int(row),
            difference=float(c.distance[row]) if np.isfinite(c.distance[row]) else None,
            is_flip=bool(c.flips[row]),
        )
        for name, c in parts.items()
        for row in np.flatnonzero(c.differs | c.flips)
    ]
    examples.sort(key=_badness)
    return tuple(examples[:WORST_EXAMPLES])


def _badness(example: Example) -> tuple[bool, float, str, int]:
    far = -np.inf if example.difference is None else -example.difference
    return (not example.is_flip, far, example.where, example.row)
