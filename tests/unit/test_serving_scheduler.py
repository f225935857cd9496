"""The scheduler: where jobs run, in which order, and what ends them."""

import sys
import threading

import numpy as np
import pytest

from fogline.clock import wait_until
from fogline.errors import DeadlineExceeded, Exhausted, InvalidInput, Unavailable
from fogline.runtime.plan import ModelPlan
from fogline.tensors import Array
from tests.desk import LOOP, POOL, Gate, desk


def test_cheap_requests_of_one_poll_run_together_on_the_thread_that_flushes() -> None:
    with desk() as d:
        gate = Gate()
        d.add(gate, LOOP)
        jobs = [d.submit(float(i)) for i in range(5)]
        assert gate.runs == []
        d.scheduler.flush()
        assert gate.runs == [5]
        assert gate.threads == [threading.current_thread().name]
        (ran,) = d.ran
        assert list(ran.jobs) == jobs
        np.testing.assert_array_equal(ran.outputs["y"][:, 0], [0.0, 2.0, 4.0, 6.0, 8.0])


def test_a_model_that_is_not_proven_to_stack_runs_one_request_at_a_time() -> None:
    with desk() as d:
        gate = Gate()
        d.add(gate, ModelPlan(placement="loop", one_row_us=1.0, row_us=1.0))
        for _ in range(3):
            d.submit()
        d.scheduler.flush()
        assert gate.runs == [1, 1, 1]


def test_expensive_requests_run_in_the_pool_and_stack_while_it_is_busy() -> None:
    with desk(max_running=1) as d:
        gate = Gate(is_open=False)
        d.add(gate, POOL)
        d.submit()
        d.scheduler.flush()
        assert wait_until(lambda: gate.runs == [1], timeout_s=10)
        for _ in range(4):
            d.submit()
        d.scheduler.flush()
        gate.opened.set()
        d.wait(5)
        assert gate.runs == [1, 4]
        assert threading.current_thread().name not in gate.threads


def test_one_busy_model_does_not_starve_another() -> None:
    with desk(max_running=1) as d:
        busy, other = Gate(is_open=False), Gate()
        d.add(busy, ModelPlan(placement="pool"), "busy")
        d.add(other, ModelPlan(placement="pool"), "other")
        for _ in range(50):
            d.submit(name="busy")
        d.scheduler.flush()
        assert wait_until(lambda: busy.runs == [1], timeout_s=10)
        d.submit(name="other")
        d.scheduler.flush()
        busy.opened.set()
        d.wait(51)
        names = [r.jobs[0].served.name for r in d.ran]
        assert names.index("other") <= 2


def test_urgent_requests_go_first() -> None:
    with desk(max_running=1) as d:
        gate = Gate(is_open=False)
        d.add(gate, ModelPlan(placement="pool"))
        d.submit()
        d.scheduler.flush()
        assert wait_until(lambda: gate.runs == [1], timeout_s=10)
        later, usual, urgent = d.submit(priority=3), d.submit(), d.submit(priority=1)
        d.scheduler.flush()
        gate.opened.set()
        d.wait(4)
        assert [r.jobs[0] for r in d.ran[1:]] == [urgent, usual, later]


def test_one_bad_request_does_not_cost_its_stack_the_answers() -> None:
    with desk() as d:
        d.add(Gate(), LOOP)
        good, bad, fine = d.submit(1.0), d.submit(float("nan")), d.submit(3.0)
        d.scheduler.flush()
        errors = {id(r.jobs[0]): r.error for r in d.ran}
        assert errors[id(good)] is None
        assert errors[id(fine)] is None
        assert isinstance(errors[id(bad)], InvalidInput)


def test_a_full_queue_refuses_and_keeps_what_it_has() -> None:
    with desk(max_running=1, max_queued=3) as d:
        gate = Gate(is_open=False)
        d.add(gate, POOL)
        for _ in range(4):  # one of them has a place already
            d.submit()
        with pytest.raises(Exhausted, match="4 requests wait already"):
            d.submit()
        gate.opened.set()
        d.scheduler.flush()
        d.wait(4)


def test_cheap_requests_of_several_forms_and_models_run_in_stacks_of_their_own() -> None:
    with desk() as d:
        one, two = Gate(), Gate()
        d.add(one, LOOP, "one")
        d.add(two, LOOP, "two")
        for i in range(10):
            d.submit(float(i), name="one")
            d.submit(float(i), name="two", rows=3)
        d.scheduler.flush()
        assert (one.runs, two.runs) == ([10], [30])


