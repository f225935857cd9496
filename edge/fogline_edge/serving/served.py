"""A version that can answer, and who uses it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fogline.errors import DeadlineExceeded
from fogline.runtime.interrupt import Interrupt
from fogline.runtime.plan import ModelPlan
from fogline.schema import Field, Schema
from fogline.tensors import Array
from fogline_edge.serving.queue_policy import QueuePolicy

if TYPE_CHECKING:
    from fogline_edge.serving.codec import ModelCodec
    from fogline_edge.serving.scheduler import Lanes


class Runner(Protocol):
    """What answers for a version: a session, or a pipeline of versions."""

    @property
    def inputs(self) -> tuple[Field, ...]: ...

    @property
    def outputs(self) -> tuple[Field, ...]: ...

    def run(
        self,
        arrays: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        deadline_s: float | None = None,
        interrupt: Interrupt | None = None,
    ) -> dict[str, Array]:
        """As `fogline.runtime.Session.run`."""

    def close(self) -> None:
        """Lets the memory go; no run goes on, and none comes."""


ONNXRUNTIME = "onnxruntime_onnx"
"""Triton's name of what runs ONNX files, which its clients know."""
PIPELINE = "fogline_pipeline"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServedModel:
    """One version that can answer; each is equal to itself alone."""

    name: str
    version: int
    schema: Schema
    runner: Runner
    plan: ModelPlan = field(default_factory=ModelPlan)
    """What the runner was opened with and the scheduler goes by."""
    platform: str = ONNXRUNTIME
    """What runs it, as clients are told."""
    queue: QueuePolicy | None = None
    """How its requests may wait and run; None: as the server has it."""
    variant: str = ""
    digest: str = ""
    """SHA-256 of the version's manifest; empty for a bare model file."""
    generation: int = 0
    """Of the desired state that wanted it; 0 where there is none."""
    label: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", f"model {self.name}@{self.version}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCounts:
    """One version in memory and what it has done since it was last loaded."""

    served: ServedModel
    is_active: bool
    in_flight: int
    """Requests that wait or run."""
    requests: int
    """Answered ones, well or not."""
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A version that is to be asked as well, and whose answers nobody waits for."""

    name: str
    version: int
    share: float
    """Of the active version's requests, 0 to 1."""


class Totals:
    """Counts over all versions since the process began, and the lock that guards every entry."""

    __slots__ = ("failures", "lock", "requests", "uses")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests = 0
        self.failures = 0
        self.uses = 0


class Entry:
    """A version in memory, and who uses it. Made by `Models.add`, had by `Models.acquire`."""

    __slots__ = (
        "_totals", "_when_idle", "codec", "failures", "in_flight", "lanes", "requests", "served",
        "used",
    )  # fmt: skip

    def __init__(self, served: ServedModel, totals: Totals) -> None:
        self.served = served
        self.in_flight = 0
        self.requests = 0
        self.failures = 0
        # What the data plane keeps with a version as long as it is in memory.
        self.codec: ModelCodec | None = None
        self.lanes: Lanes | None = None
        self.used = totals.uses
        """`Totals.uses` when it was last acquired: larger is later."""
        self._totals = totals
        self._when_idle: Callable[[], object] | None = None

    def release(self, requests: int = 1, failures: int = 0) -> None:
        """Gives the version back as often as it was acquired for these requests; counts them."""
        told = None
        totals = self._totals
        with totals.lock:
            self.in_flight -= requests
            self.requests += requests
            self.failures += failures
            totals.requests += requests
            totals.failures += failures
            if self._when_idle is not None and not self.in_flight:
                told, self._when_idle = self._when_idle, None
        if told is not None:
            told()

    def when_idle(self, callback: Callable[[], object]) -> None:
        """Calls back once when no request uses the version; at once if none does.

        One callback is kept, the last given; it runs in the thread of the last release.
        """
        with self._totals.lock:
            if self.in_flight:
                self._when_idle = callback
                return
        callback()


def drained(entry: Entry, drain_s: float) -> ServedModel:
    """Waits for the last call of a version that left, and returns it.

    Raises:
        DeadlineExceeded: calls still go on.
    """
    is_idle = threading.Event()
    entry.when_idle(is_idle.set)
    if not is_idle.wait(drain_s):
        raise DeadlineExceeded(
            f"{entry.served.label} left, but {entry.in_flight} calls go on after {drain_s} s"
        )
    return entry.served
