"""The accuracy alarm: its guarantee, its seasons, its state."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.errors import InvalidInput
from fogline.records import canonical_json, decode_json
from fogline.summaries import Reference
from fogline_hub.monitor import (
    AccuracyBlock,
    AccuracySettings,
    AccuracyState,
    block_index,
    run_accuracy,
    start_accuracy,
    update,
)
from fogline_hub.monitor.accuracy import season_profile

DAY_S = 86_400.0


def reference(errors: int = 100, rows: int = 500, season_s: float = 0.0) -> Reference:
    return Reference(season_s=season_s, labels=("0", "1"), confusion=(rows - errors, errors, 0, 0))


def blocks(errors: list[int], rows: int = 30, start: int = 0) -> list[AccuracyBlock]:
    return [AccuracyBlock(index=start + i, errors=e, rows=rows) for i, e in enumerate(errors)]


def binomial(rng: np.random.Generator, p: float, count: int, rows: int = 30) -> list[int]:
    return [int(e) for e in rng.binomial(rows, p, count)]


def test_a_healthy_model_rarely_alarms_even_at_the_edge_of_what_is_allowed() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(100):
        state = start_accuracy(reference(int(rng.binomial(500, 0.2))))
        alarms += run_accuracy(state, blocks(binomial(rng, 0.21, 300))).is_alarmed
    assert alarms <= 100 * 0.05 + 3 * (100 * 0.05 * 0.95) ** 0.5


def test_a_fall_after_a_long_health_is_found_soon() -> None:
    rng = np.random.default_rng(1)
    healthy, fallen = binomial(rng, 0.2, 500), binomial(rng, 0.45, 60)
    state = run_accuracy(start_accuracy(reference()), blocks(healthy))
    assert not state.is_alarmed
    state = run_accuracy(state, blocks(fallen, start=500))
    assert 500 <= state.alarm_index < 530
    assert state.evidence >= state.threshold
    assert "0.05" in state.guarantee


def test_seasons_are_no_fall() -> None:
    rng = np.random.default_rng(2)
    season = 0.2 + 0.15 * np.sin(2 * np.pi * np.arange(73) / 73)
    errors = [int(rng.binomial(20, season[i % 73])) for i in range(73 * 12)]
    state = start_accuracy(reference(season_s=73 * DAY_S))
    state = run_accuracy(state, blocks(errors, rows=20))
    assert not state.is_alarmed
    assert max(state.profile) == pytest.approx(0.15, abs=0.05)
    assert sum(state.profile) == pytest.approx(0, abs=1e-9)


def test_a_fall_in_the_first_season_is_found_when_it_is_large() -> None:
    rng = np.random.default_rng(3)
    state = start_accuracy(reference(season_s=73 * DAY_S))
    assert run_accuracy(state, blocks(binomial(rng, 0.55, 60))).is_alarmed


@given(st.lists(st.integers(0, 10), min_size=1, max_size=40), st.data())
@settings(max_examples=40, deadline=None)
def test_restarts_and_repeated_blocks_change_nothing(
    errors: list[int], data: st.DataObject
) -> None:
    season_s = data.draw(st.sampled_from([0.0, 7 * DAY_S]))
    chosen = AccuracySettings(blocks_per_season=7)
    begun = start_accuracy(reference(season_s=season_s), chosen)
    given_blocks = blocks(errors, rows=10)
    whole = run_accuracy(begun, given_blocks)
    state = begun
    for block in given_blocks:
        state = decode_json(canonical_json(state), AccuracyState, "state")
        state = update(state, block)
        repeated = given_blocks[data.draw(st.integers(0, block.index))]
        assert update(state, repeated) == state
    assert state == whole


def test_blocks_without_outcomes_bet_nothing() -> None:
    state = run_accuracy(start_accuracy(reference()), blocks([0, 0, 0], rows=0))
    assert (state.evidence, state.last_index) == (1.0, 2)


def test_blocks_are_stretches_of_event_time() -> None:
    state = start_accuracy(reference(season_s=73 * DAY_S))
    assert [block_index(state, round(t * 1e6)) for t in (0, DAY_S - 1, DAY_S)] == [0, 0, 1]
    counts = (5, 1, 2, 4)
    assert AccuracyBlock.of_confusion(3, counts) == AccuracyBlock(index=3, errors=3, rows=12)


def test_a_reference_without_enough_outcomes_is_refused() -> None:
    with pytest.raises(InvalidInput, match="held-out"):
        start_accuracy(Reference())
    with pytest.raises(InvalidInput, match="20 held-out"):
        start_accuracy(reference(2, 20))


def test_more_errors_than_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="3 errors in 2 rows"):
        update(start_accuracy(reference()), AccuracyBlock(index=0, errors=3, rows=2))


def test_nothing_seen_is_no_profile() -> None:
    assert season_profile((0,) * 12, (0,) * 12, 0.05) == (0.0,) * 12
