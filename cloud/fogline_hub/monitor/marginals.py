"""The test and the effect of one column: its values, and how many of them are missing."""

from dataclasses import dataclass

from fogline_hub.statistics.anderson_darling import anderson_darling
from fogline_hub.statistics.chi_square import chi_square, coarse_chi_square, pooled_chi_square
from fogline_hub.statistics.effects import Effect, kolmogorov_distance, total_variation
from fogline_hub.statistics.multiplicity import smallest_weighted
from fogline_hub.statistics.shares import CellSample

VALUES_WEIGHTS = (0.75, 0.25)
"""Alpha of a numeric column, shared by Anderson-Darling and the coarse chi-square (.03 : .01)."""
MISSING_WEIGHT = 0.2
"""Alpha's share for the missing values, where there are any."""


@dataclass(frozen=True, slots=True, eq=False)
class ColumnSamples:
    """One column on both sides.

    Attributes:
        name: The column.
        ordered: Whether its cells are ordered (numbers) or not (categories).
        reference: The values that are there, in cells; `current` in the same.
        missing_reference: Two cells: rows with a value, and without.
    """

    name: str
    ordered: bool
    reference: CellSample
    current: CellSample
    missing_reference: CellSample
    missing_current: CellSample

    @property
    def has_missing(self) -> bool:
        return bool(self.missing_reference.sums[1] or self.missing_current.sums[1])


def column_p_value(column: ColumnSamples) -> float:
    """One p-value of "this column did not change"."""
    if column.ordered:
        tests = [
            anderson_darling(column.reference, column.current).p_value,
            coarse_chi_square(column.reference, column.current).p_value,
        ]
        weights = list(VALUES_WEIGHTS)
    else:
        tests = [pooled_chi_square(column.reference, column.current).p_value]
        weights = [1.0]
    if column.has_missing:
        weights = [w * (1 - MISSING_WEIGHT) for w in weights] + [MISSING_WEIGHT]
        tests.append(chi_square(column.missing_reference, column.missing_current).p_value)
    return smallest_weighted(tests, weights)


def column_effect(column: ColumnSamples, error: float) -> Effect:
    """The share of rows that moved: to other values, or to none; the larger of the two.

    Args:
        column: The column.
        error: Probability that an end of the interval misses.
    """
    measure = kolmogorov_distance if column.ordered else total_variation
    values = measure(column.reference, column.current, error)
    if not column.has_missing:
        return values
    missing = total_variation(column.missing_reference, column.missing_current, error)
    if column.current.sums.sum() <= 0 or column.reference.sums.sum() <= 0:
        return Effect("missing", missing.value, missing.low, missing.high)
    return Effect(
        "missing" if missing.value > values.value else values.measure,
        max(values.value, missing.value),
        max(values.low, missing.low),
        max(values.high, missing.high),
    )
