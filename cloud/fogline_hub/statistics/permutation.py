"""Joint permutation tests on units (blocks, devices, seasons): exact whatever rows within share.

Under the null hypothesis units of both sides are exchangeable, so relabelling them gives the exact
null distribution of any statistic (R. A. Fisher 1935; E. J. G. Pitman 1937). All columns see the
same relabellings, so the maximum over them controls the family-wise error under their true
dependence (P. H. Westfall and S. S. Young, Resampling-Based Multiple Testing, 1993).
"""

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from fogline_hub.statistics.anderson_darling import boundary_weights
from fogline_hub.statistics.multiplicity import step_down_max
from fogline_hub.statistics.shares import Floats

DRAWS = 1_999


@dataclass(frozen=True, slots=True, eq=False)
class UnitTable:
    """One column's cells by unit.

    Attributes:
        sums: float64 [units, cells], sums of weights (counts).
        ordered: Whether the cells are ordered.
    """

    sums: Floats
    ordered: bool


@dataclass(frozen=True, slots=True, eq=False)
class Relabelling:
    """Who may be relabelled.

    Attributes:
        is_current: bool [units].
        partner: int64 [units], the same device on the other side, or -1; partners only swap.
    """

    is_current: NDArray[np.bool_]
    partner: NDArray[np.int64]

    @staticmethod
    def free(is_current: NDArray[np.bool_]) -> "Relabelling":
        return Relabelling(is_current, np.full(len(is_current), -1))

    @property
    def count(self) -> int:
        """Distinct relabellings, the observed one among them."""
        alone = self.partner < 0
        pairs = int((self.partner >= 0).sum()) // 2
        return int(comb(int(alone.sum()), int((alone & self.is_current).sum())) * 2**pairs)

    def draws(self, limit: int, seed: int) -> NDArray[np.bool_]:
        """Relabellings [draws, units]: all others where there are few, else `limit` random ones."""
        alone = np.flatnonzero(self.partner < 0)
        taken = int(self.is_current[alone].sum())
        if len(alone) == len(self.partner) and self.count <= limit:
            return self._all(alone, taken)
        rng = np.random.default_rng(seed)
        drawn = np.tile(self.is_current, (limit, 1))
        if len(alone):
            keys = rng.random((limit, len(alone)))
            drawn[:, alone] = keys.argsort(axis=1).argsort(axis=1) < taken
        first = np.flatnonzero((self.partner >= 0) & ~self.is_current)
        if len(first):
            swap = rng.random((limit, len(first))) < 0.5
            drawn[:, first] = swap
            drawn[:, self.partner[first]] = ~swap
        return drawn

    def _all(self, alone: NDArray[np.int64], taken: int) -> NDArray[np.bool_]:
        chosen = list(combinations(range(len(alone)), taken))
        drawn = np.zeros((len(chosen), len(self.partner)), dtype=bool)
        for i, members in enumerate(chosen):
            drawn[i, alone[list(members)]] = True
        others: NDArray[np.bool_] = drawn[(drawn != self.is_current).any(axis=1)]
        return others


@dataclass(frozen=True, slots=True, eq=False)
class PermutationOutcome:
    """p-values of k columns: alone, and family-wise by the step-down maximum."""

    p_values: Floats
    adjusted: Floats


def permutation_test(
    tables: list[UnitTable], relabelling: Relabelling, *, draws: int = DRAWS, seed: int = 0
) -> PermutationOutcome:
    """Tests k columns jointly; the statistics are Anderson-Darling's and the chi-square's.

    >>> sums = np.array([[9.0, 1], [8, 2], [9, 1], [8, 2], [1, 9], [2, 8], [1, 9]])
    >>> is_current = np.array([False] * 4 + [True] * 3)
    >>> permutation_test([UnitTable(sums, True)], Relabelling.free(is_current)).p_values.tolist()
    [0.02857142857142857]
    """
    drawn = relabelling.draws(draws, seed)
    labels = np.vstack([relabelling.is_current, drawn]).astype(np.float64)
    columns = [_normalised(_statistics(t, labels)) for t in tables]
    values = np.column_stack(columns)
    observed, null = values[0], values[1:]
    p = (1 + (null >= observed - 1e-9).sum(axis=0)) / (1 + len(null))
    return PermutationOutcome(p, step_down_max(observed, null))


def _statistics(table: UnitTable, labels: Floats) -> Floats:
    """The statistic for each relabelling, [draws]."""
    total = table.sums.sum(axis=0)
    pooled = total / max(float(total.sum()), 1e-300)
    second = labels @ table.sums
    first = total - second
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = second / second.sum(axis=1, keepdims=True)
        difference = difference - first / first.sum(axis=1, keepdims=True)
    difference = np.nan_to_num(difference)
    if table.ordered:
        weights, spread = boundary_weights(pooled)
        found: Floats = (difference.cumsum(axis=1)[:, :-1] ** 2 * (weights / spread)).sum(axis=1)
        return found
    kept = pooled > 0
    chi: Floats = (difference[:, kept] ** 2 / pooled[kept]).sum(axis=1)
    return chi


def _normalised(values: Floats) -> Floats:
    """Cube roots, standardised: columns of different cells and shapes become comparable.

    E. B. Wilson and M. M. Hilferty, "The distribution of chi-square", PNAS 17, 1931.
    """
    root = np.cbrt(values)
    spread = float(root.std())
    found: Floats = (root - root.mean()) / spread if spread > 1e-12 else np.zeros(len(root))
    return found
