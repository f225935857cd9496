"""When calls end that have a deadline: one timer for all, in steps of ten milliseconds.

A timer for each call would cost more than many calls do, and would keep a call that has long been
answered until its deadline.
"""

import heapq
from typing import Generic, TypeVar

STEP_S = 0.01
"""How much later than its deadline a call may end, in seconds."""
_SLACK = 256

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Things by the step in which they are due; for one thread."""

    def __init__(self) -> None:
        self._due: dict[int, set[T]] = {}
        self._steps: list[int] = []

    def add(self, thing: T, at: float) -> int:
        """`at` in seconds of any clock; returns the step, for `remove`."""
        step = int(at / STEP_S) + 1
        things = self._due.get(step)
        if things is None:
            self._due[step] = {thing}
            heapq.heappush(self._steps, step)
        else:
            things.add(thing)
        return step

    def remove(self, thing: T, step: int) -> None:
        things = self._due.get(step)
        if things is None:
            return
        things.discard(thing)
        if not things:
            del self._due[step]
            # Peers choose deadlines: steps that nothing waits for must not pile up.
            if len(self._steps) > 2 * len(self._due) + _SLACK:
                self._steps = sorted(self._due)

    def next_at(self) -> float | None:
        """When something is due, on the clock of `add`."""
        while self._steps and self._steps[0] not in self._due:  # answered in time
            heapq.heappop(self._steps)
        return self._steps[0] * STEP_S if self._steps else None

    def pop(self, now: float) -> list[T]:
        """Everything that is due."""
        found: list[T] = []
        while self._steps and self._steps[0] * STEP_S <= now:
            found += self._due.pop(heapq.heappop(self._steps), ())
        return found
