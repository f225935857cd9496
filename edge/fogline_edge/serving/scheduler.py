"""Where and when requests run: cheap ones on the thread that brings them, the rest in a pool.

A front submits the requests of one poll and then flushes. What is cheap (`ModelPlan.placement` says
"loop", and the rows at hand cost less than `loop_run_us`) runs in `flush`, in stacks, with no
hand-off between threads; where several threads flush, `max_running` of them work and the others'
requests join their stacks. What is expensive runs on the threads of the `pool`.

No version starves another: what runs in `flush` is cheap, and all of it runs; in the pool they take
`turns`.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from fogline.clock import Clock
from fogline.errors import (
    DeadlineExceeded,
    Exhausted,
    FoglineError,
    InvalidInput,
    Unavailable,
    internal_error,
)
from fogline.runtime.plan import ModelPlan
from fogline.tensors import Array
from fogline_edge.serving.config import ServingConfig
from fogline_edge.serving.jobs import Complete, Flight, Job, Ran
from fogline_edge.serving.lanes import DEFAULT_PRIORITY, Lane
from fogline_edge.serving.models import Entry
from fogline_edge.serving.pool import Pool
from fogline_edge.serving.processors import Processors
from fogline_edge.serving.queue_policy import QueuePolicy

_LOG = logging.getLogger(__name__)

_CANCELLED = "the request was cancelled"


class Lanes:
    """How the requests of one version run: in `flush` up to `loop_rows` rows, else in the pool."""

    __slots__ = ("loop_rows", "loop_stack", "pool")

    def __init__(
        self, plan: ModelPlan, config: ServingConfig, queue: QueuePolicy | None = None
    ) -> None:
        self.loop_rows = loop_rows(plan, config.loop_run_us)
        self.loop_stack = min(plan.max_stack, max(1, self.loop_rows))
        """Rows of one run in `flush`."""
        said = queue or QueuePolicy()
        at_once = max(1, config.max_running // plan.threads)
        self.pool = Lane(
            max_rows=max(1, plan.max_stack),
            max_queued=min(config.max_queued, said.max_queued or config.max_queued),
            one_row_us=plan.one_row_us,
            row_us=plan.row_us,
            max_delay_s=plan.max_delay_us * 1e-6,
            max_running=min(said.max_running or at_once, at_once),
        )


def loop_rows(plan: ModelPlan, budget_us: float) -> int:
    """Most rows that may run on the event loop's thread; 0 for none.

    >>> loop_rows(ModelPlan(placement="loop", one_row_us=10.0, row_us=1.0), 100.0)
    91
    >>> loop_rows(ModelPlan(placement="pool", one_row_us=10.0, row_us=1.0), 100.0)
    0
    """
    if plan.placement != "loop" or plan.max_delay_us or plan.one_row_us > budget_us:
        return 0
    return 1 + int((budget_us - plan.one_row_us) / max(plan.row_us, 0.01))


class Scheduler:
    """Runs jobs and tells `complete` of each run. Safe to use from any thread.

    Args:
        complete: Gets every job back, once, as part of a `Ran`.
        clock: Time.
        config: The bounds.
        processors: How many this process may keep busy; by default the kernel is asked.
    """

    def __init__(
        self,
        complete: Complete,
        *,
        clock: Clock,
        config: ServingConfig,
        processors: Callable[[], int] | None = None,
    ) -> None:
        self._complete = complete
        self._clock = clock
        self._config = config
        self._pool = Pool(
            self._run,
            self._end_late,
            self._turn_away,
            clock=clock,
            config=config,
            processors=processors or Processors(clock, config.processors_interval_s).count,
        )
        self._lock = threading.Lock()
        self._inbox: deque[Job] = deque()
        """Cheap jobs in order of arrival; as many as the front keeps calls open, at most. Appended
        to without the lock, taken from with it."""
        self._has_priorities = False
        self._flushing = 0

    @property
    def pool_threads(self) -> int:
        return self._pool.threads

    @property
    def has_room(self) -> bool:
        """Whether the pool would run another job at once."""
        return self._pool.has_room

    def submit(self, job: Job) -> None:
        """Queues a job; it runs at the next `flush`, or in the pool soon after.

        Raises:
            Exhausted: as many of its version wait for the pool as may.
            DeadlineExceeded: those before it will take longer than it has.
            Unavailable: the scheduler is closed.
        """
        lanes = job.entry.lanes or self._lanes(job.entry)
        request = job.request
        if lanes.loop_rows and request.rows <= lanes.loop_rows:
            self._inbox.append(job)
            if request.priority:
                self._has_priorities = True
            return
        self._pool.submit(lanes.pool, job)
        job.call.when_ended(partial(self.cancel, job))

    def _lanes(self, entry: Entry) -> Lanes:
        """Made at a version's first request and gone with it; one, whoever comes first."""
        with self._lock:
            if entry.lanes is None:
                entry.lanes = Lanes(entry.served.plan, self._config, entry.served.queue)
            return entry.lanes

    def flush(self) -> None:
        """Runs the cheap jobs that wait, and wakes the pool for the others."""
        self._pool.wake()
        while self._inbox:
            with self._lock:
                if not self._inbox or self._flushing >= self._config.max_running:
                    return  # who flushes already takes what was queued here
                self._flushing += 1
                jobs = self._take()
            try:
                self._run(jobs, None)
            finally:
                with self._lock:
                    self._flushing -= 1

    def _take(self) -> list[Job]:
        """The first job and those behind it that may run with it; the others keep their places."""
        inbox = self._inbox
        if self._has_priorities:
            self._has_priorities = False
            by_priority = sorted(
                [inbox.popleft() for _ in range(len(inbox))],
                key=lambda job: job.request.priority or DEFAULT_PRIORITY,
            )
            inbox.extendleft(reversed(by_priority))
        first = inbox.popleft()
        stack = [first]
        form, rows = first.request.form, first.request.rows
        lanes = first.entry.lanes
        limit = 1 if lanes is None else lanes.loop_stack
        if limit == 1 or not form.is_stackable:
            return stack
        kept: list[Job] = []
        while inbox:
            job = inbox.popleft()
            request = job.request
            if request.form is not form:
                kept.append(job)
            elif rows + request.rows > limit:
                kept.append(job)
                break
            else:
                stack.append(job)
                rows += request.rows
        inbox.extendleft(reversed(kept))
        return stack

    def cancel(self, job: Job) -> None:
        """Gives a job up; harmless when it is over."""
        lanes = job.entry.lanes
        was_queued = lanes is not None and self._pool.discard(lanes.pool, job)
        job.cancel()
        if was_queued:
            self._turn_away([job], Unavailable, _CANCELLED)

    def close(self, timeout_s: float = 10.0) -> None:
        """Takes no more expensive jobs, and ends the pool as `Pool.close` says."""
        self._pool.close(timeout_s)

    # ------------------------------------------------------------------ running

    def _run(self, jobs: Sequence[Job], flight: Flight | None) -> int:
        """Runs a stack; returns its rows if one run was all, and so tells what a run takes."""
        now = self._clock.monotonic()
        live: Sequence[Job] = jobs
        # Looked at once: a job that is given up from here on is part of the run.
        dead = [job for job in jobs if job.is_cancelled or job.deadline <= now]
        if dead:
            live = [job for job in jobs if job not in dead]
            self._end_given_up(dead)
            if not live:
                return 0
        ran = self._ran(live, now, flight)
        if len(live) > 1 and isinstance(ran.error, InvalidInput | Exhausted):
            # One request's values must not cost the others their answers.
            for job in live:
                alone = None if flight is None else Flight([job])
                self._tell(self._ran([job], self._clock.monotonic(), alone))
            return 0
        self._tell(ran)
        return 0 if flight is None else sum([job.request.rows for job in live])

    def _ran(self, jobs: Sequence[Job], now: float, flight: Flight | None) -> Ran:
        first = jobs[0]
        served = first.served
        inputs: Mapping[str, Array] = {}
        outputs: Mapping[str, Array] = {}
        error: FoglineError | None = None
        joined = now
        try:
            if len(jobs) == 1:
                inputs = first.request.inputs
                deadline = first.deadline
            else:
                inputs = first.codec.join([job.request for job in jobs])
                deadline = max([job.deadline for job in jobs])
            joined = self._clock.monotonic()
            outputs = served.runner.run(
                inputs,
                first.request.outputs,
                deadline - now,
                None if flight is None else flight.interrupt,
            )
        except FoglineError as e:
            error = e
        # A fault of ours must still be told, or the calls would never end; a pipeline's step is
        # installed code, which may even ask to exit.
        except (Exception, SystemExit) as e:
            _LOG.exception("run failed", extra={"model": served.label})
            error = internal_error(e)
        return Ran(
            jobs,
            inputs,
            outputs,
            error,
            now,
            joined,
            self._clock.monotonic(),
            is_flushed=flight is None,
        )

    def _end_given_up(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.is_cancelled:
                self._turn_away([job], Unavailable, _CANCELLED)
            else:
                self._end_late([job])

    def _end_late(self, jobs: Sequence[Job]) -> None:
        self._turn_away(jobs, DeadlineExceeded, "no run was free before the deadline")

    def _turn_away(self, jobs: Sequence[Job], kind: type[FoglineError], why: str) -> None:
        for job in jobs:
            self._end([job], kind(f"{job.served.label}: {why}"))

    def _end(self, jobs: Sequence[Job], error: FoglineError) -> None:
        now = self._clock.monotonic()
        self._tell(Ran(jobs, {}, {}, error, now, now, now))

    def _tell(self, ran: Ran) -> None:
        try:
            self._complete(ran)
        except Exception as e:  # a task boundary: what comes next is not this run's
            _LOG.exception("completion failed", extra={"model": ran.jobs[0].served.label})
            for job in ran.jobs:
                job.call.fail(internal_error(e))
