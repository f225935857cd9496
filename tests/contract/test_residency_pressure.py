"""Where memory is short, idle models leave before the kernel ends a process."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fogline.clock import ManualClock, wait_until
from fogline.errors import Exhausted
from fogline_edge.serving.memory import Machine, Reading, Stall
from fogline_edge.serving.models import Models
from fogline_edge.serving.residency import MemoryWatch, Need, Residency, ResidencyConfig
from fogline_edge.serving.residency.pressure import Strain
from tests import models as makers
from tests.residents import FileSource, demanded

MIB = 2**20
CALM = Reading(
    total_bytes=4096 * MIB,
    available_bytes=2048 * MIB,
    stall=Stall(some_avg10=0.0, full_avg10=0.0),
)


class PlayedMachine(Machine):
    """Gives the readings that it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = CALM

    def read(self, *, is_triggered: bool = False) -> Reading:
        return replace(self.reading, is_triggered=is_triggered)


class Bench:
    """Four idle models of 100 MiB each, as accounted, and one that is pinned."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock()
        self.machine = PlayedMachine()
        self.models = Models()
        config = ResidencyConfig(pinned=("pinned",))
        self.residency = Residency(self.models, config, clock=self.clock, machine=self.machine)
        self.watch = MemoryWatch(self.residency, machine=self.machine)
        need = Need(held_bytes=100 * MIB, peak_bytes=100 * MIB)
        names = ("a", "b", "c", "d", "pinned")
        self.residency.offer([FileSource(path, name, need=need) for name in names])
        for name in names:
            assert demanded(self.models, name) is None

    @property
    def loaded(self) -> list[str]:
        return [c.served.name for c in self.models.list()]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(makers.save_identity(tmp_path / "m.onnx"))
    yield made
    made.watch.close()
    made.residency.close()


def test_a_calm_machine_is_left_alone(bench: Bench) -> None:
    assert bench.watch.look() is Strain.NONE
    assert len(bench.loaded) == 5


def test_the_least_used_leave_step_by_step_and_come_back_when_it_is_calm(bench: Bench) -> None:
    bench.machine.reading = replace(CALM, stall=Stall(some_avg10=20.0, full_avg10=0.0))
    assert bench.watch.look() is Strain.TIGHT
    # 500 MiB were held; three quarters are 375, so two leave.
    assert wait_until(lambda: bench.loaded == ["c", "d", "pinned"], timeout_s=10)
    bench.machine.reading = CALM
    bench.watch.look()
    assert demanded(bench.models, "a") is None
    assert bench.loaded == ["a", "d", "pinned"]
    bench.clock.advance(31)
    bench.watch.look()
    assert demanded(bench.models, "b") is None
    assert bench.loaded == ["a", "b", "d", "pinned"]


def test_all_idle_ones_leave_in_need_but_not_what_is_pinned_or_runs(bench: Bench) -> None:
    entry = bench.models.acquire("a")
    bench.machine.reading = replace(CALM, available_bytes=50 * MIB)
    assert bench.watch.look() is Strain.CRITICAL
    assert wait_until(lambda: bench.loaded == ["a", "pinned"], timeout_s=10)
    error = demanded(bench.models, "b")
    assert isinstance(error, Exhausted)
    assert "the machine has 50.0 MiB of 4096.0 MiB free" in str(error)
    entry.release()


def test_the_watch_looks_by_itself_and_says_where(bench: Bench) -> None:
    assert "meminfo" in bench.watch.source
    bench.machine.reading = replace(CALM, available_bytes=50 * MIB)
    bench.watch.start()
    assert wait_until(lambda: bench.loaded == ["pinned"], timeout_s=10)
    bench.watch.close()
    bench.watch.close()
