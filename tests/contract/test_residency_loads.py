"""Versions come into memory when they are asked for, and leave to make room."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fogline.clock import ManualClock, wait_until
from fogline.errors import Conflict, Exhausted, InvalidInput, NotFound
from fogline_edge.serving.models import Models, NotLoaded
from fogline_edge.serving.residency import Need, Residency, ResidencyConfig
from tests import models as makers
from tests.residents import Answer, FileSource, demanded

MIB = 2**20
Make = Callable[..., tuple[Models, Residency]]


@pytest.fixture
def made() -> Iterator[Make]:
    """Makes tables with their residency; all are closed at the end."""
    all_: list[Residency] = []

    def make(**config: object) -> tuple[Models, Residency]:
        models = Models()
        clock = config.pop("clock", None)
        residency = Residency(models, ResidencyConfig(**config), clock=clock)  # type: ignore[arg-type]
        all_.append(residency)
        return models, residency

    yield make
    for residency in all_:
        residency.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return makers.save_identity(tmp_path / "m.onnx")


def ready(models: Models) -> set[str]:
    return {c.served.name for c in models.list()}


def test_a_version_is_loaded_when_it_is_asked_for(made: Make, path: Path) -> None:
    models, residency = made()
    source = FileSource(path, "m", 3)
    residency.offer([source])
    (status,) = models.index()
    assert (status.state, status.is_active) == ("READY", True)
    assert "loaded when it is asked for" in status.reason
    assert models.is_ready("m")
    with pytest.raises(NotLoaded, match="m@3 is not in memory"):
        models.acquire("m")
    assert source.opened == 0
    assert demanded(models, "m") is None
    entry = models.acquire("m", "3")
    x = np.ones((1, 2), np.float32)
    assert entry.served.runner.run({"x": x})["y"].tolist() == [[1, 1]]
    entry.release()
    assert demanded(models, "m") is None
    assert source.opened == 1
    with pytest.raises(NotFound):
        models.demand("m", "4", Answer())
    with pytest.raises(NotFound):
        models.demand("n", "", Answer())


def test_many_that_ask_at_once_wait_for_one_load(made: Make, path: Path) -> None:
    models, residency = made()
    gate = threading.Event()
    source = FileSource(path, "m")
    source.before_open = gate.wait
    residency.offer([source])
    answers = [Answer() for _ in range(50)]
    for answer in answers:
        models.demand("m", "1", answer)
    assert models.index()[0].state == "LOADING"
    gate.set()
    assert [a.wait() for a in answers] == [None] * 50
    assert source.opened == 1


def test_how_many_wait_is_bounded(made: Make, path: Path) -> None:
    models, residency = made(max_waiting=2)
    gate = threading.Event()
    source = FileSource(path, "m")
    source.before_open = gate.wait
    residency.offer([source])
    waiting = [Answer(), Answer()]
    for answer in waiting:
        models.demand("m", "", answer)
    refused = Answer()
    models.demand("m", "", refused)
    assert isinstance(refused.error, Exhausted)
    assert "2 requests wait for loads already" in str(refused.error)
    gate.set()
    assert [a.wait() for a in waiting] == [None, None]
    assert demanded(models, "m") is None


def test_those_that_wait_for_one_version_leave_places_for_others(made: Make, path: Path) -> None:
    models, residency = made(max_waiting=8, max_waiting_each=2)
    gate = threading.Event()
    source = FileSource(path, "m")
    source.before_open = gate.wait
    residency.offer([source, FileSource(path, "n")])
    waiting = [Answer() for _ in range(3)]
    for answer in waiting:
        models.demand("m", "", answer)
    assert "model m@1 is not in memory, and 2 requests wait for its load" in str(waiting[2].error)
    other = Answer()
    models.demand("n", "", other)
    gate.set()
    assert [a.wait() for a in (*waiting[:2], other)] == [None] * 3


def test_the_least_recently_used_leaves_before_another_is_loaded(made: Make, path: Path) -> None:
    models, residency = made(max_loaded=2)
    a, b, c = (FileSource(path, name) for name in "abc")
    residency.offer([a, b, c])
    assert demanded(models, "a") is None
    assert demanded(models, "b") is None
    models.acquire("a").release()
    seen: list[set[str]] = []
    c.before_open = lambda: seen.append(ready(models))
    assert demanded(models, "c") is None
    assert seen == [{"a"}]
    assert ready(models) == {"a", "c"}
    assert residency.counts().evictions == 1
    assert demanded(models, "b") is None
    assert ready(models) == {"b", "c"}


def test_a_budget_holds_the_peak_of_a_load_beside_what_is_held(made: Make, path: Path) -> None:
    models, residency = made(model_memory_bytes=1000 * MIB, reserve=0.0)
    need = Need(held_bytes=300 * MIB, peak_bytes=500 * MIB)
    sources = [FileSource(path, name, need=need) for name in "abcd"]
    residency.offer(sources)
    for name in "abc":
        assert demanded(models, name) is None
    # Two are held beside the peak of the third only after one left: 600 + 500 > 1000.
    assert ready(models) == {"b", "c"}
    assert residency.counts().held_bytes == 600 * MIB


def test_pinned_models_stay_and_what_can_never_fit_is_refused_with_the_numbers(
    made: Make, path: Path
) -> None:
    models, residency = made(model_memory_bytes=100 * MIB, reserve=0.0, pinned=("a", "z@2"))
    held = Need(held_bytes=40 * MIB, peak_bytes=50 * MIB)
    large = Need(held_bytes=40 * MIB, peak_bytes=70 * MIB)
    residency.offer([FileSource(path, n, need=held) for n in "ab"])
    residency.offer([FileSource(path, "c", need=large)])
    for name in "ab":
        assert demanded(models, name) is None
    error = demanded(models, "c")
    assert isinstance(error, Exhausted)
    assert "takes 70.0 MiB while it is loaded (40.0 MiB afterwards)" in str(error)
    assert "budget for models is 100.0 MiB, of which 40.0 MiB are pinned (model a@1)" in str(error)
    assert ready(models) == {"a", "b"}
    assert models.index()[2].state == "UNAVAILABLE"


def test_a_version_with_running_requests_leaves_only_when_they_have_ended(
    made: Make, path: Path
) -> None:
    models, residency = made(max_loaded=1)
    residency.offer([FileSource(path, "a"), FileSource(path, "b")])
    assert demanded(models, "a") is None
    entry = models.acquire("a")
    answer = Answer()
    models.demand("b", "", answer)
    assert wait_until(lambda: models.index()[0].state == "UNLOADING", timeout_s=10)
    with pytest.raises(NotLoaded, match="leaving memory"):
        models.acquire("a")
    x = np.ones((1, 2), np.float32)
    assert entry.served.runner.run({"x": x})["y"].shape == (1, 2)
    assert answer.error is None
    assert ready(models) == set()
    entry.release()
    assert answer.wait() is None
    assert ready(models) == {"b"}
    with pytest.raises(Conflict, match="closed"):
        entry.served.runner.run({"x": x})


def test_a_load_that_finds_no_room_in_time_fails_and_nothing_left(made: Make, path: Path) -> None:
    models, residency = made(max_loaded=1, make_room_s=0.05)
    residency.offer([FileSource(path, "a"), FileSource(path, "b")])
    assert demanded(models, "a") is None
    entry = models.acquire("a")
    error = demanded(models, "b")
    assert isinstance(error, Exhausted)
    assert "model a@1 is to make room and has 1 requests" in str(error)
    models.acquire("a").release()
    entry.release()


def test_a_failed_load_is_told_and_not_tried_again_for_a_while(
    made: Make, path: Path, tmp_path: Path
) -> None:
    clock = ManualClock()
    models, residency = made(clock=clock, retry_base_s=10.0)
    broken = tmp_path / "broken.onnx"
    broken.write_text("no model")
    source = FileSource(broken, "m")
    residency.offer([source])
    assert isinstance(demanded(models, "m"), InvalidInput)
    again = demanded(models, "m")
    assert isinstance(again, InvalidInput)
    assert "tried again in 10 s" in str(again)
    assert source.opened == 1
    (status,) = models.index()
    assert status.state == "UNAVAILABLE"
    assert "cannot load it" in status.reason
    assert not models.is_ready("m")
    clock.advance(11)
    assert isinstance(demanded(models, "m"), InvalidInput)
    assert source.opened == 2
    assert "in 20 s" in str(demanded(models, "m"))
    source.path = path
    clock.advance(21)
    assert demanded(models, "m") is None
    assert models.index()[0].reason == ""


def test_a_fault_of_ours_in_a_load_is_told_to_those_that_wait(
    made: Make, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models, residency = made()
    source = FileSource(path, "m")
    source.before_open = lambda: 1 / 0
    residency.offer([source])
    assert "internal error (ZeroDivisionError)" in str(demanded(models, "m"))
    assert {"load failed", "not loaded"} <= {r.message for r in caplog.records}


def test_what_waits_for_a_load_is_told_when_the_server_stops(made: Make, path: Path) -> None:
    models, residency = made()
    began, gate = threading.Event(), threading.Event()
    first, second = FileSource(path, "a"), FileSource(path, "b")

    def wait() -> None:
        began.set()
        gate.wait()

    first.before_open = wait
    residency.offer([first, second])
    answers = [Answer(), Answer()]
    models.demand("a", "", answers[0])
    models.demand("b", "", answers[1])
    assert began.wait(30)
    closing = threading.Thread(target=residency.close)
    closing.start()
    gate.set()
    closing.join()
    assert answers[0].wait() is None
    assert "stopping" in str(answers[1].wait())
    late = Answer()
    models.demand("b", "", late)
    assert "stopping" in str(late.wait())


def test_who_waits_for_a_version_that_made_room_for_its_successor_gets_that_one(
    made: Make, path: Path
) -> None:
    models, residency = made(max_loaded=1)
    residency.offer([FileSource(path, "m", 1)])
    assert demanded(models, "m") is None
    began, gate = threading.Event(), threading.Event()
    second = FileSource(path, "m", 2)

    def wait() -> None:
        began.set()
        gate.wait()

    second.before_open = wait
    replaced, waiting = Answer(), Answer()
    residency.replace("m", [second], replaced)
    assert began.wait(30)
    with pytest.raises(NotLoaded):
        models.acquire("m")
    models.demand("m", "", waiting)
    gate.set()
    assert replaced.wait() is None
    assert waiting.wait() is None
    entry = models.acquire("m")
    assert entry.served.version == 2
    entry.release()
    with pytest.raises(NotFound):
        models.acquire("m", "1")
