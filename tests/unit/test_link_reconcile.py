import pytest

from fogline.clock import ManualClock, wait_until
from fogline.desired import DesiredModel, DesiredState, target_path
from fogline.errors import Unavailable
from fogline_edge.link import Reconciler


def model(name: str, version: int = 1) -> DesiredModel:
    return DesiredModel(
        name=name,
        version=version,
        manifest=f"{version:064x}",
        target=target_path(name, version),
    )


class Shelf:
    """Installs what it can: a version in `broken` fails for now."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.broken: set[int] = set()
        self.faults: dict[str, Exception] = {}
        """By name: what the installer raises for it."""
        self.tries: list[tuple[str, int]] = []
        self.ticks = 0

    def install(self, model: DesiredModel, generation: int, *, retry: bool) -> bool:
        assert generation > 0
        assert not retry
        self.tries.append((model.name, model.version))
        if model.name in self.faults:
            raise self.faults[model.name]
        if model.version in self.broken:
            return False
        self.held[model.name] = model.version
        return True

    def remove(self, name: str) -> None:
        if name in self.faults:
            raise self.faults[name]
        del self.held[name]

    def names(self) -> tuple[str, ...]:
        return tuple(self.held)

    def tick(self) -> None:
        if "tick" in self.faults:
            raise self.faults["tick"]
        self.ticks += 1


class Bench:
    def __init__(self) -> None:
        self.wanted: DesiredState | None = None
        self.shelf = Shelf()
        self.clock = ManualClock()
        self.reconciler = Reconciler(
            lambda: self.wanted, self.shelf, clock=self.clock, rng=lambda: 0.999
        )

    def want(self, *models: DesiredModel, generation: int = 1) -> None:
        self.wanted = DesiredState(generation=generation, models=models)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_is_desired_is_installed_and_what_is_not_is_removed(bench: Bench) -> None:
    bench.want(model("a"), model("b"))
    bench.reconciler.round()
    assert bench.shelf.held == {"a": 1, "b": 1}
    bench.want(model("b", 2), generation=2)
    bench.reconciler.round()
    assert bench.shelf.held == {"b": 2}


def test_without_an_order_nothing_is_removed(bench: Bench) -> None:
    bench.shelf.held = {"a": 1}
    bench.reconciler.round()
    assert bench.shelf.held == {"a": 1}
    assert bench.shelf.ticks == 1


def test_a_failure_is_tried_again_ever_more_rarely_and_does_not_hold_up_others(
    bench: Bench,
) -> None:
    bench.shelf.broken = {7}
    bench.want(model("a", 7), model("b"))
    seconds = []
    for second in range(40):
        before = bench.shelf.tries.count(("a", 7))
        bench.reconciler.round()
        if bench.shelf.tries.count(("a", 7)) > before:
            seconds.append(second)
        bench.clock.advance(1)
    assert bench.shelf.held == {"b": 1}
    assert seconds == [0, 1, 3, 7, 15, 31]
    bench.shelf.broken.clear()
    bench.clock.advance(600)
    bench.reconciler.round()
    assert bench.shelf.held == {"a": 7, "b": 1}


@pytest.mark.parametrize("fault", [Unavailable("the disk fails"), OSError("full"), KeyError("?")])
def test_what_raises_is_tried_again_with_back_off_and_holds_no_other_up(
    bench: Bench, fault: Exception
) -> None:
    bench.shelf.held = {"old": 1}
    bench.shelf.faults = dict.fromkeys(("tick", "old", "a"), fault)
    bench.want(model("a"), model("b"))
    seconds = []
    for second in range(16):
        before = bench.shelf.tries.count(("a", 1))
        bench.reconciler.round()
        if bench.shelf.tries.count(("a", 1)) > before:
            seconds.append(second)
        bench.clock.advance(1)
    assert bench.shelf.held == {"old": 1, "b": 1}
    assert seconds == [0, 1, 3, 7, 15]
    bench.shelf.faults.clear()
    bench.clock.advance(600)
    bench.reconciler.round()
    assert bench.shelf.held == {"a": 1, "b": 1}


def test_a_version_that_is_wanted_again_starts_with_a_fresh_back_off(bench: Bench) -> None:
    bench.shelf.broken = {7}
    for _ in range(10):
        bench.want(model("a", 7))
        bench.reconciler.round()
        bench.clock.advance(600)
    bench.want(model("a", 8), generation=2)
    bench.reconciler.round()
    bench.shelf.broken.clear()
    bench.want(model("a", 7), generation=3)
    bench.reconciler.round()
    assert bench.shelf.held == {"a": 7}


def test_a_newer_version_does_not_wait_for_the_old_ones_back_off(bench: Bench) -> None:
    bench.shelf.broken = {7}
    bench.want(model("a", 7))
    bench.reconciler.round()
    bench.want(model("a", 8), generation=2)
    bench.reconciler.round()
    assert bench.shelf.held == {"a": 8}


def test_the_thread_acts_when_woken_and_a_stopped_one_brings_nothing_new(bench: Bench) -> None:
    bench.reconciler.start()
    bench.want(model("a"))
    bench.reconciler.wake()
    assert wait_until(lambda: bench.shelf.held == {"a": 1}, timeout_s=5.0)
    bench.reconciler.stop()
    bench.want(model("a", 2), generation=2)
    bench.reconciler.round()
    assert bench.shelf.held == {"a": 1}
