"""Who plays the parts of a pipeline: versions of models, resolved at each run, and Python steps."""

import logging
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from fogline.errors import FoglineError, NotFound, Unavailable
from fogline.pipeline import Component, split_version
from fogline.runtime.interrupt import Interrupt
from fogline.schema import Schema
from fogline.tensors import Array
from fogline_edge.serving.models import Entry, Models, NotLoaded
from fogline_edge.serving.pipelines.claim import Claim
from fogline_edge.serving.pipelines.stop import Stop
from fogline_edge.serving.statistics import Statistics
from fogline_edge.serving.steps import PythonStep, find_step
from fogline_edge.serving.stepwise import Stepwise

MAX_LOADS = 8
"""How often one run waits for a version that leaves memory again before it can be used."""
_LOG = logging.getLogger(__name__)


class Look(NamedTuple):
    """What can be seen of a component without holding it."""

    schema: Schema
    is_pipeline: bool


class Held(Protocol):
    """A component that cannot go away until it is released."""

    schema: Schema
    version: str

    def look(self) -> Look: ...

    def run(
        self, arrays: Mapping[str, Array], outputs: Sequence[str], stop: Stop
    ) -> Mapping[str, Array]:
        """Computes at least `outputs`."""

    def note(self, rows: int, took_s: float, error: FoglineError | None) -> None:
        """Counts a run of so many rows."""

    def release(self, *, failed: bool) -> None: ...


class Part(Protocol):
    """Who plays one part."""

    def hold(self, stop: Stop) -> Held:
        """The one to run now.

        Raises:
            Unavailable: there is none, or it cannot be had in time.
        """

    def peek(self) -> Look | None:
        """What is there to play it now, in memory."""


def part_of(component: Component, models: Models, statistics: Statistics | None) -> Part:
    """Raises as `find_step` for a Python step."""
    if component.step:
        return StepPart(component.step, find_step(component.step, component.options))
    return ModelPart(models, *split_version(component.model), statistics)


class ModelPart:
    """A model's active version, or a certain one."""

    def __init__(
        self, models: Models, name: str, version: str, statistics: Statistics | None
    ) -> None:
        self._models = models
        self._name = name
        self._version = version
        self._statistics = statistics

    def hold(self, stop: Stop) -> "HeldModel":
        for _ in range(MAX_LOADS):
            try:
                return HeldModel(self._acquire(), self._statistics)
            except NotLoaded:
                entry = self._load(stop)
            except NotFound as e:  # the caller asked for the pipeline, which is there
                raise Unavailable(str(e)) from e
            if entry is not None:
                return HeldModel(entry, self._statistics)
        raise Unavailable(f"model {self._name} was loaded {MAX_LOADS} times and left memory again")

    def peek(self) -> Look | None:
        try:
            served = self._models.get_component(self._name, self._version)
        except (NotFound, NotLoaded):
            return None
        return Look(served.schema, isinstance(served.runner, Stepwise))

    def _acquire(self) -> Entry:
        return self._models.acquire_component(self._name, self._version)

    def _load(self, stop: Stop) -> Entry | None:
        """Waits until the version is in memory, or the run should end; None if it left again."""
        claim = Claim(self._acquire)
        key = stop.begin(claim.wake)
        try:
            self._models.demand(self._name, self._version, claim.told)
            entry, problem = claim.wait()
        finally:
            stop.over(key)
        if entry is not None:
            return entry
        stop.check(f"model {self._name}")
        if stop.terminate:
            raise Unavailable(f"model {self._name}: not needed any more")
        if problem is not None and not isinstance(problem, NotLoaded):
            raise problem
        return None


class HeldModel:
    """A version between `Models.acquire` and `Entry.release`."""

    __slots__ = ("_entry", "_statistics", "schema", "version")

    def __init__(self, entry: Entry, statistics: Statistics | None) -> None:
        self._entry = entry
        self._statistics = statistics
        self.schema = entry.served.schema
        self.version = str(entry.served.version)

    def look(self) -> Look:
        return Look(self.schema, isinstance(self._entry.served.runner, Stepwise))

    def run(
        self, arrays: Mapping[str, Array], outputs: Sequence[str], stop: Stop
    ) -> Mapping[str, Array]:
        interrupt = Interrupt()
        key = stop.begin(interrupt.trigger)
        try:
            return self._entry.served.runner.run(arrays, outputs, interrupt=interrupt)
        finally:
            stop.over(key)

    def note(self, rows: int, took_s: float, error: FoglineError | None) -> None:
        served = self._entry.served
        if self._statistics is not None:
            self._statistics.record_step(served.name, served.version, rows, took_s, error)

    def release(self, *, failed: bool) -> None:
        self._entry.release(failures=int(failed))


class StepPart:
    """A Python step; it is there as long as the pipeline is."""

    def __init__(self, ref: str, step: PythonStep) -> None:
        self._ref = ref
        self._step = step
        self.schema = Schema(inputs=tuple(step.inputs), outputs=tuple(step.outputs))
        self.version = split_version(ref)[1]

    def hold(self, stop: Stop) -> "StepPart":  # noqa: ARG002 - it is there
        return self

    def peek(self) -> Look:
        return self.look()

    def look(self) -> Look:
        return Look(self.schema, is_pipeline=False)

    def run(
        self,
        arrays: Mapping[str, Array],
        outputs: Sequence[str],
        stop: Stop,  # noqa: ARG002 - Python code cannot be interrupted, only what follows it
    ) -> Mapping[str, Array]:
        try:
            results = self._step.run(arrays)
        except FoglineError:
            raise
        except Exception as e:  # installed code may raise anything; its text may hold values
            where = "".join(traceback.format_tb(e.__traceback__, limit=-8))
            _LOG.error(  # without the exception's text
                "python step failed",
                extra={"step": self._ref, "error": type(e).__name__, "where": where},
            )
            raise _fault(self._ref, e) from None
        return {name: _checked(self._ref, name, results.get(name)) for name in outputs}

    def note(self, rows: int, took_s: float, error: FoglineError | None) -> None:
        pass

    def release(self, *, failed: bool) -> None:
        pass


def _checked(ref: str, name: str, array: Any) -> Array:
    """An output as a step gave it; text as an object array of `str`."""
    if not isinstance(array, np.ndarray):
        raise FoglineError(
            f"the Python step {ref}, output {name!r}: expected an array, got {type(array).__name__}"
        )
    if array.dtype.kind == "U":
        return array.astype(np.object_)
    if array.dtype == np.object_ and not all(isinstance(value, str) for value in array.flat):
        raise FoglineError(f"the Python step {ref}, output {name!r}: an element is not str")
    return array


def _fault(ref: str, error: Exception) -> FoglineError:
    if isinstance(error, ValueError) and "read-only" in str(error):
        return FoglineError(
            f"the Python step {ref} writes into its inputs, which other steps may read; "
            "it has to copy what it changes"
        )
    return FoglineError(f"the Python step {ref} failed ({type(error).__name__})")
