"""`ModelInfer`: a request becomes a job, and a run becomes answers.

The hot path of the server: whatever is here is paid for by each request, or by each stack of them.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from fogline.clock import Clock
from fogline.errors import FoglineError, InvalidInput, internal_error
from fogline.tensors import Array
from fogline.wire.status import status_of
from fogline_edge.serving.calls import Call
from fogline_edge.serving.codec import ModelCodec, target_of
from fogline_edge.serving.config import ServingConfig
from fogline_edge.serving.jobs import Job, Ran
from fogline_edge.serving.models import Entry, Models, NotLoaded, ServedModel
from fogline_edge.serving.observer import Observation, Observer
from fogline_edge.serving.scheduler import Scheduler
from fogline_edge.serving.shadows import Shadowed, Shadows
from fogline_edge.serving.shared_memory import Sharing
from fogline_edge.serving.statistics import Statistics

_LOG = logging.getLogger(__name__)

_Answered = tuple[Ran, list[int], list[int], Sequence[str], float, Mapping[int, FoglineError]]
"""A run; of its requests rows, event times and prediction ids; when, and which got what errors."""


class Inference:
    """Answers inference calls; see the module."""

    def __init__(
        self,
        models: Models,
        observer: Observer,
        statistics: Statistics,
        clock: Clock,
        config: ServingConfig,
        sharing: Sharing | None = None,
        shadowed: Callable[[Shadowed], None] | None = None,
    ) -> None:
        self._models = models
        self._observer = observer
        self._statistics = statistics
        self._clock = clock
        self._config = config
        self._sharing = sharing
        self._scheduler = Scheduler(self._complete, clock=clock, config=config)
        self._shadows = Shadows(
            models,
            shadowed,
            statistics,
            has_room=lambda: self._scheduler.has_room,
            clock=clock,
            config=config.shadow,
        )
        self._making = threading.Lock()
        """Held while a version's codec is made."""
        self._answered: deque[_Answered] = deque()
        """Runs whose answers are made, and of which nobody has been told."""
        self.flush = self._scheduler.flush
        """To be called after the last `begin` of a poll."""

    def close(self) -> None:
        """Runs what waits, and ends all threads."""
        self._scheduler.close()
        self.settle()
        self._shadows.close()

    def begin(self, call: Call, arrived: float, arrived_us: int) -> None:
        """Checks one request and queues it; its answer comes after a `flush`.

        Args:
            call: Its message is a `ModelInferRequest`.
            arrived: Monotonic seconds.
            arrived_us: The same moment in Unix microseconds.

        Raises:
            FoglineError: it is turned away.
        """
        message = call.message
        name, version = target_of(message)
        try:
            entry = self._models.acquire(name, version)
        except NotLoaded:
            self._models.demand(name, version, partial(self._loaded, call))
            return
        try:
            codec = entry.codec or self._codec(entry)
            request = codec.read(message, arrived_us)
            if (request.held or request.wanted) and request.uses_shared_memory:
                self._share(call)
            asked_s = request.timeout_s
            queue = entry.served.queue
            if queue is not None:
                asked_s = queue.limit_s(asked_s)
                request.priority = queue.priority(request.priority)
            limit_s = self._config.run_timeout_s
            if call.deadline_s is not None:
                limit_s = min(limit_s, call.deadline_s)
            if asked_s is not None:
                limit_s = min(limit_s, asked_s)
            self._scheduler.submit(Job(call, entry, codec, request, arrived, arrived + limit_s))
        except FoglineError as e:
            self._refused(entry, e, arrived_us)
            raise
        except BaseException:
            entry.release(1, 1)
            raise

    def _share(self, call: Call) -> None:
        if self._sharing is not None:
            self._sharing.check(call)

    def _codec(self, entry: Entry) -> ModelCodec:
        """Made at a version's first request and gone with it; one, whoever comes first."""
        served = entry.served
        with self._making:
            if entry.codec is None:
                entry.codec = ModelCodec(
                    served.name,
                    served.version,
                    served.schema,
                    regions=None if self._sharing is None else self._sharing.regions,
                    max_message_bytes=self._config.front.max_message_bytes,
                )
            return entry.codec

    def _loaded(self, call: Call, error: FoglineError | None) -> None:
        """The version that `call` waited for is in memory, or cannot be."""
        if call.is_cancelled():
            return
        try:
            if error is not None:
                raise error
            self.begin(call, self._clock.monotonic(), int(self._clock.now().timestamp() * 1e6))
        except Exception as e:
            fail_call(call, e)
        self.flush()
        self.settle()

    # ------------------------------------------------------------------ answers

    def _complete(self, ran: Ran) -> None:
        """Answers the calls of a run, gives the version back, and tells who wants to know."""
        jobs = ran.jobs
        entry = jobs[0].entry
        rows = [job.request.rows for job in jobs]
        event_us = [job.request.event_us for job in jobs]
        failed: Mapping[int, FoglineError] = {}
        ids: Sequence[str] = ()
        try:
            if ran.error is None:
                ids = self._prediction_ids(entry.served, rows, event_us, ran.outputs)
                failed = self._answer(ran, ids)
        except Exception as e:  # a fault of ours must still end the calls and give the lease back
            _LOG.exception("answers failed", extra={"model": entry.served.label})
            ran.error = internal_error(e)
        if ran.error is not None:
            for job in jobs:
                job.call.fail(_explained(ran.error, job))
        encoded = self._clock.monotonic()
        entry.release(len(jobs), len(failed) if ran.error is None else len(jobs))
        self._answered.append((ran, rows, event_us, ids, encoded, failed))
        if not ran.is_flushed:
            self.settle()

    def settle(self) -> None:
        """Counts what was answered and tells the observer: what no answer waits for."""
        answered = self._answered
        while answered:
            try:
                ran, rows, event_us, ids, encoded, failed = answered.popleft()
            except IndexError:  # another thread was faster
                return
            latency_us = [int((encoded - job.arrived) * 1e6) for job in ran.jobs]
            self._statistics.record(ran, sum(rows), latency_us, encoded, failed)
            self._tell(
                Observation(
                    ran.jobs[0].served,
                    ran.inputs,
                    ran.outputs,
                    rows,
                    event_us,
                    ids,
                    latency_us,
                    ran.error,
                )
            )
            self._shadows.follow(ran)

    def _answer(self, ran: Ran, ids: Sequence[str]) -> Mapping[int, FoglineError]:
        """Sends every answer; returns those that turned out to be errors, by their places."""
        jobs = ran.jobs
        requests = [job.request for job in jobs]
        written = jobs[0].codec.write(requests, ran.outputs, ids)
        failed = {}
        for job, answer in zip(jobs, written, strict=True):
            if isinstance(answer, FoglineError):
                failed[jobs.index(job)] = answer
                job.call.fail(answer)
            else:
                job.call.finish(answer)
        return failed

    def _prediction_ids(
        self,
        served: ServedModel,
        rows: Sequence[int],
        event_us: Sequence[int],
        outputs: Mapping[str, Array],
    ) -> Sequence[str]:
        try:
            return self._observer.prediction_ids(served, rows, event_us, outputs)
        except Exception:  # an observer's fault is not the request's
            _LOG.exception("no prediction ids", extra={"model": served.label})
            return [""] * len(rows)

    def _refused(self, entry: Entry, error: FoglineError, arrived_us: int) -> None:
        served = entry.served
        entry.release(1, 1)
        self._statistics.refuse(served.name, served.version, status_of(error).name)
        self._tell(
            Observation(
                served=served,
                inputs={},
                outputs={},
                rows=(0,),
                event_us=(arrived_us,),
                prediction_ids=(),
                latency_us=(0,),
                error=error,
            )
        )

    def _tell(self, observation: Observation) -> None:
        try:
            self._observer.observe((observation,))
        except Exception:  # as above
            _LOG.exception("not observed", extra={"model": observation.served.label})


def _explained(error: FoglineError, job: Job) -> FoglineError:
    if type(error) is InvalidInput and job.request.rows == 0:
        return InvalidInput(f"{error}; the request has no rows, which this graph cannot answer")
    return error


def fail_call(call: Call, error: Exception) -> None:
    """Ends one call; a fault of ours ends it alone, and its peer sees no traceback."""
    if not isinstance(error, FoglineError):
        _LOG.error("call failed", extra={"method": call.method}, exc_info=error)
        error = internal_error(error)
    call.fail(error)
