"""Lanes: no request is lost or doubled, stacks hold what may run together, and order is kept."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.errors import DeadlineExceeded, Exhausted
from fogline.runtime.plan import ModelPlan
from fogline_edge.serving.config import ServingConfig
from fogline_edge.serving.jobs import Job
from fogline_edge.serving.lanes import DEFAULT_PRIORITY, Lane
from fogline_edge.serving.queue_policy import QueuePolicy
from fogline_edge.serving.scheduler import Lanes, loop_rows


@dataclass(slots=True)
class Asked:
    """What a lane looks at in a request."""

    rows: int = 1
    form: object = None
    priority: int = 0


@dataclass(slots=True)
class Leased:
    served: Any = None
    lanes: Any = None


@dataclass(slots=True)
class Caller:
    ended: list[Any] = field(default_factory=list)


FORMS = [object(), object()]


@dataclass(slots=True)
class Named:
    label: str = "model m@1"


def job(asked: Asked, arrived: float = 0.0, deadline: float = 60.0) -> Job:
    leased = Leased(Named())
    return Job(Caller(), leased, None, asked, arrived, arrived + deadline)  # type: ignore[arg-type]


def urgency(one: Job) -> int:
    return one.request.priority or DEFAULT_PRIORITY


def lane_of(*jobs: Job, max_rows: int = 64, max_delay_s: float = 0.0) -> Lane:
    lane = Lane(max_rows=max_rows, max_queued=1000, max_delay_s=max_delay_s)
    for one in jobs:
        lane.push(one)
    return lane


def drained(lane: Lane) -> list[list[Job]]:
    stacks = []
    while stack := lane.take():
        stacks.append(stack)
    return stacks


asked = st.builds(
    Asked,
    rows=st.integers(0, 9),
    form=st.sampled_from(FORMS),
    priority=st.integers(0, 4),
)


@given(st.lists(asked, max_size=60), st.integers(1, 16))
def test_every_job_is_taken_once_in_stacks_of_one_form_within_the_rows(
    requests: list[Asked], max_rows: int
) -> None:
    jobs = [job(r) for r in requests]
    lane = lane_of(*jobs, max_rows=max_rows)
    assert lane.queued == len(jobs)
    assert lane.queued_rows == sum(r.rows for r in requests)

    stacks = drained(lane)

    assert sorted(id(j) for s in stacks for j in s) == sorted(map(id, jobs))
    assert (lane.queued, lane.queued_rows) == (0, 0)
    for stack in stacks:
        if len(stack) > 1:
            assert len({id(j.request.form) for j in stack}) == 1
            assert sum(j.request.rows for j in stack) <= max_rows


@given(st.lists(asked, max_size=60), st.integers(1, 16))
def test_the_first_of_a_stack_is_the_most_urgent_and_oldest_that_waits(
    requests: list[Asked], max_rows: int
) -> None:
    jobs = [job(r) for r in requests]
    lane = lane_of(*jobs, max_rows=max_rows)
    left = sorted(jobs, key=lambda j: j.request.priority or DEFAULT_PRIORITY)  # stable: by arrival
    for stack in drained(lane):
        assert stack[0] is left[0]
        left = [j for j in left if j not in stack]


@given(st.lists(asked, min_size=1, max_size=30), st.data())
def test_a_job_that_is_discarded_is_not_taken(requests: list[Asked], data: st.DataObject) -> None:
    jobs = [job(r) for r in requests]
    lane = lane_of(*jobs)
    gone = data.draw(st.sampled_from(jobs))
    assert lane.discard(gone)
    assert not lane.discard(gone)
    assert gone not in [j for s in drained(lane) for j in s]
    assert lane.queued == 0


def test_a_request_of_more_rows_than_a_stack_holds_runs_alone() -> None:
    form = object()
    big, small = job(Asked(rows=100, form=form)), job(Asked(rows=1, form=form))
    assert drained(lane_of(big, small, max_rows=64)) == [[big], [small]]


def test_others_of_the_same_form_join_past_one_of_another_form() -> None:
    form = object()
    jobs = [job(Asked(form=f)) for f in (form, object(), form, form)]
    assert drained(lane_of(*jobs)) == [[jobs[0], jobs[2], jobs[3]], [jobs[1]]]


def test_a_stack_is_held_up_for_others_as_long_as_declared_and_no_longer() -> None:
    form = object()
    lane = lane_of(job(Asked(form=form), arrived=10.0), max_rows=2, max_delay_s=0.5)
    assert lane.ready_in_s(10.1) == pytest.approx(0.4)
    assert lane.ready_in_s(10.6) == 0.0
    lane.push(job(Asked(form=form), arrived=10.1))
    assert lane.ready_in_s(10.1) == 0.0


def test_the_wait_is_reckoned_from_what_rows_took() -> None:
    lane = lane_of(*(job(Asked(rows=5)) for _ in range(4)))
    assert lane.wait_s(2) == 0.0  # nothing is known, so nothing is refused
    lane.learn(rows=10, seconds=0.001)
    assert lane.wait_s(2) == pytest.approx(20 * 100e-6 / 2)


def test_the_wait_is_that_of_stacks_not_of_as_many_runs() -> None:
    lane = Lane(max_rows=50, max_queued=1000, one_row_us=1000.0, row_us=10.0)
    for _ in range(100):
        lane.push(job(Asked()))
    assert lane.wait_s(1) == pytest.approx(2 * (1000 + 49 * 10) * 1e-6)
    for _ in range(50):  # what a row takes alone says nothing against stacks
        lane.learn(rows=1, seconds=0.001)
    assert lane.wait_s(1) == pytest.approx(2 * (1000 + 49 * 10) * 1e-6)


def test_a_slow_phase_is_soon_forgotten() -> None:
    lane = Lane(max_rows=1, max_queued=9, one_row_us=1000.0, row_us=1000.0)
    for _ in range(100):
        lane.learn(rows=1, seconds=60.0)
    lane.push(job(Asked()))
    assert lane.wait_s(1) > 50
    with pytest.raises(DeadlineExceeded):
        lane.admit(job(Asked(), deadline=0.1), 1)
    for _ in range(20):
        lane.learn(rows=1, seconds=0.001)
    assert lane.wait_s(1) < 0.01
    lane.admit(job(Asked(), deadline=0.1), 1)


def test_an_empty_lane_admits_whatever_it_believes() -> None:
    """So a run can always correct the estimate, and no model is locked out for good."""
    lane = Lane(max_rows=1, max_queued=9, one_row_us=1e9, row_us=1e9)
    assert lane.admit(job(Asked(), deadline=0.001), 1) is None
    assert lane.queued == 1


@given(st.lists(asked, max_size=40), asked, st.integers(1, 12))
def test_a_full_lane_makes_room_for_a_higher_priority_alone(
    requests: list[Asked], new: Asked, max_queued: int
) -> None:
    lane = Lane(max_rows=8, max_queued=max_queued)
    waiting: list[Job] = []
    for one in [*map(job, requests), job(new)]:
        below = [j for j in waiting if urgency(j) > urgency(one)]
        if len(waiting) < max_queued:
            assert lane.admit(one, 1) is None
        elif not below:
            with pytest.raises(Exhausted, match=f"{max_queued} requests wait already"):
                lane.admit(one, 1)
            continue
        else:
            displaced = max(below, key=lambda j: (urgency(j), waiting.index(j)))
            assert lane.admit(one, 1) is displaced
            waiting.remove(displaced)
        waiting.append(one)
        assert (lane.queued, lane.queued_rows) == (
            len(waiting),
            sum(j.request.rows for j in waiting),
        )
    assert sorted(map(id, waiting)) == sorted(id(j) for s in drained(lane) for j in s)


def test_only_what_goes_before_a_request_counts_as_its_wait() -> None:
    lane = Lane(max_rows=1, max_queued=9, one_row_us=1e6, row_us=1e6)
    for _ in range(4):
        lane.push(job(Asked(priority=3)))
    with pytest.raises(DeadlineExceeded, match="the 4 requests that wait take about 4 s"):
        lane.admit(job(Asked(priority=3), deadline=3.0), 1)
    assert lane.admit(job(Asked(priority=1), deadline=0.5), 1) is None
    with pytest.raises(DeadlineExceeded):
        lane.admit(job(Asked(priority=2), deadline=0.5), 1)


def test_cheap_rows_go_to_the_loop_and_many_of_them_to_the_pool() -> None:
    plan = ModelPlan(placement="loop", one_row_us=20.0, row_us=10.0, max_stack=64)
    lanes = Lanes(plan, ServingConfig(loop_run_us=200.0))
    assert lanes.loop_rows == 19
    assert loop_rows(ModelPlan(placement="loop", one_row_us=300.0), 200.0) == 0
    assert loop_rows(ModelPlan(placement="auto", one_row_us=1.0), 200.0) == 0
    delayed = ModelPlan(placement="loop", one_row_us=1.0, row_us=1.0, max_delay_us=100)
    assert loop_rows(delayed, 200.0) == 0


def test_runs_of_several_threads_are_fewer_at_once() -> None:
    config = ServingConfig(max_running=4)
    for threads, declared, at_once in (
        (1, 0, 4),
        (2, 0, 2),
        (3, 0, 1),
        (8, 0, 1),
        (1, 3, 3),
        (2, 3, 2),
    ):
        lanes = Lanes(ModelPlan(threads=threads), config, QueuePolicy(max_running=declared))
        assert lanes.pool.max_running == at_once
