"""The pool's threads: how many, when they begin and end, and what becomes of work without them."""

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from fogline.clock import wait_until
from fogline.errors import Exhausted, Unavailable
from fogline.runtime import Session
from fogline.runtime.interrupt import Interrupt
from fogline.runtime.plan import ModelPlan
from fogline.tensors import Array
from fogline_edge.serving import ServingConfig
from fogline_edge.serving.queue_policy import QueuePolicy
from tests import models as makers
from tests.desk import CLOCK, Desk, Gate, desk


def test_the_pool_grows_to_its_bound_and_shrinks_when_idle() -> None:
    with desk(max_running=2, idle_thread_s=0.05) as d:
        gate = Gate(is_open=False)
        d.add(gate, ModelPlan(placement="pool"))
        for _ in range(6):
            d.submit()
            d.scheduler.flush()
        assert wait_until(lambda: gate.most == 2, timeout_s=10)
        gate.opened.set()
        d.wait(6)
        assert gate.most == 2
        assert wait_until(lambda: d.scheduler.pool_threads == 0, timeout_s=10)
        d.submit()
        d.scheduler.flush()
        d.wait(7)


def test_the_pool_follows_the_processors_that_it_may_keep_busy() -> None:
    with desk(max_running=8, idle_thread_s=60) as d:
        gate = Gate(is_open=False)
        d.add(gate, ModelPlan(placement="pool"))

        def ask(jobs: int) -> None:
            for _ in range(jobs):
                d.submit()
            d.scheduler.flush()

        d.processors = 3
        ask(12)
        assert wait_until(lambda: gate.at_once == 3, timeout_s=10)
        d.processors = 1
        gate.most = 0
        gate.opened.set()
        d.wait(12)
        assert wait_until(lambda: d.scheduler.pool_threads == 1, timeout_s=10)
        gate.opened.clear()
        gate.most = 0
        ask(4)
        assert wait_until(lambda: gate.at_once == 1, timeout_s=10)
        d.processors = 2
        ask(1)
        assert wait_until(lambda: gate.at_once == 2, timeout_s=10)
        gate.opened.set()
        d.wait(17)
        assert gate.most == 2
        assert d.scheduler.pool_threads == 2


def test_a_thread_that_ends_for_want_of_processors_passes_its_turn_on() -> None:
    """Two wait for a version that runs once at a time; the thread that ran it leaves."""
    with desk(max_running=2, idle_thread_s=60) as d:
        alone, other = Gate(is_open=False), Gate(is_open=False)
        d.add(alone, ModelPlan(placement="pool"), queue=QueuePolicy(max_running=1))
        d.add(other, ModelPlan(placement="pool"), "other")
        d.submit()
        d.submit(name="other")
        d.scheduler.flush()
        assert wait_until(lambda: (alone.runs, other.runs) == ([1], [1]), timeout_s=10)
        other.opened.set()
        d.wait(1)  # its thread is idle now
        d.submit()
        d.scheduler.flush()
        d.processors = 1
        alone.opened.set()
        d.wait(3)
        assert d.scheduler.pool_threads == 1


def test_what_no_thread_can_be_started_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with desk() as d:
        d.add(Gate(), ModelPlan(placement="pool"))
        with monkeypatch.context() as without_threads:
            without_threads.setattr(threading.Thread, "start", refuse)
            first = d.submit()
            d.scheduler.flush()
        (told,) = d.ran
        assert list(told.jobs) == [first]
        assert isinstance(told.error, Exhausted)
        assert str(told.error).startswith("model m@1: the machine lets no thread be started")
        second = d.submit(seconds=30)
        d.scheduler.flush()
        assert d.wait(2)[1].jobs == [second]
        assert d.ran[1].error is None


def test_threads_that_cannot_be_added_leave_the_work_to_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start
    started: list[str] = []

    def start_one(thread: threading.Thread) -> None:
        if thread.name == "run" and started.count("run"):
            raise RuntimeError("can't start new thread")
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    with desk(max_running=2) as d:
        gate = Gate(is_open=False)
        d.add(gate, ModelPlan(placement="pool"))
        for _ in range(5):
            d.submit()
            d.scheduler.flush()
        gate.opened.set()
        d.wait(5)
        assert gate.most == 1
        assert all(r.error is None for r in d.ran)


def test_closing_ends_runs_that_do_not_end_in_time_and_loses_no_job() -> None:
    d = Desk(max_running=1)
    gate = Gate(is_open=False)
    d.add(gate, ModelPlan(placement="pool"))
    jobs = [d.submit() for _ in range(3)]
    d.scheduler.flush()
    assert wait_until(lambda: gate.runs == [1], timeout_s=10)
    d.scheduler.close(timeout_s=0.05)
    assert wait_until(lambda: d.scheduler.pool_threads == 0, timeout_s=10)
    assert {id(j) for r in d.ran for j in r.jobs} == set(map(id, jobs))
    assert all(isinstance(r.error, Unavailable) for r in d.ran)
    assert gate.runs == [1]


class Native(Gate):
    """Runs a real model for some two milliseconds, in which it does not hold the interpreter."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._loop = Session.open(makers.save_slow_loop(folder / "m.onnx"), ModelPlan())

    def run(
        self,
        arrays: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        deadline_s: float | None = None,
        interrupt: Interrupt | None = None,
    ) -> dict[str, Array]:
        self._loop.run({"n": np.array(150, np.int64)}, None, deadline_s, interrupt)
        return super().run(arrays)


def beside_a_busy_thread(runner: Native, interval_s: float, runs: int) -> float:
    """Seconds that `runs` of the pool take while this thread keeps the interpreter."""
    with desk(max_running=1, switch_interval_s=interval_s) as d:
        d.add(runner, ModelPlan(placement="pool"))
        began = CLOCK.monotonic()
        for _ in range(runs):
            d.submit()
        d.scheduler.flush()
        while len(d.ran) < runs and CLOCK.monotonic() < began + 60:
            sum(range(100))
        taken = CLOCK.monotonic() - began
        assert sys.getswitchinterval() == pytest.approx(interval_s)
        assert [r.error for r in d.ran] == [None] * runs
    return taken


def test_a_busy_loop_does_not_starve_the_pool(tmp_path: Path) -> None:
    """Each run waits an interval for the interpreter; a coarse one makes plain that it does."""
    runner, usual = Native(tmp_path), sys.getswitchinterval()
    ours = beside_a_busy_thread(runner, ServingConfig().switch_interval_s, 6)
    coarse = beside_a_busy_thread(runner, 0.5, 6)
    assert ours * 3 < coarse
    assert wait_until(lambda: sys.getswitchinterval() == usual, timeout_s=10)
