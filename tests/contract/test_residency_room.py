"""Room for a version while others are busy, drain, are pinned, or come with it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fogline.clock import wait_until
from fogline.errors import Exhausted
from fogline_edge.serving.memory import ProcessMemory
from fogline_edge.serving.models import Models
from fogline_edge.serving.pipelines import PipelineRunner, Surroundings
from fogline_edge.serving.residency import Need, Residency, ResidencyConfig
from fogline_edge.serving.served import PIPELINE, Entry, ServedModel
from tests import models as makers
from tests.pipeline_runners import surroundings
from tests.pipelines import definition, output_of, pipeline_of, step_of
from tests.residents import Answer, FileSource, demanded

MIB = 2**20
BUDGET = 100 * MIB
X = {"x": np.ones((1, 2), np.float32)}


class Bench:
    def __init__(self, path: Path, process: ProcessMemory | None = None, **config: object) -> None:
        settings = {"model_memory_bytes": BUDGET, "reserve": 0.0, **config}
        self.path = path
        self.models = Models()
        bounds = ResidencyConfig(**settings)  # type: ignore[arg-type]
        self.residency = Residency(self.models, bounds, process=process)

    def source(self, name: str, mib: int, version: int = 1, run_mib: int = 0) -> FileSource:
        need = Need(held_bytes=mib * MIB, peak_bytes=mib * MIB, run_bytes=run_mib * MIB)
        return FileSource(self.path, name, version, need=need)

    def offer(self, **sizes: int) -> None:
        self.residency.offer([self.source(name, mib) for name, mib in sizes.items()])

    def load(self, *names: str) -> None:
        for name in names:
            assert demanded(self.models, name) is None

    def use(self, name: str) -> Entry:
        """A request that goes on, of a version that is loaded for it."""
        self.load(name)
        return self.models.acquire(name)

    def demand(self, name: str) -> Answer:
        answer = Answer()
        self.models.demand(name, "", answer)
        return answer

    def replace(self, name: str, *sources: FileSource) -> Answer:
        answer = Answer()
        self.residency.replace(name, sources, answer)
        return answer

    @property
    def loaded(self) -> list[str]:
        return [f"{c.served.name}{c.served.version}" for c in self.models.list()]

    @property
    def held_mib(self) -> int:
        return self.residency.counts().held_bytes // MIB


Make = Callable[..., Bench]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Make]:
    path = makers.save_identity(tmp_path / "m.onnx")
    all_: list[Bench] = []

    def make(**config: Any) -> Bench:
        all_.append(Bench(path, **config))
        return all_[-1]

    yield make
    for bench in all_:
        bench.residency.close()


def test_other_loads_go_on_while_one_waits_for_a_busy_version(made: Make) -> None:
    bench = made(make_room_s=30.0)
    bench.offer(busy=60, large=60, small=10)
    entry = bench.use("busy")
    waiting = bench.demand("large")
    assert bench.demand("small").wait(5) is None
    assert waiting.error is None
    assert "large1" not in bench.loaded
    entry.release()
    assert waiting.wait() is None
    assert bench.loaded == ["large1", "small1"]


def test_a_version_that_does_not_end_its_requests_is_passed_over_for_another(made: Make) -> None:
    bench = made(make_room_s=4.0)
    bench.offer(slow=50, quick=50, new=40)
    slow, quick = bench.use("slow"), bench.use("quick")
    waiting = bench.demand("new")
    quick_leaves = lambda: "quick1" not in bench.loaded  # noqa: E731
    assert wait_until(quick_leaves, timeout_s=10)
    quick.release()
    assert waiting.wait() is None
    assert wait_until(lambda: bench.loaded == ["new1", "slow1"], timeout_s=10)
    bench.models.acquire("slow").release()
    slow.release()


def test_one_that_becomes_idle_meanwhile_leaves_at_once(made: Make) -> None:
    bench = made(make_room_s=2.0)
    bench.offer(slow=50, quick=50, new=40, other=1)
    slow, quick = bench.use("slow"), bench.use("quick")
    waiting = bench.demand("new")
    quick.release()
    assert waiting.wait() is None
    assert wait_until(lambda: bench.loaded == ["new1", "slow1"], timeout_s=10)
    slow.release()


def test_memory_of_a_version_that_ends_its_last_requests_still_counts(made: Make) -> None:
    bench = made(make_room_s=30.0)
    bench.offer(old=60, new=60)
    entry = bench.use("old")
    gone = bench.replace("old")
    waiting = bench.demand("new")
    bench.offer(small=1)
    bench.load("small")  # by now the others' turn has come
    assert bench.loaded == ["small1"]
    assert bench.held_mib == 61
    assert entry.served.runner.run(X)["y"].shape == (1, 2)
    entry.release()
    assert waiting.wait() is None
    assert gone.wait() is None
    assert bench.held_mib == 61


def test_a_load_that_waited_in_vain_says_for_whom_with_the_numbers(made: Make) -> None:
    bench = made(make_room_s=0.2)
    bench.offer(old=60, new=60)
    entry = bench.use("old")
    bench.replace("old")
    error = bench.demand("new").wait()
    assert isinstance(error, Exhausted)
    assert "model old@1 is to make room and has 1 requests that did not end" in str(error)
    assert "takes 60.0 MiB while it is loaded, models hold 60.0 MiB of the 100.0 MiB" in str(error)
    assert bench.models.index()[0].state == "READY"  # it may come when it is asked for again
    entry.release()
    assert bench.demand("new").wait() is None


def test_a_busy_version_is_not_waited_for_without_end_for_the_reserve_alone(made: Make) -> None:
    bench = made(make_room_s=2.0, reserve=0.2)
    bench.offer(busy=50, new=45)
    entry = bench.use("busy")
    assert bench.demand("new").wait() is None
    assert wait_until(lambda: bench.loaded == ["busy1", "new1"], timeout_s=10)
    entry.release()


def test_room_is_kept_for_the_runs_of_the_version_that_is_loaded(made: Make) -> None:
    bench = made(runs_at_once=2)
    bench.offer(a=40, b=20)
    bench.load("a", "b")
    bench.residency.offer([bench.source("hungry", 30, run_mib=15)])
    bench.load("hungry")
    assert bench.loaded == ["b1", "hungry1"]


class PlayedProcess(ProcessMemory):
    """Holds what its models do, beside 10 MiB of its own and what `peak` says it once held."""

    def __init__(self) -> None:
        super().__init__()
        self.held: Callable[[], int] = lambda: 0
        self.peak = 0

    def anonymous_bytes(self) -> int:
        return 10 * MIB + self.held()

    def peak_bytes(self) -> int:
        return max(self.peak, self.anonymous_bytes())

    def forget_peak(self) -> bool:
        self.peak = 0
        return True


def test_room_is_kept_for_what_runs_were_seen_to_take(made: Make) -> None:
    process = PlayedProcess()
    bench = made(process=process)
    process.held = lambda: bench.residency.counts().held_bytes
    bench.offer(a=30, b=20, c=20, d=10, e=10)
    bench.load("a", "b", "c", "d")
    assert bench.loaded == ["a1", "b1", "c1", "d1"]
    process.peak = 130 * MIB  # 40 beside the models' 80
    bench.load("e")
    assert bench.loaded == ["b1", "c1", "d1", "e1"]


def test_versions_that_do_not_fit_together_take_turns(made: Make) -> None:
    bench = made()
    sources = [bench.source("m", 40, version) for version in (1, 2, 3)]
    most: list[int] = []
    for source in sources:
        source.before_open = lambda: most.append(bench.held_mib + 40)
    assert bench.replace("m", *sources).wait() is None
    assert max(most) <= 100
    assert bench.models.versions("m") == [1, 2, 3]
    assert bench.loaded == ["m2", "m3"]
    assert demanded(bench.models, "m", "1") is None
    assert "m1" in bench.loaded
    # The same again, one of them with other content.
    changed = bench.source("m", 40, 1)
    changed.stamp = 1
    assert bench.replace("m", changed, *sources[1:]).wait() is None
    assert bench.held_mib <= 100
    assert demanded(bench.models, "m", "1") is None
    assert changed.opened >= 1


def test_a_pinned_model_is_replaced_where_both_sides_have_room(made: Make) -> None:
    bench = made(pinned=("m",))
    bench.offer(other=20)
    assert bench.replace("m", bench.source("m", 40)).wait() is None
    bench.load("other")
    entry = bench.models.acquire("m")
    assert bench.replace("m", bench.source("m", 50, 2)).wait() is None
    assert bench.models.get("m").version == 2
    assert bench.held_mib == 90  # the old side drains; what was idle made room
    entry.release()
    bench.load("other")
    assert bench.loaded == ["m2", "other1"]


def test_a_pinned_model_is_not_replaced_where_both_sides_have_none(made: Make) -> None:
    bench = made(pinned=("m",))
    assert bench.replace("m", bench.source("m", 60)).wait() is None
    error = bench.replace("m", bench.source("m", 50, 2)).wait()
    assert isinstance(error, Exhausted)
    assert "model m@2 cannot be loaded: it takes 50.0 MiB" in str(error)
    assert "budget for models is 100.0 MiB, of which 60.0 MiB are pinned (model m@1)" in str(error)
    assert bench.loaded == ["m1"]
    bench.models.acquire("m").release()


def test_changes_of_one_model_happen_in_the_order_in_which_they_were_asked_for(made: Make) -> None:
    bench = made(make_room_s=30.0)
    bench.offer(busy=60, m=1)
    entry = bench.use("busy")
    first = bench.replace("m", bench.source("m", 60, 2))
    unloaded, loaded, again = Answer(), Answer(), Answer()
    bench.residency.unload("m", unloaded)
    bench.residency.load("m", loaded)
    bench.residency.unload("m", again)
    last = bench.replace("m", bench.source("m", 10, 3))
    entry.release()
    assert [a.wait() for a in (first, unloaded, again, last)] == [None] * 4
    loaded.wait()  # what it asked for was unloaded again before it came, or not
    assert bench.models.versions("m") == [3]
    assert bench.loaded[-1] == "m3"


def test_a_version_that_is_asked_for_while_it_is_dropped_does_not_come_back(made: Make) -> None:
    bench = made(make_room_s=30.0)
    old = bench.source("m", 30)
    bench.residency.offer([old, bench.source("busy", 60)])
    entry = bench.use("busy")
    replaced = bench.replace("m", bench.source("m", 60, 2))
    assert wait_until(lambda: "busy1" not in bench.loaded, timeout_s=10)
    waiting = Answer()
    bench.models.demand("m", "1", waiting)  # there is room for this one, but not its turn
    entry.release()
    assert (replaced.wait(), waiting.wait()) == (None, None)
    assert old.opened == 0
    assert bench.models.versions("m") == [2]
    assert bench.loaded == ["m2"]


def test_what_waits_for_room_is_told_when_the_server_stops(made: Make) -> None:
    bench = made(make_room_s=30.0)
    bench.offer(busy=60, m=60)
    entry = bench.use("busy")
    answers = [bench.demand("m"), bench.replace("n", bench.source("n", 60))]
    bench.offer(small=1)
    bench.load("small")
    unloaded = Answer()
    bench.residency.unload("m", unloaded)
    bench.residency.close()
    assert ["stopping" in str(a.wait(5)) for a in (*answers, unloaded)] == [True] * 3
    entry.release()


class PipelineSource(FileSource):
    """A pipeline that comes through residency, as those of a hub do."""

    def __init__(self, path: Path, around: Surroundings) -> None:
        super().__init__(path, "p", need=Need(is_pipeline=True))
        self._around = around

    def open(self) -> ServedModel:
        self.opened += 1
        around = self._around
        steps = [step_of("a", {"x": "inputs.x"}), step_of("b", {"x": "a.y"})]
        runner = PipelineRunner(
            pipeline_of(definition(steps, [output_of("y", "b.y")])),
            "p@1",
            around.models,
            branches=around.branches,
            watchdog=around.watchdog,
            clock=around.clock,
        )
        return ServedModel(
            name="p", version=1, schema=runner.schema, runner=runner, platform=PIPELINE
        )


def test_a_pipeline_takes_no_room_and_its_components_come_while_it_runs(tmp_path: Path) -> None:
    path = makers.save_identity(tmp_path / "m.onnx")
    with surroundings() as around:
        models = around.models
        config = ResidencyConfig(max_loaded=2, make_room_s=0.5)
        residency = Residency(models, config)
        source = PipelineSource(path, around)
        residency.offer([*(FileSource(path, name) for name in "abcd"), source])
        for name in "abp":
            assert demanded(models, name) is None
        assert residency.counts().loaded == 3
        for _ in range(3):
            for name in "cd":
                assert demanded(models, name) is None
            assert {"c", "d", "p"} == {c.served.name for c in models.list()}
            entry = models.acquire("p")
            assert entry.served.runner.run(X, deadline_s=20)["y"].tolist() == [[1, 1]]
            entry.release()
        assert source.opened == 1
        assert residency.counts().loaded == 3
        residency.close()


def test_a_component_that_a_run_uses_stays_until_the_run_has_used_it(tmp_path: Path) -> None:
    path = makers.save_identity(tmp_path / "m.onnx")
    slow = makers.save_slow_loop(tmp_path / "slow.onnx")
    models = Models()
    residency = Residency(models, ResidencyConfig(max_loaded=1, make_room_s=20.0))
    residency.offer([FileSource(slow, "slow"), FileSource(path, "other")])
    assert demanded(models, "slow") is None
    entry = models.acquire_component("slow")
    began = threading.Event()
    found: list[object] = []

    def run() -> None:
        began.set()
        found.append(entry.served.runner.run({"n": np.array(20_000)})["y"].shape)
        entry.release()

    thread = threading.Thread(target=run)
    thread.start()
    assert began.wait(10)
    assert demanded(models, "other") is None
    thread.join()
    assert found == [(64, 64)]
    residency.close()
