"""Lanes share the pool: simulated runs on some places, in virtual time."""

import heapq
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline_edge.serving.lanes import Lane
from fogline_edge.serving.turns import Turn, Turns
from tests.unit.test_serving_lanes import Asked, job


@dataclass(slots=True)
class Simulation:
    """Lanes whose runs take a fixed time, on places that are never idle while anything waits."""

    costs: list[float]
    places: int
    known: bool
    """Whether what runs take was measured beforehand."""
    turns: Turns = field(default_factory=Turns)
    now: float = 0.0
    served: list[float] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    running: list[tuple[float, int, Turn]] = field(default_factory=list)
    begun: int = 0

    def __post_init__(self) -> None:
        for cost in self.costs:
            us = cost * 1e6 if self.known else 0.0
            self.lanes.append(Lane(max_rows=1, max_queued=9, one_row_us=us, row_us=us))
            self.served.append(0.0)

    def submit(self, which: int) -> None:
        self.turns.enter(self.lanes[which])
        self.lanes[which].push(job(Asked(), arrived=self.now))

    def step(self, busy: range) -> None:
        """Keeps the lanes `busy` at work, and lets the run end that ends next."""
        while len(self.running) < self.places:
            for which in busy:
                if not self.lanes[which].queued:
                    self.submit(which)
            turn, _ = self.turns.begin(self.now)
            if turn is None:
                break
            self.begun += 1
            cost = self.costs[self.lanes.index(turn.lane)]
            heapq.heappush(self.running, (self.now + cost, self.begun, turn))
        self.now, _, turn = heapq.heappop(self.running)
        which = self.lanes.index(turn.lane)
        self.served[which] += self.costs[which]
        self.turns.end(turn, rows=1, seconds=self.costs[which])


costs = st.lists(st.floats(0.001, 1.0), min_size=2, max_size=5)


@given(costs, st.integers(1, 4))
def test_lanes_that_always_have_work_get_equal_time(costs: list[float], places: int) -> None:
    places = min(places, len(costs))
    simulation = Simulation(costs, places, known=True)
    for _ in range(300):
        simulation.step(range(len(costs)))
        # Start-time fair queueing: apart by no more than one run of each on every place.
        assert max(simulation.served) - min(simulation.served) <= 2 * places * max(costs) + 1e-9


@given(costs, st.integers(1, 3))
def test_they_do_too_where_nothing_was_measured(costs: list[float], places: int) -> None:
    simulation = Simulation(costs, places, known=False)
    for _ in range(400):
        simulation.step(range(len(costs)))
    assert max(simulation.served) - min(simulation.served) <= 2 * (places + 1) * max(costs) + 1e-9


@given(costs, st.integers(1, 3), st.integers(1, 200))
def test_a_lane_that_comes_late_waits_for_its_share_and_gets_no_more(
    costs: list[float], places: int, earlier: int
) -> None:
    simulation = Simulation(costs, places, known=True)
    last = len(costs) - 1
    for _ in range(earlier):
        simulation.step(range(last))
    before = list(simulation.served)
    for _ in range(200):
        simulation.step(range(len(costs)))
        mine = simulation.served[last] - before[last]
        others = [simulation.served[i] - before[i] for i in range(last)]
        assert mine <= max(others) + 2 * (places + 1) * max(costs)
    runs_now = any(turn.lane is simulation.lanes[last] for _, _, turn in simulation.running)
    assert simulation.served[last] > 0 or runs_now


def test_a_lane_of_long_runs_leaves_a_place_to_one_of_short_ones() -> None:
    """Its first run has not ended, and so has not counted by what it took."""
    simulation = Simulation([10.0, 0.001], places=2, known=True)
    simulation.submit(0)
    first, _ = simulation.turns.begin(0.0)
    assert first is not None
    for which in (0, 1):
        simulation.submit(which)
    second, _ = simulation.turns.begin(0.0)
    assert second is not None
    assert (first.lane, second.lane) == tuple(simulation.lanes)


def test_an_idle_lane_is_owed_nothing() -> None:
    simulation = Simulation([1.0, 1.0], places=1, known=True)
    for _ in range(50):
        simulation.step(range(1))
    for _ in range(10):
        simulation.step(range(2))
    assert simulation.served[1] == pytest.approx(5, abs=1)
