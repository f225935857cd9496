"""A model's versions are replaced, unloaded and loaded again while requests go on."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fogline.clock import wait_until
from fogline.errors import FoglineError, InvalidInput, NotFound
from fogline_edge.serving.models import Models, NotLoaded
from fogline_edge.serving.residency import Residency
from fogline_edge.serving.served import Entry, ServedModel
from fogline_edge.serving.versions import VersionState
from tests import models as makers
from tests.residents import Answer, FileSource, demanded

X = {"x": np.ones((1, 2), np.float32)}
Source = Callable[..., FileSource]


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def residency(models: Models) -> Iterator[Residency]:
    made = Residency(models)
    yield made
    made.close()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Versions of "m" that answer their own number, or `value`."""

    def make(version: int, value: float | None = None, stamp: int = 0) -> FileSource:
        answer = version if value is None else value
        path = makers.save_constant(tmp_path / f"{version}-{answer}.onnx", answer)
        return FileSource(path, "m", version, stamp=stamp)

    return make


def replaced(residency: Residency, *sources: FileSource, active: int | None = None) -> Answer:
    answer = Answer()
    residency.replace("m", sources, answer, active=active)
    answer.wait()
    return answer


def ask(models: Models, version: str = "") -> float:
    entry = models.acquire("m", version)
    try:
        return float(entry.served.runner.run(X)["y"][0, 0])
    finally:
        entry.release()


def test_the_highest_version_answers_to_the_name_unless_another_was_chosen(
    models: Models, residency: Residency, source: Source
) -> None:
    assert replaced(residency, source(1), source(3)).error is None
    assert (ask(models), ask(models, "1"), ask(models, "3")) == (3, 1, 3)
    models.activate("m", 1)
    assert ask(models) == 1
    assert replaced(residency, source(1), source(3), source(4)).error is None
    assert ask(models) == 1
    models.activate("m", None)
    assert ask(models) == 4
    assert replaced(residency, source(1), source(3)).error is None
    assert ask(models) == 3
    with pytest.raises(NotFound, match="there are: 1, 3"):
        models.acquire("m", "4")


def test_what_is_there_already_is_not_loaded_again(
    models: Models, residency: Residency, source: Source
) -> None:
    first = source(1)
    replaced(residency, first)
    same, second = source(1), source(2)
    replaced(residency, same, second)
    assert (first.opened, same.opened, second.opened) == (1, 0, 1)


def test_changed_content_of_a_version_replaces_it(
    models: Models, residency: Residency, source: Source
) -> None:
    replaced(residency, source(1))
    before = models.get("m")
    assert replaced(residency, source(1, value=7, stamp=1)).error is None
    assert ask(models) == 7
    assert models.versions("m") == [1]
    with pytest.raises(Exception, match="closed"):
        before.runner.run(X)


def test_a_load_that_fails_changes_nothing(
    models: Models, residency: Residency, source: Source, tmp_path: Path
) -> None:
    replaced(residency, source(1))
    broken = tmp_path / "broken.onnx"
    broken.write_text("no model")
    answer = replaced(residency, source(2), FileSource(broken, "m", 3))
    assert isinstance(answer.error, InvalidInput)
    assert models.versions("m") == [1]
    assert ask(models) == 1


def test_a_request_in_flight_ends_on_the_version_that_left(
    models: Models, residency: Residency, source: Source
) -> None:
    replaced(residency, source(1))
    old = models.acquire("m")
    assert replaced(residency, source(2)).error is None
    assert ask(models) == 2
    assert old.served.runner.run(X)["y"][0, 0] == 1
    assert residency.counts().loaded == 1
    old.release()
    assert wait_until(lambda: is_closed(old.served.runner), timeout_s=10)


def is_closed(runner: object) -> bool:
    return getattr(runner, "_native") is None  # noqa: B009 - of a Runner nobody asks this


