"""From traffic that changes to a promoted challenger, with every room real."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fogline.bundle import Bundle
from fogline_hub import audit
from fogline_hub.config import HubFolder, JobsConfig
from fogline_hub.monitor.alarms import store as alarms
from fogline_hub.retrain import State
from tests.retraining import MODEL, RetrainingHub, first_bundle, policy

__all__ = ["first_bundle"]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hub(tmp_path: Path, first_bundle: Bundle) -> Iterator[RetrainingHub]:
    config = JobsConfig(timing_budget_s=0.05, trainer_path=str(ROOT))
    made = RetrainingHub(HubFolder(tmp_path / "hub"), first_bundle, jobs_config=config)
    yield made
    made.close()


def run_until(hub: RetrainingHub, state: State) -> None:
    for _ in range(8):
        if hub.newest().state is state:
            return
        hub.jobs.retrainer.tick()
    raise AssertionError(f"{hub.newest().state}: {hub.newest().reason}")


def changed(hub: RetrainingHub) -> None:
    """A hub whose alarm has just set off a retraining."""
    hub.live(12, is_changed=False)
    hub.live(24, is_changed=True)
    hub.notice()


def test_a_change_is_noticed_retrained_for_and_the_better_version_promoted(
    hub: RetrainingHub,
) -> None:
    hub.first_version(policy())
    hub.live(30, is_changed=False)
    hub.notice()
    with hub.catalogue.reading() as connection:
        assert alarms.alarms(connection, MODEL) == ()
        assert len(alarms.verdicts(connection, MODEL)) == 3
    hub.live(30, is_changed=True)
    hub.notice()
    with hub.catalogue.reading() as connection:
        (alarm,) = alarms.alarms(connection, MODEL)
    change_day = (alarm.change_us - 1_577_836_800 * 10**6) / 86_400e6
    assert 29 <= change_day <= 31
    assert hub.newest().alarm == alarm.id
    run_until(hub, State.ROLLING_OUT)
    going = hub.newest()
    assert going.challenger == 2
    assert going.judgement is not None
    assert going.judgement.over_champion.low > 0
    hub.roll(going)
    run_until(hub, State.PROMOTED)
    assert hub.champion() == 2
    with hub.catalogue.reading() as connection:
        assert alarms.alarms(connection, MODEL)[0].resolved_at is not None
        actions = [r.action for r in audit.list(connection, limit=1000)]
    for action in ("alarm.opened", "retraining.training", "retraining.promoted", "alarm.resolved"):
        assert action in actions


def test_a_challenger_that_learnt_nothing_is_rejected_and_the_next_waits_its_time(
    hub: RetrainingHub,
) -> None:
    hub.first_version(policy(trainer="tests.trainers:train_a_constant"))
    changed(hub)
    run_until(hub, State.REJECTED)
    first = hub.newest()
    assert "not shown to beat" in first.reason
    assert first.challenger is None
    hub.live(6, is_changed=True)
    hub.notice()
    assert hub.newest().id == first.id
    hub.live(6, is_changed=True)
    hub.notice()
    assert (hub.newest().id, hub.newest().state) == (first.id + 1, State.GATHERING)


def test_a_trainer_that_fails_ends_the_attempt_with_its_last_words(hub: RetrainingHub) -> None:
    hub.first_version(policy(trainer="tests.trainers:train_and_fail"))
    changed(hub)
    run_until(hub, State.FAILED)
    assert "no luck today" in hub.newest().reason
    assert hub.champion() == 1


def test_a_device_that_refuses_the_challenger_keeps_the_champion(hub: RetrainingHub) -> None:
    hub.first_version(policy())
    changed(hub)
    run_until(hub, State.ROLLING_OUT)
    hub.roll(hub.newest(), rejected=True)
    run_until(hub, State.REJECTED)
    assert "too slow" in hub.newest().reason
    assert hub.champion() == 1
    with hub.catalogue.reading() as connection:
        assert alarms.alarms(connection, MODEL)[0].resolved_at is None
