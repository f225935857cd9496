import threading
from collections.abc import Callable

import pytest

from fogline.clock import SystemClock, wait_until
from fogline.errors import DeadlineExceeded, Exhausted, FoglineError, Unavailable
from fogline_edge.serving import ServedModel
from fogline_edge.serving.scheduler import Job, Outcome, Scheduler, Turnstile
from tests import models
from tests.serving import served_model

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    return served_model(models.save_identity(tmp_path_factory.mktemp("m") / "m.onnx"))


def job_of(
    served: ServedModel, seconds: float = 30, done: Callable[[Outcome], None] = lambda _: None
) -> Job:
    return Job(
        served=served, inputs={}, outputs=("y",), deadline=CLOCK.monotonic() + seconds, done=done
    )


def test_places_pass_on_in_order_of_arrival(served: ServedModel) -> None:
    turnstile = Turnstile(places=1, queue=8)
    turnstile.enter(job_of(served), CLOCK)
    order: list[int] = []

    def go(number: int) -> None:
        turnstile.enter(job_of(served), CLOCK)
        order.append(number)
        turnstile.leave()

    threads = []
    for number in range(4):
        threads.append(threading.Thread(target=go, args=(number,)))
        threads[-1].start()
        assert wait_until(lambda: len(turnstile._waiting) == len(threads), timeout_s=10)
    turnstile.leave()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3]
    assert (turnstile._free, len(turnstile._waiting)) == (1, 0)


def test_who_gets_no_place_leaves_none_behind(served: ServedModel) -> None:
    turnstile = Turnstile(places=1, queue=1)
    turnstile.enter(job_of(served), CLOCK)
    with pytest.raises(DeadlineExceeded, match="no run was free"):
        turnstile.enter(job_of(served, 0), CLOCK)
    cancelled = job_of(served)
    cancelled.cancel()
    with pytest.raises(Unavailable, match="cancelled"):
        turnstile.enter(cancelled, CLOCK)
    waiting = threading.Thread(target=turnstile.enter, args=(job_of(served), CLOCK))
    waiting.start()
    assert wait_until(lambda: len(turnstile._waiting) == 1, timeout_s=10)
    with pytest.raises(Exhausted, match="1 requests wait already"):
        turnstile.enter(job_of(served), CLOCK)
    turnstile.leave()
    waiting.join()
    turnstile.leave()
    assert (turnstile._free, len(turnstile._waiting)) == (1, 0)


def test_a_fault_of_ours_is_told_and_gives_the_place_back(
    served: ServedModel, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: list[Outcome] = []
    scheduler = Scheduler(clock=CLOCK, max_running=1, max_queued=1)
    broken = job_of(served, done=outcomes.append)
    broken.inputs = 7  # type: ignore[assignment]
    scheduler.run([broken, broken])
    assert all(isinstance(o, FoglineError) for o in outcomes)
    assert len(outcomes) == 2
    assert {r.message for r in caplog.records} <= {"run failed"}
