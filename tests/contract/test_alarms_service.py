"""The alarm service on a real lake and catalogue: once each, through restarts and late arrivals."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fogline.bundle import Bundle
from fogline.wire.fleet_pb2 import Summary
from fogline_hub.config import HubFolder
from fogline_hub.monitor.alarms import store as alarms
from fogline_hub.retrain import store
from tests.retraining import MODEL, START_US, RetrainingHub, first_bundle, policy

__all__ = ["first_bundle"]


@pytest.fixture
def hub(tmp_path: Path, first_bundle: Bundle) -> Iterator[RetrainingHub]:
    made = RetrainingHub(HubFolder(tmp_path / "hub"), first_bundle)
    yield made
    made.close()


def counts(hub: RetrainingHub) -> tuple[int, int, int, int]:
    """Verdicts, blocks, alarms, retrainings."""
    with hub.catalogue.reading() as connection:
        return (
            len(alarms.verdicts(connection, MODEL)),
            len(alarms.blocks(connection, MODEL, 1)),
            len(alarms.alarms(connection, MODEL)),
            len(store.listing(connection, MODEL)),
        )


def test_a_model_without_automation_is_left_alone(hub: RetrainingHub) -> None:
    hub.first_version(None)
    hub.live(2, is_changed=False)
    assert hub.jobs.alarms.tick() is False
    assert counts(hub) == (0, 0, 0, 0)


def test_restarts_between_arrivals_change_nothing_of_what_is_concluded(
    hub: RetrainingHub,
) -> None:
    hub.first_version(policy())
    for _ in range(3):
        hub.live(5, is_changed=False)
        hub.reopen()
        hub.notice()
    for _ in range(3):
        hub.live(6, is_changed=True)
        hub.notice()
        hub.reopen()
        hub.notice()
    # Of the 33 days the last is still allowed to be late, and the one before has minutes to go.
    assert counts(hub)[1:] == (31, 1, 1)
    assert hub.jobs.alarms.tick() is False
    with hub.catalogue.reading() as connection:
        blocks = alarms.block_accuracy(connection, MODEL, 1)
        (status,) = alarms.statuses(connection, MODEL)
    assert {b.rows for b in blocks} == {72}
    assert [b.start_us for b in blocks] == sorted(b.start_us for b in blocks)
    assert status.late_labelled == status.late_rows == status.refused == 0


def test_late_and_foreign_summaries_are_counted_not_taken(hub: RetrainingHub) -> None:
    hub.first_version(policy())
    hub.live(12, is_changed=False)
    hub.notice()
    before = counts(hub)
    late, foreign = Summary(), Summary()
    for message in (late, foreign):
        message.scope.model, message.scope.version = MODEL, 1
        message.scope.window_start_us, message.scope.window_us = START_US, 6 * 3_600_000_000
    late.confusion.labels.extend(["0", "1"])
    late.confusion.counts.extend([4, 0, 0, 3])
    foreign.rows = foreign.requests = 5
    foreign.inputs.add(name="unheard of")
    hub.store("dev-a", "summary", [late, foreign])
    hub.notice()
    with hub.catalogue.reading() as connection:
        (status,) = alarms.statuses(connection, MODEL)
    assert (status.late_labelled, status.refused) == (7, 1)
    assert counts(hub) == before


def test_an_operator_without_a_retrain_policy_gets_the_alarm_alone(hub: RetrainingHub) -> None:
    hub.first_version(replace(policy(), retrain=None))
    hub.live(12, is_changed=False)
    hub.live(14, is_changed=True)
    hub.notice()
    assert counts(hub)[2:] == (1, 0)
