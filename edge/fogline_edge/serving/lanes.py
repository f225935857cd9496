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
_SLOWER, _FASTER = 0.1, 0.5
"""Weight of a run in the running mean of the pace. Quick to forget a slow phase: who is let in for
nothing is told at the deadline, who is kept out for nothing has no answer at all."""


class Lane:
    """Not safe for use by several threads; the pool's lock guards it.

    Args:
        max_rows: Rows that may run together; 1 for never.
        max_queued: Jobs that may wait.
        one_row_us: Time of a run of one row, as measured beforehand, microseconds; 0: not known.
        row_us: Time of each further row of the same run.
        max_delay_s: How long the first may be held up for others to join it.
        max_running: Stacks that may run at once; 0: as many as there are places.

    Attributes:
        queued: Jobs that wait.
        running: Stacks that run now.
        served_s: Seconds that its runs took, and those that run will take as far as is known, by
            which lanes share the pool.
        pace: Running mean of what runs take, over what they should by the measured times; of what
            a row takes, microseconds, where none were; 0: nothing was measured and nothing has run.
    """

    __slots__ = (
        "_levels",
        "_max_queued",
        "_max_rows",
        "_one_row_us",
        "_row_us",
        "max_delay_s",
        "max_running",
        "pace",
        "queued",
        "queued_rows",
        "running",
        "served_s",
    )

    def __init__(
        self,
        *,
        max_rows: int,
        max_queued: int,
        one_row_us: float = 0.0,
        row_us: float = 0.0,
        max_delay_s: float = 0.0,
        max_running: int = 0,
    ) -> None:
        self._max_rows = max_rows
        self._max_queued = max_queued
        self._one_row_us = one_row_us
        self._row_us = row_us
        self._levels: dict[int, deque[Job]] = {}
        """By priority, the first one first; none of them is empty."""
        self.max_delay_s = max_delay_s
        self.max_running = max_running
        self.queued = 0
        self.queued_rows = 0
        self.running = 0
        self.served_s = 0.0
        self.pace = 1.0 if one_row_us else 0.0

    @property
    def is_busy(self) -> bool:
        """Whether as many stacks run as may."""
        return 0 < self.max_running <= self.running

    # ------------------------------------------------------------------ coming

    def admit(self, job: Job, places: int, free: int = 0) -> Job | None:
        """Adds a job at the end of its priority, or raises where it should not even wait.

        Args:
            job: It.
            places: Runs that go on at once, at most, of all lanes.
            free: Places that will take jobs which do not really wait.

        Returns:
            A job that had to make room: the last of the lowest priority, below the new one's.

        Raises:
            Exhausted: as many wait as may, none of them at a lower priority.
            DeadlineExceeded: those before it will take longer than it has.
        """
        if self.max_running:
            places = min(places, self.max_running)
            free = min(free, max(0, self.max_running - self.running))
        is_full = self.queued >= self._max_queued + free
        level = job.request.priority or DEFAULT_PRIORITY
        lowest = next(reversed(self._levels), level)
        if is_full and lowest <= level:
            raise Exhausted(
                f"{job.served.label}: {self.queued} requests wait already; try again later"
            )
        wait_s = self.wait_s(places, level)
        if wait_s and job.arrived + wait_s > job.deadline:
            raise DeadlineExceeded(
                f"{job.served.label}: the {self.queued} requests that wait take about "
                f"{wait_s:.3g} s, longer than this one may"
            )
        displaced = self._levels[lowest][-1] if is_full else None
        if displaced is not None:
            self.discard(displaced)
        self.push(job)
        return displaced

    def wait_s(self, places: int, level: int = DEFAULT_PRIORITY) -> float:
        """How long a job of this priority that comes now will wait, as far as known."""
        if len(self._levels) < 2:
            rows = self.queued_rows if next(iter(self._levels), level) <= level else 0
        else:
            before = [queue for at, queue in self._levels.items() if at <= level]
            rows = sum([job.request.rows for queue in before for job in queue])
        return self.expected_s(rows) / places

    def push(self, job: Job) -> None:
        """Adds a job at the end of its priority, whatever waits."""
        level = job.request.priority or DEFAULT_PRIORITY
        queue = self._levels.get(level)
        if queue is None:
            queue = self._levels[level] = deque()
            if len(self._levels) > 1:
                self._levels = dict(sorted(self._levels.items()))
        queue.append(job)
        self.queued += 1
        self.queued_rows += job.request.rows

    # ----------------------------------------------------------------- leaving

    def ready_in_s(self, now: float) -> float:
        """Seconds until `take` should be called: 0 where nothing is gained by waiting."""
        if not self.max_delay_s or self.queued_rows >= self._max_rows:
            return 0.0
        first = min(queue[0].arrived for queue in self._levels.values())
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

    def take_all(self) -> list[Job]:
        """All that waits, as it would be taken."""
        found = [job for queue in self._levels.values() for job in queue]
        self._levels.clear()
        self.queued = self.queued_rows = 0
        return found

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

    # ------------------------------------------------------------------- times

    def expected_s(self, rows: int) -> float:
        """What these rows will take, in stacks as large as may be; 0 where it is not known."""
        return self.pace * self._measured_us(rows) * 1e-6 if rows else 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """Takes note of what a run of these rows took."""
        found = seconds * 1e6 / self._measured_us(max(1, rows))
        weight = _SLOWER if found > self.pace else _FASTER
        self.pace = self.pace + weight * (found - self.pace) if self.pace else found

    def _measured_us(self, rows: int) -> float:
        if not self._one_row_us:
            return rows
        runs = -(-rows // self._max_rows)
        return runs * self._one_row_us + (rows - runs) * self._row_us
