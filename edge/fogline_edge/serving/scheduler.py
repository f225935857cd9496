"""Where and when requests run: cheap ones on the thread that brings them, the rest in a pool.

A front submits the requests of one poll and then flushes. What is cheap (`ModelPlan.placement` says
"loop", and the rows at hand cost less than `loop_run_us`) runs in `flush`, in stacks, with no
hand-off between threads; where several threads flush, `max_running` of them work and the others'
requests join their stacks. What is expensive runs on pool threads, as many as there is work for and
at most `max_running`; they end when idle.

No version starves another: lanes that wait take turns on the flushing thread, and the pool serves
the lane that has had the least of its time.
"""

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial

from fogline.clock import Clock
from fogline.errors import DeadlineExceeded, Exhausted, FoglineError, InvalidInput, Unavailable
from fogline.runtime.plan import ModelPlan
from fogline.tensors import Array
from fogline_edge.serving.config import ServingConfig
from fogline_edge.serving.jobs import Complete, Flight, Job, Ran
from fogline_edge.serving.lanes import Lane
from fogline_edge.serving.pool import Pool
from fogline_edge.serving.queue_policy import QueuePolicy

_LOG = logging.getLogger(__name__)


class Lanes:
    """The lanes of one version: on the flushing thread up to `loop_rows` rows, else in the pool."""

    __slots__ = ("loop", "loop_rows", "pool")

    def __init__(
        self, plan: ModelPlan, config: ServingConfig, queue: QueuePolicy | None = None
    ) -> None:
        self.loop_rows = loop_rows(plan, config.loop_run_us)
        most = config.max_queued
        if queue is not None and queue.max_queued:
            most = min(most, queue.max_queued)
        stack = max(1, plan.max_stack)
        self.loop = Lane(
            max_rows=min(stack, max(1, self.loop_rows)),
            max_queued=most,
            row_us=plan.one_row_us,
        )
        self.pool = Lane(
            max_rows=stack,
            max_queued=most,
            row_us=plan.one_row_us,
            max_delay_s=plan.max_delay_us * 1e-6,
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
    """

    def __init__(self, complete: Complete, *, clock: Clock, config: ServingConfig) -> None:
        self._complete = complete
        self._clock = clock
        self._config = config
        self._pool = Pool(self._run, self._end_late, clock=clock, config=config)
        self._lock = threading.Lock()
        self._loop: deque[Lane] = deque()
        """Lanes of cheap jobs that wait, each once."""
        self._flushing = 0

    @property
    def pool_threads(self) -> int:
        return self._pool.threads

    def submit(self, job: Job) -> None:
        """Queues a job; it runs at the next `flush`, or in the pool soon after.

        Raises:
            Exhausted: as many of its version wait as may.
            DeadlineExceeded: those before it will take longer than it has.
            Unavailable: the scheduler is closed.
        """
        lanes = job.entry.lanes
        if lanes is None:
            lanes = job.entry.lanes = Lanes(job.served.plan, self._config, job.served.queue)
        if job.request.rows <= lanes.loop_rows:
            lane = lanes.loop
            with self._lock:
                if not lane.queued:
                    self._loop.append(lane)
                else:
                    lane.admit(job, self._config.max_running)
                lane.push(job)
            return
        self._pool.submit(lanes.pool, job)
        job.call.when_ended(partial(self.cancel, job))

    def flush(self) -> None:
        """Runs the cheap jobs that wait, and wakes the pool for the others."""
        self._pool.wake()
        while self._loop:
            with self._lock:
                if not self._loop or self._flushing >= self._config.max_running:
                    return  # who flushes already takes what was queued here
                self._flushing += 1
                lane = self._loop.popleft()
                jobs = lane.take()
                if lane.queued:
                    self._loop.append(lane)
            try:
                self._run(lane, jobs, None)
            finally:
                with self._lock:
                    self._flushing -= 1

    def cancel(self, job: Job) -> None:
        """Gives a job up; harmless when it is over."""
        lanes = job.entry.lanes
        was_queued = lanes is not None and self._pool.discard(lanes.pool, job)
        job.cancel()
        if was_queued:
            self._end([job], Unavailable(f"{job.served.label}: the request was cancelled"))

    def close(self, timeout_s: float = 10.0) -> None:
        """Takes no more expensive jobs, and ends the pool when what waits has run."""
        self._pool.close(timeout_s)

    # ------------------------------------------------------------------ running

    def _run(self, lane: Lane, jobs: Sequence[Job], flight: Flight | None) -> None:
        now = self._clock.monotonic()
        live = [job for job in jobs if job.deadline > now and not job.is_cancelled]
        if len(live) < len(jobs):
            self._end_given_up(jobs, now)
            if not live:
                return
        ran = self._ran(live, now, flight)
        lane.learn(sum([job.request.rows for job in live]), ran.ended - ran.started)
        if len(live) > 1 and isinstance(ran.error, InvalidInput | Exhausted):
            # One request's values must not cost the others their answers.
            for job in live:
                alone = None if flight is None else Flight([job])
                self._complete(self._ran([job], self._clock.monotonic(), alone))
            return
        self._complete(ran)

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
        except Exception as e:  # a fault of ours must still be told, or the calls would never end
            _LOG.exception("run failed", extra={"model": served.label})
            error = FoglineError(f"internal error ({type(e).__name__})")
        return Ran(jobs, inputs, outputs, error, now, joined, self._clock.monotonic())

    def _end_given_up(self, jobs: Sequence[Job], now: float) -> None:
        for job in jobs:
            if job.is_cancelled:
                label = job.served.label
                self._end([job], Unavailable(f"{label}: the request was cancelled"))
            elif job.deadline <= now:
                self._end_late([job])

    def _end_late(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._end(
                [job], DeadlineExceeded(f"{job.served.label}: no run was free before the deadline")
            )

    def _end(self, jobs: Sequence[Job], error: FoglineError) -> None:
        now = self._clock.monotonic()
        self._complete(Ran(jobs, {}, {}, error, now, now, now))
