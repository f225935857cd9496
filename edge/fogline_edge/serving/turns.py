"""Whose turn it is: lanes share the pool's time evenly; pure.

The lane that has had the least goes first. A run counts from its beginning, with what it will take
as far as is known, or a lane of long runs would take every place before its first one had counted.
A lane that comes anew begins at the time of the lane served last: nothing is due to it from when it
asked for nothing (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996, with one weight).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fogline_edge.serving.jobs import Job
from fogline_edge.serving.lanes import Lane


@dataclass(frozen=True, slots=True)
class Turn:
    """A stack that was taken to be run."""

    lane: Lane
    jobs: Sequence[Job]
    charged_s: float
    """What the lane was charged for it beforehand."""


class Turns:
    """Lanes that have jobs waiting or running. Not safe for use by several threads."""

    __slots__ = ("_lanes", "_virtual_s")

    def __init__(self) -> None:
        self._lanes: dict[Lane, None] = {}
        self._virtual_s = 0.0
        """What the lane served last had had."""

    @property
    def has_queued(self) -> bool:
        return any(lane.queued for lane in self._lanes)

    def enter(self, lane: Lane) -> None:
        """A job is about to wait in the lane."""
        if lane not in self._lanes:
            self._lanes[lane] = None
            lane.served_s = max(lane.served_s, self._virtual_s)

    def leave_idle(self, lane: Lane) -> None:
        """A lane without work must enter anew, or its old share of time would be due to it."""
        if not lane.queued and not lane.running:
            self._lanes.pop(lane, None)

    def begin(self, now: float, *, is_closing: bool = False) -> tuple[Turn | None, float | None]:
        """The next stack; else the seconds until one is ready, None if none waits.

        Args:
            now: Monotonic seconds.
            is_closing: No stack is held up for others to join it.
        """
        best: Lane | None = None
        soonest: float | None = None
        for lane in self._lanes:
            if not lane.queued or lane.is_busy:
                continue
            wait_s = 0.0 if is_closing else lane.ready_in_s(now)
            if wait_s > 0:
                soonest = wait_s if soonest is None else min(soonest, wait_s)
            elif best is None or lane.served_s < best.served_s:
                best = lane
        if best is None:
            return None, soonest
        jobs = best.take()
        charged_s = best.expected_s(sum([job.request.rows for job in jobs]))
        self._virtual_s = max(self._virtual_s, best.served_s)
        best.served_s += charged_s
        best.running += 1
        return Turn(best, jobs, charged_s), None

    def end(self, turn: Turn, rows: int, seconds: float) -> None:
        """A stack has been run.

        Args:
            turn: It.
            rows: That one run took all this time for; 0 where nothing can be learned of it.
            seconds: That it held its place.
        """
        lane = turn.lane
        lane.running -= 1
        lane.served_s += seconds - turn.charged_s
        if rows:
            lane.learn(rows, seconds)
        self.leave_idle(lane)

    def expire(self, now: float) -> tuple[list[Job], float]:
        """As `Lane.expire`, of all lanes."""
        late: list[Job] = []
        next_at = math.inf
        for lane in list(self._lanes):
            gone, soonest = lane.expire(now)
            self.leave_idle(lane)
            late += gone
            next_at = min(next_at, soonest)
        return late, next_at

    def take_all(self) -> list[Job]:
        """All that waits, of all lanes."""
        found = [job for lane in self._lanes for job in lane.take_all()]
        for lane in list(self._lanes):
            self.leave_idle(lane)
        return found