def test_stacks_keep_to_the_rows_that_were_proven() -> None:
    with desk() as d:
        gate = Gate()
        d.add(gate, ModelPlan(placement="loop", one_row_us=1.0, row_us=1.0, max_stack=4))
        jobs = [d.submit(float(i), rows=rows) for i, rows in enumerate((3, 1, 2, 3, 9, 1))]
        d.scheduler.flush()
        assert gate.runs == [4, 2, 3, 9, 1]
        assert [j for ran in d.ran for j in ran.jobs] == jobs


def test_urgent_cheap_requests_go_first() -> None:
    with desk() as d:
        d.add(Gate(), ModelPlan(placement="loop", one_row_us=1.0, row_us=1.0))
        later, usual, urgent = d.submit(priority=3), d.submit(), d.submit(priority=1)
        d.scheduler.flush()
        assert [r.jobs[0] for r in d.ran] == [urgent, usual, later]


def test_what_cannot_be_answered_in_time_is_refused_at_once() -> None:
    with desk(max_running=1) as d:
        gate = Gate(is_open=False)
        d.add(gate, ModelPlan(placement="pool", one_row_us=1e6))
        d.submit()
        d.scheduler.flush()
        assert wait_until(lambda: gate.runs == [1], timeout_s=10)
        d.submit(seconds=30)
        with pytest.raises(DeadlineExceeded, match="requests that wait take about"):
            d.submit(seconds=0.5)
        gate.opened.set()


def test_a_request_whose_deadline_passes_while_it_waits_is_told_then() -> None:
    with desk(max_running=1) as d:
        gate = Gate(is_open=False)
        d.add(gate, ModelPlan(placement="pool"))
        d.submit()
        d.scheduler.flush()
        assert wait_until(lambda: gate.runs == [1], timeout_s=10)
        late = d.submit(seconds=0.02)
        (told,) = d.wait(1)
        assert list(told.jobs) == [late]
        assert isinstance(told.error, DeadlineExceeded)
        gate.opened.set()
        d.wait(2)
        assert gate.runs == [1]


def test_a_request_that_is_given_up_leaves_the_queue_or_ends_its_run() -> None:
    with desk(max_running=1) as d:
        gate = Gate(is_open=False)
        d.add(gate, ModelPlan(placement="pool"))
        running, queued = d.submit(), None
        d.scheduler.flush()
        assert wait_until(lambda: gate.runs == [1], timeout_s=10)
        queued = d.submit()
        queued.call.ended()  # type: ignore[attr-defined]
        assert isinstance(d.ran[0].error, Unavailable)
        running.call.ended()  # type: ignore[attr-defined]
        d.wait(2)
        assert isinstance(d.ran[1].error, Unavailable)
        assert gate.runs == [1]


def test_threads_that_flush_at_once_share_the_work_and_lose_nothing() -> None:
    with desk(max_queued=10_000) as d:
        gate = Gate()
        d.add(gate, LOOP)

        def ask() -> None:
            for _ in range(200):
                d.submit()
                d.scheduler.flush()

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        d.wait(800)
        assert sum(gate.runs) == 800
        assert gate.most <= 2


def test_a_declared_delay_lets_more_requests_join() -> None:
    with desk() as d:
        gate = Gate()
        d.add(
            gate,
            ModelPlan(
                placement="loop", one_row_us=1, row_us=1, max_stack=4, max_delay_us=5_000_000
            ),
        )
        for _ in range(4):
            d.submit()
            d.scheduler.flush()
        d.wait(4)
        assert gate.runs == [4]


def test_a_fault_of_ours_is_told() -> None:
    with desk() as d:
        gate = Gate()
        gate.run = None  # type: ignore[assignment,method-assign]
        d.add(gate, LOOP)
        d.submit()
        d.scheduler.flush()
        assert "internal error" in str(d.ran[0].error)


@pytest.mark.parametrize("plan", [LOOP, ModelPlan(placement="pool")])
def test_code_of_a_model_that_asks_to_exit_is_a_fault_like_others(plan: ModelPlan) -> None:
    class Leaving(Gate):
        def run(self, *arguments: object) -> dict[str, Array]:
            sys.exit("enough")

    with desk(max_running=1) as d:
        d.add(Leaving(), plan)
        for _ in range(3):
            d.submit()
            d.scheduler.flush()
        assert {str(r.error) for r in d.wait(3)} == {"internal error (SystemExit)"}


def test_a_closed_scheduler_finishes_what_waits_and_takes_no_more() -> None:
    with desk(max_running=1) as d:
        gate = Gate()
        d.add(gate, ModelPlan(placement="pool"))
        for _ in range(5):
            d.submit()
        d.scheduler.flush()
        d.scheduler.close()
        assert sum(len(r.jobs) for r in d.ran) == 5
        with pytest.raises(Unavailable, match="stopping"):
            d.submit()


