"""Intervals, dependence and betting, against exact laws, brute force and simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest, wasserstein_distance

from fogline_hub.statistics.betting import SleepingBets, betting_interval
from fogline_hub.statistics.dependence import (
    autocorrelation_time,
    block_rows,
    intraclass_correlation,
    resembles_neighbours,
)
from fogline_hub.statistics.design import block_design_effect
from fogline_hub.statistics.effects import (
    kolmogorov_distance,
    population_stability,
    total_variation,
    wasserstein,
)
from fogline_hub.statistics.intervals import (
    clopper_pearson_upper,
    newcombe_difference,
    wilson,
)
from fogline_hub.statistics.shares import CellSample
from fogline_hub.statistics.weights import effective_size, hajek


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (57, 100)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (57, 100)])
def test_clopper_pearson_is_scipys(k: int, n: int) -> None:
    expected = binomtest(k, n, alternative="less").proportion_ci(0.975, method="exact").high
    assert clopper_pearson_upper(k, n, 0.025) == pytest.approx(expected)


def test_intervals_without_rows_say_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert newcombe_difference((0, 0), (1, 2)) == (-1.0, 1.0)
    assert clopper_pearson_upper(0, 0, 0.05) == 1.0


def test_hajek_covers_under_unequal_probabilities() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        x = (rng.random(4000) < 0.3).astype(float)
        pi = np.where(x == 1, 0.4, 0.1)
        taken = rng.random(4000) < pi
        found = hajek(x[taken], 1 / pi[taken])
        low, high = wilson(found.mean * found.effective_rows, found.effective_rows)
        covered += low <= 0.3 <= high
    assert covered / 400 >= 0.95 - 3 * (0.05 * 0.95 / 400) ** 0.5
    assert effective_size([]) == 0.0


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.5])
def test_autocorrelation_time_of_a_first_order_series(phi: float) -> None:
    rng = np.random.default_rng(1)
    x = np.zeros(8000)
    for i in range(1, len(x)):
        x[i] = phi * x[i - 1] + rng.standard_normal()
    found = autocorrelation_time(x)
    assert found.rows == pytest.approx((1 + phi) / (1 - phi), abs=4 * found.standard_error)
    assert (resembles_neighbours(x) < 0.001) == (phi > 0)
    assert block_rows(found.rows) >= 10


def test_a_constant_series_is_independent() -> None:
    assert autocorrelation_time(np.ones(50)).rows == 1.0
    assert resembles_neighbours(np.ones(50)) == 1.0


def test_intraclass_correlation_of_devices_that_share_an_offset() -> None:
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(200), 30)
    x = rng.normal(size=200)[groups] * 0.2**0.5 + rng.normal(size=6000) * 0.8**0.5
    found = intraclass_correlation(x, groups)
    assert found.value == pytest.approx(0.2, abs=0.05)
    assert found.p_value < 1e-6
    assert intraclass_correlation(rng.normal(size=6000), groups).p_value > 0.01
    assert intraclass_correlation([1.0], np.array([0])).p_value == 1.0


def test_the_design_effect_of_dependent_blocks_is_found() -> None:
    rng = np.random.default_rng(3)
    phi = 0.6  # tau = 4
    found = []
    for _ in range(20):
        x = np.zeros(600)
        for i in range(1, 600):
            x[i] = phi * x[i - 1] + rng.standard_normal() * (1 - phi**2) ** 0.5
        cells = np.searchsorted([-1.0, -0.5, 0.0, 0.5, 1.0], x).reshape(60, 10)
        counts = np.array([np.bincount(c, minlength=6) for c in cells])
        found.append(block_design_effect(counts, ordered=True).value)
    assert 3 <= np.median(found) <= 8


def test_effects_are_those_of_the_shares() -> None:
    a, b = CellSample.of_counts([10, 20, 30, 40]), CellSample.of_counts([40, 30, 20, 10])
    assert kolmogorov_distance(a, b, 0.05).value == pytest.approx(0.4)
    assert total_variation(a, b, 0.05).value == pytest.approx(0.4)
    moved = wasserstein(a, b, np.array([0.0, 1, 2, 3, 4]), 2.0, 0.05)
    rows = [np.repeat([0.5, 1.5, 2.5, 3.5], n) for n in ([10, 20, 30, 40], [40, 30, 20, 10])]
    assert moved.value == pytest.approx(wasserstein_distance(*rows) / 2)


@pytest.mark.parametrize("measure", [kolmogorov_distance, total_variation])
def test_intervals_of_effects_cover(measure) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(4)
    p, q = np.full(16, 1 / 16), np.linspace(1, 2, 16) / np.linspace(1, 2, 16).sum()
    large = (CellSample.of_counts(p * 1e9), CellSample.of_counts(q * 1e9))
    truth = measure(*large, 0.05).value
    missed_low = missed_high = 0
    for _ in range(400):
        a = CellSample.of_counts(rng.multinomial(2000, p))
        b = CellSample.of_counts(rng.multinomial(400, q))
        effect = measure(a, b, 0.05)
        missed_low += truth < effect.low
        missed_high += truth > effect.high
    assert max(missed_low, missed_high) / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_stability_of_equal_samples_is_near_zero_and_has_an_interval() -> None:
    rng = np.random.default_rng(5)
    values = []
    for _ in range(100):
        a = CellSample.of_counts(rng.multinomial(500, np.full(10, 0.1)))
        b = CellSample.of_counts(rng.multinomial(300, np.full(10, 0.1)))
        values.append(population_stability(a, b, 0.05).value)
    assert np.mean(values) < 0.02


def test_wealth_of_sleeping_bets_does_not_grow_under_the_null() -> None:
    rng = np.random.default_rng(6)
    ever = 0
    for _ in range(200):
        bets, top = SleepingBets(), 0.0
        for x in rng.random(400) < 0.3:
            bets = bets.observe(float(x), bound=0.3, hazard=0.01)
            top = max(top, bets.wealth)
        ever += top >= 20
    assert ever / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_betting_intervals_hold_at_all_times() -> None:
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(60):
        x = (rng.random(200) < 0.7).astype(float)
        for n in (5, 50, 200):
            low, high = betting_interval(x[:n], 0.9, grid=200)
            if not low <= 0.7 <= high:
                missed += 1
                break
    assert missed / 60 <= 0.1 + 3 * (0.1 * 0.9 / 60) ** 0.5
    assert betting_interval([]) == (0.0, 1.0)
