"""The requests of one version that wait for the pool, and which of them run together next; pure.

Order: priority (1 first), then arrival. A stack is begun by the first in that order and filled with
those behind it that have its form, as far as the rows allow; the others keep their places.
"""

import math
from collections import deque

from fogline.errors import DeadlineExceeded, Exhausted
from fogline_edge.serving.jobs import Job

DEFAULT_PRIORITY = 2
"""Of a request that names none: 1 goes before it, 3 and more behind it."""
_KEEP = 0.9
"""Weight of the past in the running mean of what a row costs."""


class Lane:
    """Not safe for use by several threads; the scheduler's lock guards it.

    Args:
        max_rows: Rows that may run together; 1 for never.
        max_queued: Jobs that may wait.
        row_us: What a row is thought to cost before any was run, microseconds; 0 if not known.
        max_delay_s: How long the first may be held up for others to join it.
        max_running: Stacks that may run at once; 0: as many as there are places.

    Attributes:
        queued: Jobs that wait.
        running: Stacks that run now.
        served_s: Seconds that its runs took, by which lanes share the pool.
        row_us: Running mean of what a row costs, microseconds.
    """

    __slots__ = (
        "_levels",
        "_max_queued",
        "_max_rows",
        "max_delay_s",
        "max_running",
        "queued",
        "queued_rows",
        "row_us",
        "running",
        "served_s",
    )

    def __init__(
        self,
        *,
        max_rows: int,
        max_queued: int,
        row_us: float = 0.0,
        max_delay_s: float = 0.0,
        max_running: int = 0,
    ) -> None:
        self._max_rows = max_rows
        self._max_queued = max_queued
        self._levels: dict[int, deque[Job]] = {}
        self.max_delay_s = max_delay_s
        self.max_running = max_running
        self.queued = 0
        self.queued_rows = 0
        self.running = 0
        self.served_s = 0.0
        self.row_us = row_us

    @property
    def is_busy(self) -> bool:
        """Whether as many stacks run as may."""
        return 0 < self.max_running <= self.running

    def admit(self, job: Job, places: int, free: int = 0) -> None:
        """Raises where a job should not even wait.

        Args:
            job: It.
            places: Runs that go on at once, at most, of all lanes.
            free: Places that will take jobs which do not really wait.

        Raises:
            Exhausted: as many wait as may.
            DeadlineExceeded: those before it will take longer than it has.
        """
        if self.max_running:
            places = min(places, self.max_running)
            free = min(free, max(0, self.max_running - self.running))
        if self.queued >= self._max_queued + free:
            raise Exhausted(
                f"{job.served.label}: {self.queued} requests wait already; try again later"
            )
        if self.queued and self.row_us:
            wait_s = self.wait_s(places)
            if job.arrived + wait_s > job.deadline:
                raise DeadlineExceeded(
                    f"{job.served.label}: the {self.queued} requests that wait take about "
                    f"{wait_s:.3g} s, longer than this one may"
                )

    def wait_s(self, places: int) -> float:
        """How long a job that comes now will wait, as far as known, where `places` runs go on."""
        return self.queued_rows * self.row_us * 1e-6 / places

    def push(self, job: Job) -> None:
        """Adds a job at the end of its priority; `admit` comes first."""
        level = job.request.priority or DEFAULT_PRIORITY
        queue = self._levels.get(level)
        if queue is None:
            queue = self._levels[level] = deque()
            if len(self._levels) > 1:
                self._levels = dict(sorted(self._levels.items()))
        queue.append(job)
        self.queued += 1
        self.queued_rows += job.request.rows

    def ready_in_s(self, now: float) -> float:
        """Seconds until `take` should be called: 0 where nothing is gained by waiting."""
        if not self.max_delay_s or self.queued_rows >= self._max_rows:
            return 0.0
        first = min(queue[0].arrived for queue in self._levels.values() if queue)
        return max(0.0, first + self.max_delay_s - now)

    def take(self) -> list[Job]:
        """The next stack; empty if nothing waits."""
        stack: list[Job] = []
        rows, form = 0, None  # a form that allows no stacking belongs to one request
        for level, queue in list(self._levels.items()):
            kept: list[Job] = []
            while queue and rows < self._max_rows:
                job = queue.popleft()
                request = job.request
                if not stack:
                    form = request.form
                elif request.form is not form or rows + request.rows > self._max_rows:
                    kept.append(job)
                    continue
                stack.append(job)
                rows += max(1, request.rows)  # no rows take a place as well
            queue.extendleft(reversed(kept))
            if not queue:
                del self._levels[level]
        self.queued -= len(stack)
        self.queued_rows -= sum([job.request.rows for job in stack])
        return stack

    def discard(self, job: Job) -> bool:
        """Takes a job out that has not been taken; whether it was there."""
        level = job.request.priority or DEFAULT_PRIORITY
        queue = self._levels.get(level)
        if queue is None or job not in queue:
            return False
        queue.remove(job)
        if not queue:
            del self._levels[level]
        self.queued -= 1
        self.queued_rows -= job.request.rows
        return True

    def expire(self, now: float) -> tuple[list[Job], float]:
        """Takes the jobs out whose deadline has passed; also gives the next deadline, or inf."""
        late: list[Job] = []
        next_at = math.inf
        for queue in list(self._levels.values()):
            for job in list(queue):
                if job.deadline <= now:
                    self.discard(job)
                    late.append(job)
                else:
                    next_at = min(next_at, job.deadline)
        return late, next_at

    def learn(self, rows: int, seconds: float) -> None:
        """Takes note of what a run took."""
        self.served_s += seconds
        took_us = seconds * 1e6 / max(rows, 1)
        self.row_us = took_us if not self.row_us else _KEEP * self.row_us + (1 - _KEEP) * took_us
