"""Twenty models share a budget that holds five, as seen from outside their process."""

from pathlib import Path

import pytest

from benchmarks.residency import HELD, budget_of, measure, save_models


@pytest.mark.slow
def test_twenty_models_asked_at_random_stay_within_a_budget_that_holds_five(
    tmp_path: Path,
) -> None:
    models = save_models(tmp_path)
    outcome = measure(tmp_path, models, budget_of(models), seconds=15)
    counts = outcome.counts
    assert (counts.failures, counts.wrong, counts.first_failure) == (0, 0, "")
    assert counts.loads > 20
    assert counts.evictions >= counts.loads - HELD
    assert outcome.samples > 100
    assert outcome.max_bytes > outcome.base_bytes + outcome.budget_bytes // 4
    assert outcome.is_within, (outcome.max_bytes - outcome.base_bytes, outcome.budget_bytes)
