"""Counts and times of versions, from runs made up."""

from dataclasses import dataclass, field

import pytest

from fogline.clock import ManualClock
from fogline.errors import DeadlineExceeded, Exhausted, FoglineError, InvalidInput
from fogline_edge.serving.jobs import Ran
from fogline_edge.serving.statistics import MAX_VERSIONS, Statistics


@dataclass(slots=True)
class Version:
    name: str = "m"
    version: int = 1


@dataclass(slots=True)
class Asked:
    rows: int


@dataclass(slots=True)
class Asking:
    """What statistics look at in a job."""

    arrived: float
    request: Asked
    served: Version = field(default_factory=Version)


def ran(*arrived: float, rows: int = 1, error: FoglineError | None = None) -> Ran:
    """Put together at 10.0, run from 10.1 to 10.4."""
    jobs = [Asking(at, Asked(rows)) for at in arrived]
    return Ran(jobs, {}, {}, error, 10.0, 10.1, 10.4)  # type: ignore[arg-type]


def recorded(run: Ran, failed: dict[int, FoglineError] | None = None) -> Statistics:
    """Answers were written at 10.5."""
    statistics = Statistics(ManualClock())
    latency_us = [int((10.5 - job.arrived) * 1e6) for job in run.jobs]
    rows = sum(job.request.rows for job in run.jobs)
    statistics.record(run, rows, latency_us, 10.5, failed or {})
    return statistics


def test_a_stacks_time_counts_for_each_request_in_it() -> None:
    (found,) = recorded(ran(9.0, 9.5, rows=2)).snapshot()
    assert (found.success.count, found.rows, found.runs, found.failures) == (2, 4, 1, {})
    assert found.queue.ns == pytest.approx(1.5e9)
    assert found.join.ns == pytest.approx(0.2e9)
    assert found.infer.ns == pytest.approx(0.6e9)
    assert found.encode.ns == pytest.approx(0.2e9)
    assert found.success.ns == pytest.approx(2.5e9)
    assert {rows: s.runs for rows, s in found.stacks.items()} == {4: 1}
    assert sum(found.latency) == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("no"), "INVALID_ARGUMENT"),
        (DeadlineExceeded("late"), "DEADLINE_EXCEEDED"),
        (Exhausted("full"), "RESOURCE_EXHAUSTED"),
        (FoglineError("ours"), "INTERNAL"),
    ],
)
def test_failures_are_counted_by_their_true_kind(error: FoglineError, status: str) -> None:
    (found,) = recorded(ran(9.0, 9.5, error=error)).snapshot()
    assert found.failures == {status: 2}
    assert (found.success.count, found.failure.count, found.runs) == (0, 2, 0)
    assert found.failure.ns == pytest.approx(2.5e9)

    (found,) = recorded(ran(9.0, 9.5, 9.75, rows=2), {1: error}).snapshot()
    assert found.failures == {status: 1}
    assert (found.success.count, found.failure.count, found.rows, found.runs) == (2, 1, 4, 1)
    assert found.failure.ns == pytest.approx(1.0e9)
    assert found.success.ns == pytest.approx(2.25e9)
    assert sum(found.latency) == 2


def test_a_run_of_which_no_answer_was_good_is_a_run_all_the_same() -> None:
    error = InvalidInput("no")
    (found,) = recorded(ran(9.0, 9.5), {0: error, 1: error}).snapshot()
    assert (found.success.count, found.failure.count, found.runs) == (0, 2, 1)
    assert (found.success.ns, found.infer.ns, sum(found.latency)) == (0, 0, 0)


def test_the_number_of_versions_is_bounded() -> None:
    statistics = Statistics(ManualClock())
    for version in range(MAX_VERSIONS + 5):
        statistics.refuse("m", version, "NOT_FOUND")
    found = statistics.snapshot()
    assert len(found) == MAX_VERSIONS
    assert found[0].version == 5


def test_a_pipelines_step_counts_for_the_model_that_it_ran() -> None:
    statistics = Statistics(ManualClock())
    statistics.record_step("m", 1, 3, 0.25, None)
    statistics.record_step("m", 1, 3, 0.5, DeadlineExceeded("late"))
    (found,) = statistics.snapshot()
    assert (found.rows, found.runs, found.success.count) == (3, 1, 1)
    assert (found.success.ns, found.infer.ns, found.queue.ns) == (250_000_000, 250_000_000, 0)
    assert (found.failure.count, found.failure.ns) == (1, 500_000_000)
    assert found.failures == {"DEADLINE_EXCEEDED": 1}
    assert {rows: s.runs for rows, s in found.stacks.items()} == {3: 1}
    assert sum(found.latency) == 1
