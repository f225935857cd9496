"""When a request runs: a bounded number of each model at once, the rest in order of arrival.

The caller's thread does the work: a front with threads gives one job at a time, and no hand-off to
another thread is paid for.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fogline.clock import Clock
from fogline.errors import DeadlineExceeded, Exhausted, FoglineError
from fogline.runtime import Interrupt
from fogline.tensors import Array
from fogline_edge.serving.models import ServedModel

_LOG = logging.getLogger(__name__)

Outcome = Mapping[str, Array] | FoglineError


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One request on its way to an answer."""

    served: ServedModel
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    deadline: float
    """Monotonic seconds."""
    done: Callable[[Outcome], None]
    """Told the outcome, once; must not raise."""
    interrupt: Interrupt = field(default_factory=Interrupt)
    turn: threading.Event | None = None
    """Wakes the job that waits for a place; there is none while it does not wait."""
    has_turn: bool = False

    def cancel(self) -> None:
        """Ends the wait or the run; harmless when it is over."""
        self.interrupt.trigger()
        if self.turn is not None:
            self.turn.set()


class Turnstile:
    """Lets `places` jobs through at a time, and keeps at most `queue` waiting."""

    def __init__(self, places: int, queue: int) -> None:
        self._lock = threading.Lock()
        self._free = places
        self._max_waiting = queue
        self._waiting: deque[Job] = deque()

    def enter(self, job: Job, clock: Clock) -> None:
        """Waits for a place.

        Raises:
            Exhausted: too many wait already.
            DeadlineExceeded: no place before the job's deadline.
            Unavailable: the job was cancelled.
        """
        with self._lock:
            if self._free:
                self._free -= 1
                return
            if len(self._waiting) >= self._max_waiting:
                raise Exhausted(
                    f"{job.served.label}: {self._max_waiting} requests wait already; try later"
                )
            turn = job.turn = threading.Event()
            self._waiting.append(job)
        if not job.interrupt.is_triggered:  # or it was cancelled before it had an event to set
            turn.wait(max(0.0, job.deadline - clock.monotonic()))
        with self._lock:
            if job.has_turn:
                return
            self._waiting.remove(job)
        job.interrupt.check(job.served.label)
        raise DeadlineExceeded(f"{job.served.label}: no run was free before the deadline")

    def leave(self) -> None:
        """Passes the place on to the job that has waited longest."""
        with self._lock:
            if self._waiting:
                job = self._waiting.popleft()
                job.has_turn = True
                if job.turn is not None:
                    job.turn.set()
            else:
                self._free += 1


class Scheduler:
    """Runs jobs. Safe to use from any thread."""

    def __init__(self, *, clock: Clock, max_running: int, max_queued: int) -> None:
        self._clock = clock
        self._max_running = max_running
        self._max_queued = max_queued
        self._lock = threading.Lock()
        self._turnstiles: dict[str, Turnstile] = {}

    def run(self, jobs: Sequence[Job]) -> None:
        """Runs each job and tells it its outcome; returns when all are told."""
        for job in jobs:
            job.done(self._outcome(job))

    def _outcome(self, job: Job) -> Outcome:
        turnstile = self._turnstile(job.served.name)
        try:
            turnstile.enter(job, self._clock)
        except FoglineError as e:
            return e
        try:
            left_s = job.deadline - self._clock.monotonic()
            return job.served.runner.run(job.inputs, job.outputs, left_s, job.interrupt)
        except FoglineError as e:
            return e
        except Exception as e:  # a fault of ours must still be told, or the call would never end
            _LOG.exception("run failed", extra={"model": job.served.label})
            return FoglineError(f"internal error ({type(e).__name__})")
        finally:
            turnstile.leave()

    def _turnstile(self, name: str) -> Turnstile:
        with self._lock:
            found = self._turnstiles.get(name)
            if found is None:
                found = self._turnstiles[name] = Turnstile(self._max_running, self._max_queued)
            return found
