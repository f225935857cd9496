import doctest
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.errors import Conflict, InvalidInput
from fogline_hub.rollouts import hearing
from fogline_hub.rollouts.states import ENDED, TRANSITIONS, Event, State, move
from fogline_hub.rollouts.tripwires import (
    DeviceOutcome,
    Outcome,
    Verdict,
    WavePolicy,
    judge_wave,
)
from fogline_hub.rollouts.waves import parse_waves, wave_of_each


def test_the_examples_of_hearing_are_true() -> None:
    assert doctest.testmod(hearing).failed == 0


DEVICES = st.sets(st.text("abcdef0123456789", min_size=4, max_size=8), max_size=60)


@given(st.lists(st.sampled_from(Event)))
def test_any_events_lead_only_along_the_table_and_never_out_of_an_end(events: list[Event]) -> None:
    state = State.PENDING
    for event in events:
        if (state, event) in TRANSITIONS:
            assert state not in ENDED
            state = move("rollout 1", state, event)
        else:
            with pytest.raises(Conflict, match=f"rollout 1 is {state.value} and cannot"):
                move("rollout 1", state, event)


@pytest.mark.parametrize("state", [s for s in State if s not in ENDED])
def test_every_unfinished_state_can_be_aborted(state: State) -> None:
    assert move("rollout 1", state, Event.ABORT) is State.ABORTED


@given(DEVICES, st.text(max_size=5))
def test_every_device_gets_exactly_one_wave_in_cumulative_sizes(
    devices: set[str], seed: str
) -> None:
    waves = parse_waves("1,10%,50%,100%")
    assigned = wave_of_each(waves, devices, seed)
    assert set(assigned) == devices
    reached = [sum(w <= i for w in assigned.values()) for i in range(len(waves))]
    assert all(a <= b for a, b in pairwise(reached))
    assert reached[0] == min(1, len(devices))
    assert reached[-1] == len(devices)


def test_the_order_depends_on_the_seed_and_not_on_the_order_given() -> None:
    devices = [f"d{i}" for i in range(20)]
    first = wave_of_each(("1", "100%"), devices, "1")
    assert first == wave_of_each(("1", "100%"), reversed(devices), "1")
    assert any(first != wave_of_each(("1", "100%"), devices, str(s)) for s in range(2, 8))


@pytest.mark.parametrize("text", ["", "0,100%", "101%", "1,50%", "x", "-1,100%", "1;100%", "50.5%"])
def test_waves_that_make_no_sense_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match="--waves"):
        parse_waves(text)


def outcomes(*states: Outcome, silent_s: float = 0) -> list[DeviceOutcome]:
    return [
        DeviceOutcome(device=f"d{i}", outcome=s, reason="too slow", silent_s=silent_s)
        for i, s in enumerate(states)
    ]


def test_a_rejected_version_stops_the_wave_and_says_why() -> None:
    judged = judge_wave(
        outcomes(Outcome.ACTIVE, Outcome.FAILED), WavePolicy(), elapsed_s=1, active_s=0
    )
    assert judged.verdict is Verdict.TRIP
    assert judged.reason == "1 of 2 devices failed, at most 0 may; d1: too slow"


def test_a_wave_advances_at_the_share_after_the_soak() -> None:
    policy = WavePolicy(soak_s=10)
    wave = outcomes(*[Outcome.ACTIVE] * 9, Outcome.WAITING)
    assert judge_wave(wave, policy, elapsed_s=20, active_s=5).verdict is Verdict.WAIT
    assert judge_wave(wave, policy, elapsed_s=20, active_s=10).verdict is Verdict.ADVANCE
    wave = outcomes(*[Outcome.ACTIVE] * 8, Outcome.WAITING, Outcome.WAITING)
    assert judge_wave(wave, policy, elapsed_s=20, active_s=10).verdict is Verdict.WAIT


def test_a_device_that_never_answers_and_one_that_falls_silent_have_failed() -> None:
    policy = WavePolicy(wave_timeout_s=60, silence_s=30)
    late = judge_wave(outcomes(Outcome.WAITING), policy, elapsed_s=61, active_s=0)
    assert late.verdict is Verdict.TRIP
    assert "not active after 60 s" in late.reason
    silent = judge_wave(outcomes(Outcome.ACTIVE, silent_s=31), policy, elapsed_s=61, active_s=50)
    assert silent.verdict is Verdict.TRIP
    assert "silent for 31 s" in silent.reason


def test_a_wave_that_never_gets_its_share_stops_though_its_failures_are_allowed() -> None:
    policy = WavePolicy(max_failures=5, wave_timeout_s=60)
    wave = outcomes(*[Outcome.ACTIVE] * 8, Outcome.FAILED, Outcome.FAILED)
    assert judge_wave(wave, policy, elapsed_s=60, active_s=0).verdict is Verdict.WAIT
    judged = judge_wave(wave, policy, elapsed_s=61, active_s=0)
    assert judged.verdict is Verdict.TRIP
    assert judged.reason == "8 of 10 devices are active after 60 s, 90% of them must be"


def test_an_allowed_failure_by_silence_is_not_an_active_device() -> None:
    policy = WavePolicy(max_failures=1, silence_s=30)
    wave = outcomes(Outcome.ACTIVE, silent_s=31)
    assert judge_wave(wave, policy, elapsed_s=1, active_s=1).verdict is Verdict.WAIT


def test_a_late_device_is_named_with_its_last_word() -> None:
    judged = judge_wave(outcomes(Outcome.WAITING), WavePolicy(), elapsed_s=601, active_s=0)
    assert judged.reason.endswith("d0: not active after 600 s; its last word: too slow")


def test_a_share_that_is_met_exactly_is_met_whatever_the_rounding() -> None:
    policy = WavePolicy(advance_share=0.14)
    wave = outcomes(*[Outcome.ACTIVE] * 7, *[Outcome.WAITING] * 43)
    assert 0.14 * 50 > 7
    assert judge_wave(wave, policy, elapsed_s=0, active_s=0).verdict is Verdict.ADVANCE


def test_an_empty_wave_passes() -> None:
    assert judge_wave([], WavePolicy(), elapsed_s=0, active_s=0).verdict is Verdict.ADVANCE