def test_an_unloaded_model_answers_nothing_until_it_is_loaded(
    models: Models, residency: Residency, source: Source
) -> None:
    replaced(residency, source(1), source(2))
    entry = models.acquire("m", "2")
    answer = Answer()
    residency.unload("m", answer)
    assert wait_until(lambda: {s.state for s in models.index()} == {"UNAVAILABLE"}, timeout_s=10)
    assert [s.reason for s in models.index()] == ["unloaded", "unloaded"]
    for version in ("", "1", "2"):
        with pytest.raises(NotFound):
            models.acquire("m", version)
    with pytest.raises(NotFound, match="no model 'm' is active"):
        models.demand("m", "", Answer())
    assert isinstance(demanded(models, "m", "1"), NotFound)
    assert models.versions("m") == []
    assert not models.is_ready("m")
    assert answer.error is None
    entry.release()
    assert answer.wait() is None
    again = Answer()
    residency.load("m", again)
    assert again.wait() is None
    assert (ask(models), ask(models, "1")) == (2, 1)
    with pytest.raises(NotFound, match="no model 'n'"):
        residency.unload("n", Answer())
    with pytest.raises(NotFound, match="no model 'n'"):
        residency.load("n", Answer())


def test_a_model_without_versions_is_gone_when_its_requests_have_ended(
    models: Models, residency: Residency, source: Source
) -> None:
    replaced(residency, source(1))
    entry = models.acquire("m")
    answer = Answer()
    residency.replace("m", (), answer)
    assert wait_until(lambda: models.index() == (), timeout_s=10)
    assert answer.error is None
    entry.release()
    assert answer.wait() is None
    assert residency.counts().held_bytes == 0 or residency.counts().loaded == 0


def was_seen(answers: list[set[float]], value: float) -> bool:
    return any(value in seen for seen in answers)


def test_no_request_fails_through_swaps_with_ten_threads(
    models: Models, residency: Residency, source: Source
) -> None:
    replaced(residency, source(1))
    stop = threading.Event()
    faults: list[BaseException] = []
    answers: list[set[float]] = [set() for _ in range(10)]

    def go(seen: set[float]) -> None:
        while not stop.is_set():
            try:
                seen.add(ask(models))
            except BaseException as e:
                faults.append(e)
                return

    threads = [threading.Thread(target=go, args=(seen,)) for seen in answers]
    for thread in threads:
        thread.start()
    for version in range(2, 7):
        former = version - 1
        assert wait_until(partial(was_seen, answers, former), timeout_s=20)
        assert replaced(residency, source(version)).error is None
    assert wait_until(lambda: all(6 in seen for seen in answers), timeout_s=20)
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert set().union(*answers) == {1, 2, 3, 4, 5, 6}
    assert models.totals.failures == 0
    (counts,) = models.list()
    assert counts.in_flight == 0


def test_shadows_are_found_by_the_version_that_answers(
    models: Models, residency: Residency, source: Source
) -> None:
    replaced(residency, source(1), source(2), active=1)
    one, two = models.get("m", "1"), models.get("m", "2")
    assert models.shadow_of(one) is None
    models.set_shadow("m", 2, 0.25)
    shadow = models.shadow_of(one)
    assert shadow is not None
    assert (shadow.version, shadow.share) == (2, 0.25)
    assert models.shadow_of(two) is None
    models.activate("m", 2)
    assert (models.shadow_of(one), models.shadow_of(two)) == (None, None)
    models.activate("m", 1)
    models.set_shadow("m", None)
    assert models.shadow_of(one) is None
    with pytest.raises(NotFound):
        models.set_shadow("m", 9)


def test_counts_are_exact_under_threads(
    models: Models, residency: Residency, source: Source
) -> None:
    replaced(residency, source(1))

    def go() -> None:
        for i in range(2000):
            models.acquire("m").release(failures=i % 2)

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (counts,) = models.list()
    assert (counts.requests, counts.failures, counts.in_flight) == (16_000, 8_000, 0)
    assert (models.totals.requests, models.totals.failures) == (16_000, 8_000)


def test_a_version_that_is_offered_answers_to_its_number_while_it_is_demanded(
    models: Models, residency: Residency, source: Source
) -> None:
    residency.offer([source(1), source(2)])
    assert models.versions("m") == [1, 2]
    assert demanded(models, "m", "1") is None
    with pytest.raises(NotLoaded, match="m@2"):
        models.acquire("m")
    assert ask(models, "1") == 1
    assert ask(models, "01") == 1


def test_what_came_another_way_is_closed_when_it_is_replaced(
    models: Models, residency: Residency, source: Source
) -> None:
    served = source(1).open()
    models.put(served)
    entry = models.acquire("m")
    assert replaced(residency, source(1, value=5)).error is None
    assert ask(models) == 5
    assert entry.served.runner.run(X)["y"][0, 0] == 1
    entry.release()
    assert wait_until(lambda: is_closed(served.runner), timeout_s=10)


