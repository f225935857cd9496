"""Threads that run what is expensive: as many as there is work for, none when there is none.

There are at most `max_running` of them, and no more than the processors that this process may keep
busy; where these become fewer, threads end after their runs. Whose turn it is, `turns` says. A job
whose deadline passes while it waits is handed back at that moment, not when its turn comes.

While it has threads, the interpreter lets threads take turns at short intervals
(`switch_interval_s`), or a busy event loop would starve them; without them, turns cost more than
they are worth.
"""

import logging
import math
import sys
import threading
from collections.abc import Callable, Sequence

from fogline.clock import Clock
from fogline.errors import Exhausted, FoglineError, Unavailable
from fogline_edge.serving.config import ServingConfig
from fogline_edge.serving.jobs import Flight, Job
from fogline_edge.serving.lanes import Lane
from fogline_edge.serving.turns import Turn, Turns

_LOG = logging.getLogger(__name__)

_STOPPING = "the server is stopping"
_DISPLACED = "as many requests wait as may, and this one made room for one of a higher priority"
_NO_THREAD = "the machine lets no thread be started that would run it; try again later"

Run = Callable[[Sequence[Job], Flight], int]
"""Runs a stack; returns the rows that one run took all the time for, 0 where it was another way."""
Late = Callable[[Sequence[Job]], None]
"""Gets jobs whose deadline passed while they waited."""
TurnAway = Callable[[Sequence[Job], type[FoglineError], str], None]
"""Gets jobs that waited and will not be run, and why."""