def test_a_request_without_rows_runs_where_its_model_does() -> None:
    with desk() as d:
        gate = Gate()
        d.add(gate, ModelPlan(placement="pool"))
        d.submit(rows=0)
        d.scheduler.flush()
        d.wait(1)
        assert threading.current_thread().name not in gate.threads


def test_what_is_submitted_in_two_polls_runs_side_by_side() -> None:
    with desk(max_running=2) as d:
        gate = Gate()
        d.add(gate, ModelPlan(placement="pool"))
        d.submit()
        d.scheduler.flush()
        d.wait(1)
        assert wait_until(lambda: d.scheduler.pool_threads == 1, timeout_s=10)
        gate.opened.clear()
        for _ in range(2):  # the thread that is told first may not have woken yet
            d.submit()
            d.scheduler.flush()
        assert wait_until(lambda: gate.most == 2, timeout_s=10)
        gate.opened.set()
        d.wait(3)


def test_a_higher_priority_takes_the_place_of_the_last_of_the_lowest() -> None:
    with desk(max_running=1, max_queued=2) as d:
        gate = Gate(is_open=False)
        d.add(gate, ModelPlan(placement="pool"))
        d.submit()
        d.scheduler.flush()
        assert wait_until(lambda: gate.runs == [1], timeout_s=10)
        kept, displaced = d.submit(priority=5), d.submit(priority=5)
        urgent = d.submit(priority=1)
        (told,) = d.ran
        assert list(told.jobs) == [displaced]
        assert isinstance(told.error, Exhausted)
        assert str(told.error).startswith("model m@1: as many requests wait as may")
        with pytest.raises(Exhausted, match="2 requests wait already"):
            d.submit(priority=5)
        d.scheduler.flush()
        gate.opened.set()
        d.wait(4)
        assert [r.jobs[0] for r in d.ran[2:]] == [urgent, kept]


@pytest.mark.parametrize("plan", [LOOP, ModelPlan(placement="pool")])
def test_a_completion_that_fails_costs_its_own_run_alone(plan: ModelPlan) -> None:
    with desk(max_running=1) as d:
        d.add(Gate(), plan)
        d.fault = ValueError("secret")
        first = d.submit()
        d.scheduler.flush()
        errors = first.call.errors  # type: ignore[attr-defined]
        assert wait_until(lambda: bool(errors), timeout_s=10)
        assert "internal error (ValueError)" in str(errors[0])
        for _ in range(3):
            d.submit()
            d.scheduler.flush()
        assert sum(len(r.jobs) for r in d.wait(3)) == 3


def test_a_stack_ends_early_only_when_all_in_it_gave_up() -> None:
    with desk(max_running=1) as d:
        gate = Gate(is_open=False)
        d.add(gate, POOL)
        first = d.submit()
        d.scheduler.flush()
        assert wait_until(lambda: gate.runs == [1], timeout_s=10)
        stack = [d.submit() for _ in range(3)]
        d.scheduler.flush()
        d.scheduler.cancel(first)
        assert wait_until(lambda: gate.runs == [1, 3], timeout_s=10)
        for job in stack[:-1]:
            d.scheduler.cancel(job)
        assert gate.at_once == 1
        d.scheduler.cancel(stack[-1])
        assert d.wait(4)[1].jobs == stack
        assert isinstance(d.ran[1].error, Unavailable)


def test_two_threads_make_one_lane_of_a_version() -> None:
    with desk(max_running=1) as d:
        gate = Gate(is_open=False)
        d.add(gate, ModelPlan(placement="pool"))
        together = threading.Barrier(4)

        def ask() -> None:
            together.wait()
            d.submit()
            d.scheduler.flush()

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        lanes = d.models.acquire("m").lanes
        assert lanes is not None
        assert lanes.pool.queued + lanes.pool.running == 4
        gate.opened.set()
        d.wait(4)


def test_the_time_of_a_stack_that_fails_is_the_versions() -> None:
    """Its requests run anew alone, and all of that is charged to it."""
    with desk(max_running=1) as d:
        gate = Gate(is_open=False)
        d.add(gate, POOL)
        d.submit()
        d.scheduler.flush()
        assert wait_until(lambda: gate.runs == [1], timeout_s=10)
        for value in (1.0, float("nan"), 3.0):
            d.submit(value)
        d.scheduler.flush()
        gate.opened.set()
        d.wait(4)
        assert gate.runs == [1, 3, 1, 1, 1]
        d.scheduler.close()
        lanes = d.models.acquire("m").lanes
        assert lanes is not None
        whole = d.ran[-1].ended - d.ran[0].started
        runs = sum(r.ended - r.started for r in d.ran)
        assert runs <= lanes.pool.served_s <= whole + 0.5