def test_an_unloaded_model_stays_so_though_a_proof_that_went_on_fails(
    models: Models, residency: Residency, source: Source
) -> None:
    began, gate = threading.Event(), threading.Event()

    def fail() -> None:
        began.set()
        gate.wait()
        raise InvalidInput("not provable")

    unproved = source(1)
    unproved.need, unproved.before_prove = None, fail
    residency.offer([unproved])
    waiting, unloaded, late = Answer(), Answer(), Answer()
    models.demand("m", "", waiting)
    assert began.wait(10)
    residency.unload("m", unloaded)
    assert unloaded.wait() is None
    gate.set()
    assert waiting.wait() is not None
    assert [(s.state, s.reason) for s in models.index()] == [("UNAVAILABLE", "unloaded")]
    with pytest.raises(NotFound):
        models.acquire("m", "1")
    models.demand("m", "1", late)
    assert isinstance(late.wait(), NotFound)
    unproved.before_prove = lambda: None
    loaded = Answer()
    residency.load("m", loaded)
    assert loaded.wait() is None
    assert ask(models) == 1


def test_an_unload_while_a_proof_goes_on_keeps_the_version_out(
    models: Models, residency: Residency, source: Source
) -> None:
    began, gate = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        gate.wait()

    unproved = source(1)
    unproved.need, unproved.before_prove = None, wait
    residency.offer([unproved])
    waiting, unloaded = Answer(), Answer()
    models.demand("m", "", waiting)
    assert began.wait(10)
    residency.unload("m", unloaded)
    assert unloaded.wait() is None
    gate.set()
    assert isinstance(waiting.wait(), NotFound)
    assert unproved.opened == 0
    assert models.index()[0].reason == "unloaded"


def test_a_load_that_is_asked_for_after_an_unload_comes_after_it(
    models: Models, residency: Residency, source: Source
) -> None:
    replaced(residency, source(1))
    for _ in range(20):
        unloaded, loaded = Answer(), Answer()
        residency.unload("m", unloaded)
        residency.load("m", loaded)
        assert (unloaded.wait(), loaded.wait()) == (None, None)
        assert ask(models) == 1


def test_an_unchanged_model_that_left_memory_is_not_proved_again(
    models: Models, residency: Residency, source: Source
) -> None:
    first = source(1)
    first.need = None
    assert replaced(residency, first).error is None
    assert (first.proved, first.opened) == (1, 1)
    unloaded = Answer()
    residency.unload("m", unloaded)
    assert unloaded.wait() is None
    again, second = source(1), source(2)
    again.need = second.need = None
    assert replaced(residency, again, second).error is None
    assert (first.proved, first.opened, again.proved, again.opened) == (1, 2, 0, 0)
    assert second.proved == 1
    assert (ask(models, "1"), ask(models)) == (1, 2)


class AskedModels(Models):
    """Calls `between` before and after each step of a change, as requests come between."""

    def __init__(self) -> None:
        super().__init__()
        self.between: Callable[[], None] = lambda: None

    def put(self, served: ServedModel) -> tuple[Entry, Entry | None]:
        self.between()
        try:
            return super().put(served)
        finally:
            self.between()

    def forget(self, name: str, version: int) -> Entry | None:
        self.between()
        try:
            return super().forget(name, version)
        finally:
            self.between()


@pytest.mark.parametrize("new", [1, 3])
def test_requests_within_a_swap_whose_old_version_has_left_get_the_new_one(
    source: Source, new: int
) -> None:
    models = AskedModels()
    residency = Residency(models)
    residency.offer([source(2)])
    assert demanded(models, "m") is None
    models.activate("m", 2)
    answers: list[float] = []
    errors: list[FoglineError] = []
    asked = 0

    def request(error: FoglineError | None = None) -> None:
        """As a server does: looks, has it loaded, and looks again when it is told to."""
        if error is not None:
            errors.append(error)
            return
        try:
            answers.append(ask(models))
        except NotLoaded:
            models.demand("m", "", request)

    def between() -> None:
        nonlocal asked
        asked += 1
        request()

    entry = models.shut("m", 2, VersionState.ABSENT)  # it made room for another
    models.between = between
    assert replaced(residency, source(new), active=new).error is None
    models.between = lambda: None
    assert wait_until(lambda: len(answers) + len(errors) == asked, timeout_s=10)
    assert asked == 4
    assert errors == []
    assert set(answers) <= {2, new}
    assert ask(models) == new
    residency.close()
    assert entry is not None
    entry.served.runner.close()
