"""A request on its way: waiting (`Job`), and as it was run together with others (`Ran`)."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from fogline.errors import FoglineError
from fogline.runtime.interrupt import Interrupt
from fogline.tensors import Array

if TYPE_CHECKING:
    from fogline_edge.serving.calls import Call
    from fogline_edge.serving.codec import ModelCodec, Request
    from fogline_edge.serving.models import Entry, ServedModel


class Job:
    """One request between its arrival and its answer. Plain slots: one is made for each request.

    Attributes:
        call: Who waits; answered once.
        entry: The version's, leased until the job is complete.
        served: `entry.served`.
        codec: The version's.
        request: What is asked.
        arrived: Monotonic seconds.
        deadline: Monotonic seconds after which nobody wants the answer.
        flight: The run that it is part of, once it is.
        is_cancelled: Nobody waits any more.
    """

    __slots__ = (
        "arrived",
        "call",
        "codec",
        "deadline",
        "entry",
        "flight",
        "is_cancelled",
        "request",
        "served",
    )

    def __init__(
        self,
        call: "Call",
        entry: "Entry",
        codec: "ModelCodec",
        request: "Request",
        arrived: float,
        deadline: float,
    ) -> None:
        self.call = call
        self.entry = entry
        self.served: ServedModel = entry.served
        self.codec = codec
        self.request = request
        self.arrived = arrived
        self.deadline = deadline
        self.flight: Flight | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        """Gives the job up: it is not run any more, or its run ends when all in it gave up."""
        self.is_cancelled = True
        if self.flight is not None:
            self.flight.leave()


class Flight:
    """One run that may be ended early: when every job in it has been given up."""

    __slots__ = ("_jobs", "interrupt")

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.interrupt = Interrupt()
        self._jobs = jobs
        for job in jobs:
            job.flight = self
        self.leave()  # some may have gone before they knew of the flight

    def give_up(self) -> None:
        """Ends it, whoever still waits."""
        for job in self._jobs:
            job.cancel()

    def leave(self) -> None:
        """A job of it was given up."""
        if all(job.is_cancelled for job in self._jobs):
            self.interrupt.trigger()


class Ran:
    """Jobs of one version that were run together, and what came out.

    Attributes:
        jobs: At least one; rows of the first come first in all arrays.
        inputs: As the model got them; empty if they could not be put together.
        outputs: By name, in the order wanted; empty with an `error`.
        error: Why there is no answer, for all of them.
        started: When the stack was begun, monotonic seconds.
        joined: When its inputs were there, and the model was run.
        ended: When that was over.
        is_flushed: It was run by `Scheduler.flush`, whose thread has answers to write.
    """

    __slots__ = (
        "ended", "error", "inputs", "is_flushed", "jobs", "joined", "outputs", "started",
    )  # fmt: skip

    def __init__(
        self,
        jobs: Sequence[Job],
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        error: FoglineError | None,
        started: float,
        joined: float,
        ended: float,
        *,
        is_flushed: bool = False,
    ) -> None:
        self.jobs = jobs
        self.inputs = inputs
        self.outputs = outputs
        self.error = error
        self.started = started
        self.joined = joined
        self.ended = ended
        self.is_flushed = is_flushed


Complete = Callable[[Ran], None]
"""Told of every run, on the thread that ran it; never raises."""
