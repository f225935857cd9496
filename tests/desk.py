"""A scheduler with its runs written down, a runner that waits for a gate, and callers."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fogline.clock import SystemClock, wait_until
from fogline.errors import DeadlineExceeded, FoglineError, InvalidInput
from fogline.runtime.interrupt import Interrupt
from fogline.runtime.plan import ModelPlan
from fogline.schema import Field, Schema
from fogline.tensors import Array
from fogline.wire.open_inference_pb2 import ModelInferRequest
from fogline_edge.serving import Models, ServedModel, ServingConfig
from fogline_edge.serving.codec import ModelCodec
from fogline_edge.serving.jobs import Job, Ran
from fogline_edge.serving.models import Runner
from fogline_edge.serving.queue_policy import QueuePolicy
from fogline_edge.serving.scheduler import Scheduler

CLOCK = SystemClock()
SCHEMA = Schema(
    inputs=(Field(name="x", datatype="FP32", shape=(-1, 2)),),
    outputs=(Field(name="y", datatype="FP32", shape=(-1, 2)),),
)
LOOP = ModelPlan(placement="loop", one_row_us=1.0, row_us=1.0, max_stack=64)
POOL = ModelPlan(placement="pool", one_row_us=1.0, row_us=1.0, max_stack=64)


class Gate:
    """A runner that gives back its input, when it is let: each run waits for the gate."""

    inputs, outputs = SCHEMA.inputs, SCHEMA.outputs

    def __init__(self, *, is_open: bool = True) -> None:
        self.opened = threading.Event()
        if is_open:
            self.opened.set()
        self.runs: list[int] = []
        self.threads: list[str] = []
        self.at_once = self.most = 0
        self._lock = threading.Lock()

    def run(
        self,
        arrays: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        deadline_s: float | None = None,
        interrupt: Interrupt | None = None,
    ) -> dict[str, Array]:
        x = arrays["x"]
        with self._lock:
            self.runs.append(len(x))
            self.threads.append(threading.current_thread().name)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        until = CLOCK.monotonic() + (deadline_s or 30)
        try:
            while not self.opened.wait(0.005):
                if interrupt is not None:
                    interrupt.check("model m@1")
                if CLOCK.monotonic() > until:
                    raise DeadlineExceeded("model m@1: late")
        finally:
            with self._lock:
                self.at_once -= 1
        if np.isnan(x).any():
            raise InvalidInput("model m@1: the node 'check' failed on these inputs")
        return {"y": x * 2}

    def close(self) -> None:
        pass


class Caller:
    """The part of a call that the scheduler sees."""

    def __init__(self) -> None:
        self.ended: Callable[[], None] = lambda: None
        self.errors: list[FoglineError] = []

    def fail(self, error: FoglineError) -> None:
        self.errors.append(error)

    def when_ended(self, callback: Callable[[], None]) -> None:
        self.ended = callback


class Desk:
    """A scheduler with its runs written down."""

    def __init__(self, **config: Any) -> None:
        self.ran: list[Ran] = []
        self.fault: Exception | None = None
        """What the completion of runs raises, once."""
        self.models = Models()
        self.processors = 2
        self.scheduler = Scheduler(
            self._complete,
            clock=CLOCK,
            config=ServingConfig(**{"max_running": 2, **config}),
            processors=lambda: self.processors,
        )

    def add(
        self, runner: Runner, plan: ModelPlan, name: str = "m", queue: QueuePolicy | None = None
    ) -> None:
        served = ServedModel(
            name=name, version=1, schema=SCHEMA, runner=runner, plan=plan, queue=queue
        )
        self.models.add(served).codec = ModelCodec(name, 1, SCHEMA)

    def submit(
        self, value: float = 1.0, *, name: str = "m", seconds: float = 30, **more: Any
    ) -> Job:
        entry = self.models.acquire(name)
        rows = more.pop("rows", 1)
        message = ModelInferRequest(model_name=name)
        message.inputs.add(name="x", datatype="FP32", shape=[rows, 2])
        message.raw_input_contents.append(np.full((rows, 2), value, np.float32).tobytes())
        for key, number in more.items():
            message.parameters[key].int64_param = number
        assert entry.codec is not None
        request = entry.codec.read(message.SerializeToString(), 0)
        now = CLOCK.monotonic()
        job = Job(Caller(), entry, entry.codec, request, now, now + seconds)  # type: ignore[arg-type]
        self.scheduler.submit(job)
        return job

    def wait(self, jobs: int) -> list[Ran]:
        assert wait_until(lambda: sum(len(r.jobs) for r in self.ran) >= jobs, timeout_s=20)
        return self.ran

    def _complete(self, ran: Ran) -> None:
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        self.ran.append(ran)
        ran.jobs[0].entry.release(len(ran.jobs), len(ran.jobs) if ran.error else 0)


@contextmanager
def desk(**config: Any) -> Iterator[Desk]:
    one = Desk(**config)
    try:
        yield one
    finally:
        one.scheduler.close()
