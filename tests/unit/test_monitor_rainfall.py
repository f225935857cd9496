"""Fifty years of real weather: the alarm comes with the fall of accuracy, and never without one."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.drift_calibration import rainfall
from fogline.summaries import build_reference
from fogline_hub.monitor import AccuracyBlock, AccuracyState, block_index, start_accuracy, update

TRAINED = 1826
DAY_US = 86_400 * 10**6


def served(rows: NDArray[np.float64]) -> AccuracyState:
    """Trains on the first rows, serves all others in order, and returns the alarm's last state."""
    features, outcome = rows[:, :8], rows[:, 8].astype(np.int64)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    expected = cross_val_predict(model, features[:TRAINED], outcome[:TRAINED], cv=5)
    model.fit(features[:TRAINED], outcome[:TRAINED])
    wrong = model.predict(features[TRAINED:]) != outcome[TRAINED:]
    state = start_accuracy(
        build_reference(
            {},
            labels=("0", "1"),
            held_out=(outcome[:TRAINED], expected),
            season_s=365.25 * 86_400,
        )
    )
    days = np.arange(TRAINED, len(rows))
    blocks = np.array([block_index(state, int(day) * DAY_US) for day in days])
    for index in np.unique(blocks):
        inside = wrong[blocks == index]
        state = update(
            state, AccuracyBlock(index=int(index), errors=int(inside.sum()), rows=len(inside))
        )
        if state.is_alarmed:
            break
    return state


def test_the_fall_is_found_within_half_a_year_and_nothing_before_it() -> None:
    state = served(rainfall())
    years = state.alarm_index * state.block_s / (365.25 * 86_400)
    assert 32.5 < years < 33.5


@pytest.mark.parametrize("seed", range(3))
def test_the_same_rows_shuffled_in_time_raise_no_alarm(seed: int) -> None:
    assert not served(np.random.default_rng(seed).permutation(rainfall())).is_alarmed
