"""Threads that run what is expensive: as many as there is work for, none when there is none.

The lane that has had the least of the pool's time goes first, so no version starves another. A job
whose deadline passes while it waits is handed back at that moment, not when its turn comes.

While it has threads, the interpreter lets threads take turns at short intervals
(`switch_interval_s`), or a busy event loop would starve them; without them, turns cost more than
they are worth.
"""

import math
import sys
import threading
from collections.abc import Callable, Sequence

from fogline.clock import Clock
from fogline.errors import Unavailable
from fogline_edge.serving.config import ServingConfig
from fogline_edge.serving.jobs import Flight, Job
from fogline_edge.serving.lanes import Lane

Run = Callable[[Lane, Sequence[Job], Flight], None]


class Pool:
    """Safe to use from any thread.

    Args:
        run: Runs a stack of jobs of one lane; never raises.
        late: Gets jobs whose deadline passed while they waited.
        clock: Time.
        config: The bounds.

    Attributes:
        threads: That live now.
    """

    def __init__(
        self,
        run: Run,
        late: Callable[[Sequence[Job]], None],
        *,
        clock: Clock,
        config: ServingConfig,
    ) -> None:
        self._run = run
        self._late = late
        self._clock = clock
        self._config = config
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._ended = threading.Condition(lock)
        self._lanes: dict[Lane, None] = {}
        """Lanes that have jobs waiting or running."""
        self._fresh = 0
        """Jobs since the threads were last told."""
        self.threads = 0
        self._usual_interval_s = sys.getswitchinterval()
        self._idle = 0
        self._told = 0
        """Threads that were told of work and have not woken."""
        self._busy = 0
        self._virtual_s = 0.0
        """Pool time that the lane served last had had: a lane that comes anew begins there."""
        self._closing = False
        self._sweep = threading.Condition(lock)
        self._sweep_at = math.inf
        """When the sweeper looks next, monotonic seconds."""
        self._sweeper: threading.Thread | None = None

    def submit(self, lane: Lane, job: Job) -> None:
        """Queues a job; its turn comes after `wake`. Raises as `Lane.admit`, or `Unavailable`."""
        with self._changed:
            if self._closing:
                raise Unavailable("the server is stopping")
            lane.admit(job, self._config.max_running, self._config.max_running - self._busy)
            if lane not in self._lanes:
                self._lanes[lane] = None
                lane.served_s = max(lane.served_s, self._virtual_s)
            lane.push(job)
            self._fresh += 1
            if job.deadline < self._sweep_at:
                self._sweep_at = job.deadline
                self._wake_sweeper()

    def wake(self) -> None:
        """Sees to it that threads take what was submitted."""
        if not self._fresh:
            return
        with self._changed:
            fresh, self._fresh = self._fresh, 0
            # A thread that is told is idle no more, though it has yet to wake.
            told = min(fresh, self._idle)
            self._idle -= told
            self._told += told
            self._changed.notify(told)
            wanted = min(fresh - told, self._config.max_running - self.threads)
            for _ in range(wanted):
                threading.Thread(target=self._work, name="run", daemon=True).start()
                self.threads += 1
                if self.threads == 1:
                    self._usual_interval_s = sys.getswitchinterval()
                    sys.setswitchinterval(self._config.switch_interval_s)

    def discard(self, lane: Lane, job: Job) -> bool:
        """Takes a job out; False if it runs already, or has."""
        with self._changed:
            was_there = lane.discard(job)
            self._forget_idle(lane)
            return was_there

    def close(self, timeout_s: float) -> None:
        """Takes no more jobs, and ends the threads when what waits has run."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._ended.wait_for(lambda: not self.threads, timeout_s)
            self._sweep.notify()
        if self._sweeper is not None:
            self._sweeper.join(timeout_s)

    def _forget_idle(self, lane: Lane) -> None:
        """A lane without work must come anew, or its old share of time would be due to it."""
        if not lane.queued and not lane.running:
            self._lanes.pop(lane, None)

    # ------------------------------------------------------------------ threads

    def _work(self) -> None:
        """Runs stacks until there was nothing for `idle_thread_s`."""
        while (picked := self._next()) is not None:
            lane, jobs = picked
            try:
                self._run(lane, jobs, Flight(jobs))
            finally:
                with self._changed:
                    lane.running -= 1
                    self._busy -= 1
                    self._forget_idle(lane)

    def _next(self) -> tuple[Lane, list[Job]] | None:
        with self._changed:
            idle_since = self._clock.monotonic()
            while True:
                now = self._clock.monotonic()
                lane, wait_s = self._pick(now)
                if lane is not None:
                    lane.running += 1
                    self._busy += 1
                    self._virtual_s = max(self._virtual_s, lane.served_s)
                    return lane, lane.take()
                left_s = idle_since + self._config.idle_thread_s - now
                is_done = self._closing and not any(lane.queued for lane in self._lanes)
                if is_done or (left_s <= 0 and wait_s is None):
                    self.threads -= 1
                    if not self.threads:
                        sys.setswitchinterval(self._usual_interval_s)
                    self._ended.notify_all()
                    return None
                self._idle += 1
                self._changed.wait(left_s if wait_s is None else wait_s)
                if self._told:
                    self._told -= 1
                else:
                    self._idle -= 1

    def _pick(self, now: float) -> tuple[Lane | None, float | None]:
        """The lane whose turn it is; else how long until one is ready, None if none waits."""
        best: Lane | None = None
        soonest: float | None = None
        for lane in self._lanes:
            if not lane.queued or lane.is_busy:
                continue
            wait_s = 0.0 if self._closing else lane.ready_in_s(now)
            if wait_s > 0:
                soonest = wait_s if soonest is None else min(soonest, wait_s)
            elif best is None or lane.served_s < best.served_s:
                best = lane
        return best, soonest

    # ------------------------------------------------------------------ deadlines

    def _wake_sweeper(self) -> None:
        if self._sweeper is None:
            self._sweeper = threading.Thread(target=self._sweep_on, name="deadlines", daemon=True)
            self._sweeper.start()
        self._sweep.notify()

    def _sweep_on(self) -> None:
        while True:
            with self._sweep:
                now = self._clock.monotonic()
                while not self._closing and now < self._sweep_at:
                    idle = self._sweep_at == math.inf
                    self._sweep.wait(None if idle else self._sweep_at - now)
                    now = self._clock.monotonic()
                if self._closing and not self.threads:
                    return
                late: list[Job] = []
                self._sweep_at = math.inf
                for lane in list(self._lanes):
                    gone, next_at = lane.expire(now)
                    self._forget_idle(lane)
                    late += gone
                    self._sweep_at = min(self._sweep_at, next_at)
                if self._closing:  # what waits still runs, or is late within its time
                    self._sweep.wait(0.05)
            if late:
                self._late(late)