class Pool:
    """Safe to use from any thread.

    Args:
        run: Runs a stack of jobs of one lane.
        late: As it says.
        turn_away: As it says.
        clock: Time.
        config: The bounds.
        processors: How many this process may keep busy now.

    Attributes:
        threads: That live now.
    """

    def __init__(
        self,
        run: Run,
        late: Late,
        turn_away: TurnAway,
        *,
        clock: Clock,
        config: ServingConfig,
        processors: Callable[[], int],
    ) -> None:
        self._run = run
        self._late = late
        self._turn_away = turn_away
        self._clock = clock
        self._config = config
        self._processors = processors
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._ended = threading.Condition(lock)
        self._turns = Turns()
        self._fresh = 0
        """Jobs since the threads were last told."""
        self.threads = 0
        self._usual_interval_s = sys.getswitchinterval()
        self._idle = 0
        self._told = 0
        """Threads that were told of work and have not woken."""
        self._flights: dict[Flight, None] = {}
        """Runs that go on."""
        self._closing = False
        self._sweep = threading.Condition(lock)
        self._sweep_at = math.inf
        """When the sweeper looks next, monotonic seconds."""
        self._sweeper: threading.Thread | None = None

    @property
    def has_room(self) -> bool:
        """Whether a job that came now would be run at once."""
        with self._changed:
            return len(self._flights) < self._places() and not self._turns.has_queued

    def submit(self, lane: Lane, job: Job) -> None:
        """Queues a job; its turn comes after `wake`. Raises as `Lane.admit`, or `Unavailable`."""
        with self._changed:
            if self._closing:
                raise Unavailable(_STOPPING)
            places = self._places()
            displaced = lane.admit(job, places, max(0, places - len(self._flights)))
            self._turns.enter(lane)
            self._fresh += 1
            if job.deadline < self._sweep_at:
                self._sweep_at = job.deadline
                self._wake_sweeper()
        if displaced is not None:
            self._turn_away([displaced], Exhausted, _DISPLACED)

    def wake(self) -> None:
        """Sees to it that threads take what was submitted."""
        if not self._fresh:
            return
        stranded: Sequence[Job] = ()
        with self._changed:
            fresh, self._fresh = self._fresh, 0
            told = min(fresh, self._idle)
            self._tell(told)
            try:
                for _ in range(min(fresh - told, self._places() - self.threads)):
                    self._add_thread()
            except RuntimeError as e:  # the process may have no more threads: others do the work
                _LOG.warning("no thread for the pool", extra={"reason": str(e)})
                if not self.threads:
                    stranded = self._turns.take_all()
        if stranded:
            self._turn_away(stranded, Exhausted, _NO_THREAD)

    def discard(self, lane: Lane, job: Job) -> bool:
        """Takes a job out; False if it runs already, or has."""
        with self._changed:
            was_there = lane.discard(job)
            self._turns.leave_idle(lane)
            return was_there

    def close(self, timeout_s: float) -> None:
        """Takes no more jobs, and ends the threads when what waits has run.

        After `timeout_s` what still waits is turned away, and what runs is ended early, which
        takes until its node of the graph is done.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            in_time = self._ended.wait_for(lambda: not self.threads, timeout_s)
            left = [] if in_time else self._turns.take_all()
            flights = tuple(self._flights)
        if left:
            self._turn_away(left, Unavailable, _STOPPING)
        for flight in flights:
            flight.give_up()
        with self._changed:
            self._ended.wait_for(lambda: not self.threads, timeout_s)
            self._sweep.notify()
        if self._sweeper is not None:
            self._sweeper.join(timeout_s)

    def _places(self) -> int:
        return min(self._config.max_running, self._processors())

    def _tell(self, count: int) -> None:
        """A thread that is told is idle no more, though it has yet to wake."""
        self._idle -= count
        self._told += count
        self._changed.notify(count)

    # ------------------------------------------------------------------ threads

    def _add_thread(self) -> None:
        threading.Thread(target=self._work, name="run", daemon=True).start()
        self.threads += 1
        if self.threads == 1:
            self._usual_interval_s = sys.getswitchinterval()
            sys.setswitchinterval(self._config.switch_interval_s)

    def _work(self) -> None:
        """Runs stacks until there was nothing for `idle_thread_s`."""
        while (taken := self._next()) is not None:
            turn, flight = taken
            began, rows = self._clock.monotonic(), 0
            try:
                rows = self._run(turn.jobs, flight)
            except Exception:  # a task boundary: this thread is everyone's
                _LOG.exception("run failed", extra={"model": turn.jobs[0].served.label})
            finally:
                with self._changed:
                    del self._flights[flight]
                    self._turns.end(turn, rows, self._clock.monotonic() - began)

    def _next(self) -> tuple[Turn, Flight] | None:
        with self._changed:
            idle_since = self._clock.monotonic()
            if self.threads > self._places():
                self._tell(min(1, self._idle))  # to whom this thread's turn passes
                self._end_thread()
                return None
            while True:
                now = self._clock.monotonic()
                turn, wait_s = self._turns.begin(now, is_closing=self._closing)
                if turn is not None:
                    flight = Flight(turn.jobs)
                    self._flights[flight] = None
                    return turn, flight
                left_s = idle_since + self._config.idle_thread_s - now
                is_done = self._closing and not self._turns.has_queued
                if is_done or (left_s <= 0 and wait_s is None):
                    self._end_thread()
                    return None
                self._idle += 1
                self._changed.wait(left_s if wait_s is None else wait_s)
                if self._told:
                    self._told -= 1
                else:
                    self._idle -= 1

    def _end_thread(self) -> None:
        self.threads -= 1
        if not self.threads:
            sys.setswitchinterval(self._usual_interval_s)
        self._ended.notify_all()

    # ------------------------------------------------------------------ deadlines

    def _wake_sweeper(self) -> None:
        if self._sweeper is None:
            thread = threading.Thread(target=self._sweep_on, name="deadlines", daemon=True)
            try:
                thread.start()
            except (
                RuntimeError
            ) as e:  # the next job tries again; until then runs see their deadline
                _LOG.warning("no thread for deadlines", extra={"reason": str(e)})
                self._sweep_at = math.inf
                return
            self._sweeper = thread
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
                late, self._sweep_at = self._turns.expire(now)
                if self._closing:  # what waits still runs, or is late within its time
                    self._sweep.wait(0.05)
            if late:
                self._late(late)
