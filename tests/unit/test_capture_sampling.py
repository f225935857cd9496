"""What a sample may promise: probabilities known before the draw, and estimates without bias."""

import doctest
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fogline.desired import CapturePolicy
from fogline_edge.capture import sampling
from fogline_edge.capture.sampling import HourlyBudget, draw, wanted_probabilities


def test_doctests() -> None:
    assert doctest.testmod(sampling).failed == 0


def test_the_hajek_estimate_of_the_mean_is_unbiased_also_when_uncertain_rows_are_favoured() -> None:
    """2,000 draws of one population: the average error is inside three of its standard errors.

    The plain mean of the same samples is off by more than twenty, so the weights do the work.
    """
    source = np.random.default_rng(5)
    margins = source.random(3000)
    value = 1.0 - margins + source.normal(0, 0.3, 3000)
    policy = CapturePolicy(sample_rate=0.05, strategy="uncertain")
    errors, plain = [], []
    for seed in range(2000):
        draws = Random(seed)
        budget = HourlyBudget(400)
        kept, weights = [], []
        for start in range(0, 3000, 100):
            part = slice(start, start + 100)
            wanted = wanted_probabilities(policy, 100, margins[part])
            p = budget.spend(wanted, now=float(start))
            rows = draw(p, draws)
            kept.append(value[part][rows])
            weights.append(1.0 / p[rows])
        y, w = np.concatenate(kept), np.concatenate(weights)
        errors.append((w * y).sum() / w.sum() - value.mean())
        plain.append(y.mean() - value.mean())
    standard_error = np.std(errors) / np.sqrt(len(errors))
    assert abs(np.mean(errors)) < 3 * standard_error
    assert np.mean(plain) > 20 * standard_error


def test_the_horvitz_thompson_count_is_unbiased() -> None:
    p = np.linspace(0.01, 0.9, 500)
    totals = [(1.0 / p[draw(p, Random(seed))]).sum() for seed in range(3000)]
    standard_error = np.std(totals) / np.sqrt(len(totals))
    assert abs(np.mean(totals) - 500) < 3 * standard_error


@given(
    max_rows=st.integers(1, 5000),
    batches=st.lists(st.tuples(st.integers(1, 400), st.floats(0, 300)), max_size=40),
    rate=st.floats(0.001, 1.0),
)
def test_no_hour_expects_more_than_twice_the_budget_and_no_row_is_beyond_reach(
    max_rows: int, batches: list[tuple[int, float]], rate: float
) -> None:
    budget = HourlyBudget(max_rows)
    now, spent = 0.0, []
    for rows, pause_s in batches:
        now += pause_s
        wanted = np.full(rows, rate)
        p = budget.spend(wanted, now)
        assert (p > 0).all()
        assert (p <= wanted).all()
        spent.append((now, float(p.sum())))
    for end, _ in spent:
        in_hour = sum(rows for at, rows in spent if end - 3600 < at <= end)
        assert in_hour <= 2 * max_rows + 1e-6


def test_steady_traffic_settles_at_the_budget() -> None:
    budget = HourlyBudget(3600)
    granted = [
        float(budget.spend(np.full(100, 1.0), float(second)).sum()) for second in range(20_000)
    ]
    assert abs(np.mean(granted[-3600:]) - 1.0) < 0.01


def test_traffic_below_half_the_budget_keeps_its_rate() -> None:
    budget = HourlyBudget(3600)
    for second in range(3600):
        assert budget.spend(np.full(2, 0.2), float(second)).tolist() == [0.2, 0.2]
