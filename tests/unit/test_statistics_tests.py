"""Tests on counts, against scipy, exact laws and brute force."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2, chi2_contingency, kendalltau, spearmanr

from fogline_hub.statistics.anderson_darling import anderson_darling
from fogline_hub.statistics.chi_square import (
    chi_square,
    coarse_chi_square,
    pooled_chi_square,
    rare_groups,
)
from fogline_hub.statistics.correlation import (
    bootstrap_null,
    compare_correlations,
    gaussian_null,
    pair_model,
    rank_correlations,
    z_variance,
)
from fogline_hub.statistics.multiplicity import holm, step_down_max
from fogline_hub.statistics.outcome import TestOutcome
from fogline_hub.statistics.quadratic import mixture_tail
from fogline_hub.statistics.shares import CellSample

PAIRS = np.array([(0, 1), (0, 2), (1, 2)])


@pytest.mark.parametrize("k", [1, 2, 5, 62])
@pytest.mark.parametrize("at", [0.3, 1.0, 3.0, 20.0])
def test_the_mixture_of_equal_weights_is_a_chi_square(k: int, at: float) -> None:
    expected = float(chi2.sf(at * k, k))
    assert mixture_tail(2 * at * k, np.full(k, 2.0)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("x", [0.5, 5.0, 60.0, 300.0])
def test_the_mixture_of_doubled_weights_is_a_sum_of_exponentials(x: float) -> None:
    means = 2 * np.array([1.0, 0.5, 0.25])
    expected = sum(np.exp(-x / a) * np.prod([a / (a - b) for b in means if b != a]) for a in means)
    weights = np.repeat(means / 2, 2)
    assert mixture_tail(x, weights) == pytest.approx(float(expected), rel=1e-8)


def test_anderson_darling_of_untied_rows_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=60), rng.normal(0.5, size=40)
    pooled = np.sort(np.concatenate([x, y]))
    cells = [np.searchsorted(pooled[:-1], v) for v in (x, y)]
    found = anderson_darling(*(CellSample.of_rows(c, 100, None) for c in cells))
    expected = 0.0  # equation 3 of Scholz and Stephens (1987)
    for sample in (x, y):
        for j in range(1, 100):
            below = (sample <= pooled[j - 1]).sum()
            expected += (100 * below - j * len(sample)) ** 2 / (j * (100 - j) * len(sample) * 100)
    assert found.statistic == pytest.approx(expected)


def split_test(pooled: NDArray[np.int64]) -> TestOutcome:
    sides = (np.bincount(v, minlength=6) for v in (pooled[:80], pooled[80:]))
    return anderson_darling(*map(CellSample.of_counts, sides))


def test_anderson_darlings_p_value_is_that_of_permuting_rows() -> None:
    rng = np.random.default_rng(1)
    pooled = rng.integers(0, 6, size=120)
    observed = split_test(pooled)
    exceed = 0
    for _ in range(400):
        drawn = split_test(rng.permutation(pooled))
        exceed += drawn.statistic >= observed.statistic - 1e-12
    assert observed.p_value == pytest.approx(exceed / 400, abs=0.08)


def test_reversing_the_order_of_cells_changes_nothing() -> None:
    a, b = [5, 30, 2, 9, 40], [9, 8, 7, 6, 50]
    forward = anderson_darling(CellSample.of_counts(a), CellSample.of_counts(b))
    backward = anderson_darling(CellSample.of_counts(a[::-1]), CellSample.of_counts(b[::-1]))
    assert forward.statistic == pytest.approx(backward.statistic)
    assert forward.p_value == pytest.approx(backward.p_value)


def test_weights_of_one_change_nothing() -> None:
    rng = np.random.default_rng(2)
    cells = rng.integers(0, 9, size=300).astype(np.int64)
    plain = CellSample.of_rows(cells, 9, None)
    weighted = CellSample.of_rows(cells, 9, np.ones(300))
    reference = CellSample.of_counts([100] * 9)
    for test in (anderson_darling, coarse_chi_square, pooled_chi_square):
        assert test(reference, weighted).p_value == pytest.approx(
            test(reference, plain).p_value, rel=0.1
        )


def test_a_sample_drawn_with_unequal_probabilities_keeps_its_level() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(300):
        x = rng.random(1500)
        keep = np.where(x > 0.8, 0.9, 0.15)  # the upper fifth is captured six times as often
        taken = rng.random(1500) < keep
        cells = (x[taken] * 16).astype(np.int64)
        current = CellSample.of_rows(cells, 16, 1 / keep[taken])
        reference = CellSample.of_counts(np.bincount((rng.random(3000) * 16).astype(int)))
        hits += anderson_darling(reference, current).p_value <= 0.05
    assert hits / 300 <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_chi_square_over_several_cells_is_pearsons() -> None:
    a, b = [50, 60, 70], [30, 15, 40]
    expected = chi2_contingency([a, b], correction=False).pvalue
    found = chi_square(CellSample.of_counts(a), CellSample.of_counts(b))
    assert found.p_value == pytest.approx(expected, rel=0.02)


def test_rare_cells_are_pooled_until_they_hold_enough() -> None:
    shares = np.array([0.6, 0.02, 0.3, 0.01, 0.07])
    groups = rare_groups(shares, 100)
    sums = np.bincount(groups, shares * 100)
    assert (sums >= 5).all()
    assert groups[1] == groups[3] == groups[4]


@pytest.mark.parametrize("counts", [([0, 0], [0, 0]), ([5, 0], [9, 0]), ([5, 5], [0, 0]), ([], [])])
def test_nothing_to_compare_is_no_change(counts: tuple[list[int], list[int]]) -> None:
    a, b = (CellSample.of_counts(np.array(c, dtype=float)) for c in counts)
    for test in (anderson_darling, coarse_chi_square, pooled_chi_square):
        assert test(a, b).p_value == 1.0


def test_rank_correlations_are_spearmans() -> None:
    rng = np.random.default_rng(4)
    table = np.round(rng.normal(size=(200, 3)) + rng.normal(size=(200, 1)), 1)
    expected = spearmanr(table).statistic
    assert rank_correlations(table) == pytest.approx(expected)


def test_influences_have_the_variance_of_resampling_rows() -> None:
    rng = np.random.default_rng(5)
    table = rng.normal(size=(800, 3)) + 0.8 * rng.normal(size=(800, 1))
    model = pair_model(table, PAIRS)
    drawn = [
        np.arctanh(rank_correlations(table[rng.integers(0, 800, 800)])[0, 1]) for _ in range(400)
    ]
    assert z_variance(model)[0] / 800 == pytest.approx(np.var(drawn), rel=0.3)
    assert model.r[0] == pytest.approx(spearmanr(table[:, 0], table[:, 1]).statistic, abs=1e-3)


def test_a_broken_correlation_is_found_and_a_moved_marginal_is_none() -> None:
    rng = np.random.default_rng(6)

    def rows(n: int, r: float) -> NDArray[np.float64]:
        x = rng.normal(size=(n, 3))
        x[:, 1] = r * x[:, 0] + (1 - r * r) ** 0.5 * x[:, 1]
        return x

    reference = rows(3000, 0.8)
    model = pair_model(reference, PAIRS)
    null = bootstrap_null(reference, model, 100, draws=499)
    variance = z_variance(model) * (1 / 100 + 1 / 3000)
    first, second = PAIRS.T
    broken = compare_correlations(
        model.r, rank_correlations(rows(100, 0.0))[first, second], variance, null=null
    )
    moved = compare_correlations(
        model.r, rank_correlations(np.exp(rows(100, 0.8)) + 9)[first, second], variance, null=null
    )
    assert int(broken.adjusted.argmin()) == 0
    assert broken.p_value <= 0.01 < moved.p_value
    assert compare_correlations(model.r, model.r, variance).p_value > 0.9
    assert gaussian_null(model.influence, draws=50).shape == (50, 3)
    assert kendalltau(reference[:, 0], reference[:, 1]).statistic > 0


def test_holm_rejects_what_the_closed_test_rejects() -> None:
    rng = np.random.default_rng(7)
    for _ in range(50):
        p = rng.random(4) ** 3
        w = rng.random(4) + 0.1
        adjusted = holm(p, w)
        for i in range(4):
            worst = 0.0
            for bits in range(16):
                members = [j for j in range(4) if bits >> j & 1]
                if i in members:
                    share = w[members] / w[members].sum()
                    worst = max(worst, min(1.0, float((p[members] / share).min())))
            assert adjusted[i] == pytest.approx(worst)


def test_step_down_maxima_are_never_below_single_ones() -> None:
    rng = np.random.default_rng(8)
    null = rng.normal(size=(200, 5))
    observed = np.array([3.0, 2.0, 1.0, 0.5, -1.0])
    adjusted = step_down_max(observed, null)
    alone = (1 + (null >= observed).sum(axis=0)) / 201
    assert (adjusted >= alone - 1e-12).all()
    assert (np.diff(adjusted) >= 0).all()
