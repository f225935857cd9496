"""Shares of rows in cells, and how uncertain they are: what the tests on counts start from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CellSample:
    """Rows of one side in k cells.

    Attributes:
        sums: float64 [k], sums of the rows' weights; counts, where all weights are 1.
        squares: float64 [k], sums of their squares.
        rows: Rows.
    """

    sums: Floats
    squares: Floats
    rows: int

    @staticmethod
    def of_counts(counts: ArrayLike) -> "CellSample":
        sums = np.asarray(counts, dtype=np.float64)
        return CellSample(sums, sums, int(sums.sum()))

    @staticmethod
    def of_rows(cells: NDArray[np.int64], k: int, weights: Floats | None) -> "CellSample":
        """Of each row's cell, int64 [rows] in 0..k-1, and weight (1 / inclusion probability)."""
        if weights is None:
            return CellSample.of_counts(np.bincount(cells, minlength=k))
        return CellSample(binned(cells, weights, k), binned(cells, weights**2, k), len(cells))

    @property
    def is_weighted(self) -> bool:
        return self.sums is not self.squares

    @property
    def effective_rows(self) -> float:
        """Kish's effective size, (sum w)^2 / sum w^2; see `weights.effective_size`."""
        total = float(self.squares.sum())
        return float(self.sums.sum()) ** 2 / total if total > 0 else 0.0

    @property
    def shares(self) -> Floats:
        return self.sums / max(float(self.sums.sum()), 1e-300)

    def grouped(self, groups: NDArray[np.int64], k: int) -> "CellSample":
        """The same rows in coarser cells: cell i goes to group `groups[i]`, of k groups."""
        sums = binned(groups, self.sums, k)
        if not self.is_weighted:
            return CellSample(sums, sums, self.rows)
        return CellSample(sums, binned(groups, self.squares, k), self.rows)

    def null_squares(self, pooled: Floats) -> Floats:
        """Sum of (weight / all weights)^2 by cell under the null hypothesis of shares `pooled`.

        Without weights that is `pooled / rows`. With weights the sampling design decides which
        cells hold the heavy ones, so the observed squares are kept (J. N. K. Rao and A. J. Scott,
        "On chi-squared tests for multiway contingency tables with cell proportions estimated from
        survey data", Ann. Statist. 12, 1984: the exact mixture, not its first two moments).
        """
        if not self.is_weighted:
            return pooled / max(self.rows, 1)
        return self.squares / float(self.sums.sum()) ** 2


def binned(places: NDArray[np.int64], values: Floats, k: int) -> Floats:
    """Sums of `values` by place 0..k-1, float64 [k]."""
    return np.bincount(places, values, minlength=k).astype(np.float64)


def pooled_shares(reference: CellSample, current: CellSample) -> Floats:
    """Shares of both sides together, each side weighed by its effective rows."""
    m, n = reference.effective_rows, current.effective_rows
    return (m * reference.shares + n * current.shares) / max(m + n, 1e-300)


def share_covariance(squares: Floats, pooled: Floats) -> Floats:
    """Covariance [k, k] of estimated shares; `squares` as `CellSample.null_squares` gives them."""
    cross = np.outer(squares, pooled)
    found: Floats = np.diag(squares) - cross - cross.T + squares.sum() * np.outer(pooled, pooled)
    return found


def difference_covariance(reference: CellSample, current: CellSample, pooled: Floats) -> Floats:
    """Covariance [k, k] of current minus reference shares under the null, given the pooled ones.

    Without weights it is that of drawing without replacement, larger than the independent one by
    N / (N - 1).
    """
    squares = reference.null_squares(pooled) + current.null_squares(pooled)
    total = reference.effective_rows + current.effective_rows
    return share_covariance(squares, pooled) * (total / max(total - 1, 1))
