"""Whether columns still go together as they did: rank correlations of all pairs of numbers."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fogline_hub.monitor.tables import ColumnPair
from fogline_hub.statistics.correlation import (
    CorrelationOutcome,
    bootstrap_null,
    compare_correlations,
    gaussian_null,
    pair_model,
    z_variance,
)
from fogline_hub.statistics.shares import Floats
from fogline_hub.statistics.weights import effective_size

MAX_COLUMNS: Final = 60
"""Columns whose pairs are tested, the first ones."""
MAX_ROWS: Final = 5_000
"""Rows of a side that are used, evenly over it."""
MAX_UNIT_ROWS: Final = 50_000
"""The same where whole blocks, devices or seasons are the units."""
MIN_REFERENCE: Final = 50
MIN_CURRENT: Final = 30
MAX_MISSING: Final = 0.2
"""Columns with more missing values are left out; of the others complete rows are used."""
BOOTSTRAP_VALUES: Final = 10_000
"""Windows of up to so many values get their null distribution by resampling."""
GAUSSIAN_PAIRS: Final = 600
"""Up to so many pairs, maxima of larger windows are simulated; beyond, Sidak's inequality."""
MIN_UNITS: Final = 10


NullDraws = dict[int, Floats]
"""Draws of the null distribution for one reference, by rows of the window."""


@dataclass(frozen=True, slots=True, eq=False)
class Associations:
    """The pairs that were tested, as indices into `names`, and what was found."""

    names: tuple[str, ...]
    pairs: NDArray[np.int64]
    outcome: CorrelationOutcome


def compare_associations(
    columns: list[ColumnPair],
    *,
    weights: tuple[Floats | None, Floats | None] = (None, None),
    units: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    nulls: NullDraws | None = None,
) -> Associations | None:
    """Tests all pairs of numeric columns; None where there is too little to test.

    Args:
        columns: Both sides' values.
        weights: Sampling weights of the reference, and of the current rows.
        units: Each row's unit where rows are not independent, -1 for rows left out.
        nulls: Draws for this reference and these columns; those that lack are added.
    """
    chosen = [c for c in columns if c.is_number and _is_usable(c)][:MAX_COLUMNS]
    if len(chosen) < 2:
        return None
    sides = [
        _Rows.of([np.asarray(v, np.float64) for v in values], w, u)
        for values, w, u in (
            ([c.reference for c in chosen], weights[0], units[0] if units else None),
            ([c.current for c in chosen], weights[1], units[1] if units else None),
        )
    ]
    before, after = sides
    if len(before.table) < MIN_REFERENCE or len(after.table) < MIN_CURRENT:
        return None
    varied = [j for j in range(len(chosen)) if all(np.ptp(s.table[:, j]) > 0 for s in sides)]
    if len(varied) < 2:
        return None
    pairs = np.array([(a, b) for i, a in enumerate(varied) for b in varied[i + 1 :]])
    outcome = (
        _by_units(before, after, pairs)
        if units
        else _by_rows(before, after, pairs, {} if nulls is None else nulls)
    )
    names = tuple(c.name for c in chosen)
    return Associations(names, pairs, outcome) if outcome is not None else None


def _is_usable(column: ColumnPair) -> bool:
    return all(
        np.isfinite(np.asarray(v, np.float64)).mean() >= 1 - MAX_MISSING
        for v in (column.reference, column.current)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Complete rows of one side, [rows, d], thinned evenly."""

    table: Floats
    weights: Floats | None
    units: NDArray[np.int64] | None

    @staticmethod
    def of(
        values: list[Floats], weights: Floats | None, units: NDArray[np.int64] | None
    ) -> "_Rows":
        kept = np.ones(len(values[0]), dtype=bool)
        for column in values:
            kept &= np.isfinite(column)
        if weights is not None:
            kept &= weights > 0
        if units is not None:
            kept &= units >= 0
        at = np.flatnonzero(kept)
        most = MAX_ROWS if units is None else MAX_UNIT_ROWS
        at = at[:: -(-len(at) // most) or 1]
        return _Rows(
            np.column_stack([column[at] for column in values]),
            None if weights is None else weights[at],
            None if units is None else units[at],
        )


def _by_rows(
    before: _Rows, after: _Rows, pairs: NDArray[np.int64], nulls: NullDraws
) -> CorrelationOutcome:
    reference = pair_model(before.table, pairs, before.weights)
    window = pair_model(after.table, pairs, after.weights)
    m, n = len(before.table), len(after.table)
    if before.weights is not None or after.weights is not None:
        variance = _variance(reference.influence, before.weights, None)
        variance = variance + _variance(window.influence, after.weights, None)
        smallest = min(_size(before), _size(after))
        return compare_correlations(reference.r, window.r, variance, degrees=smallest - 1)
    if n not in nulls and n * before.table.shape[1] <= BOOTSTRAP_VALUES:
        nulls[n] = bootstrap_null(before.table, reference, n)
    elif n not in nulls and len(pairs) <= GAUSSIAN_PAIRS:
        nulls[n] = gaussian_null(reference.influence)
    variance = z_variance(reference) * (1 / m + 1 / n)
    return compare_correlations(reference.r, window.r, variance, null=nulls.get(n))


def _size(side: _Rows) -> float:
    return float(len(side.table)) if side.weights is None else effective_size(side.weights)


def _by_units(before: _Rows, after: _Rows, pairs: NDArray[np.int64]) -> CorrelationOutcome | None:
    assert before.units is not None
    assert after.units is not None
    smallest = min(len(np.unique(before.units)), len(np.unique(after.units)))
    if smallest < MIN_UNITS:
        return None
    reference = pair_model(before.table, pairs, before.weights)
    window = pair_model(after.table, pairs, after.weights)
    variance = _variance(reference.influence, before.weights, before.units)
    variance = variance + _variance(window.influence, after.weights, after.units)
    return compare_correlations(reference.r, window.r, variance, degrees=smallest - 1)


def _variance(influence: Floats, weights: Floats | None, units: NDArray[np.int64] | None) -> Floats:
    """Variance [P] of z from the influences' sums by unit (rows are their own units)."""
    w = np.full(len(influence), 1 / len(influence)) if weights is None else weights / weights.sum()
    terms = influence * w[:, None]
    if units is not None:
        _, places = np.unique(units, return_inverse=True)
        sums = np.zeros((int(places.max()) + 1, terms.shape[1]))
        np.add.at(sums, places, terms)
        terms = sums
    count = len(terms)
    floor = 0.05 * float((w**2).sum())
    found: Floats = np.maximum((terms**2).sum(axis=0) * count / (count - 1), floor)
    return found
