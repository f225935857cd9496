"""A pipeline as a `Runner`: served, counted and captured like any model."""

import threading
from collections.abc import Mapping, Sequence

from fogline.clock import Clock
from fogline.errors import Conflict, InvalidInput, NotFound
from fogline.pipeline import Pipeline, schema_of
from fogline.runtime.interrupt import Interrupt, Watchdog
from fogline.schema import Schema
from fogline.tensors import Array
from fogline_edge.serving.models import Models
from fogline_edge.serving.pipelines.board import Board
from fogline_edge.serving.pipelines.branches import Branches
from fogline_edge.serving.pipelines.components import part_of
from fogline_edge.serving.pipelines.crew import Crew
from fogline_edge.serving.pipelines.fitting import Fitting
from fogline_edge.serving.pipelines.forms import difference, fits
from fogline_edge.serving.pipelines.layout import Layout
from fogline_edge.serving.pipelines.run import Run
from fogline_edge.serving.pipelines.stop import Stop
from fogline_edge.serving.statistics import Statistics
from fogline_edge.serving.stepwise import StepCounts, StepTally


class PipelineRunner:
    """Runs a pipeline on the versions that are active; runs may go on in several threads at once.

    Components are looked up anew in each run, so each can be swapped alone. One that does not fit
    ends the run with `Unavailable` and says why, until one that does is active.

    Args:
        pipeline: The definition.
        ref: `NAME@VERSION`, for errors.
        models: Where its components are found.
        branches: Threads for its branches; the owner closes them.
        watchdog: Ends late runs.
        clock: Measures steps.
        statistics: Counts what its models do in it; None: nobody does.

    Raises:
        NotFound: a Python step is not installed.
        InvalidInput: a Python step cannot be made as the definition wants.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        ref: str,
        models: Models,
        *,
        branches: Branches,
        watchdog: Watchdog,
        clock: Clock,
        statistics: Statistics | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.schema: Schema = schema_of(pipeline)
        self.inputs = self.schema.inputs
        self.outputs = self.schema.outputs
        self._label = f"pipeline {ref}"
        self._branches = branches
        self._watchdog = watchdog
        self._clock = clock
        self._layout = Layout(pipeline)
        self._parts = {
            key: part_of(c, models, statistics) for key, c in pipeline.components.items()
        }
        self._fitting = Fitting(pipeline, self._parts, self._label)
        self._tallies = {
            step.name: StepTally(step.name, pipeline.components[step.run].ref)
            for step in pipeline.steps
        }
        self._all_outputs = tuple(f.name for f in self.outputs)
        self._is_closed = threading.Event()

    def check(self, timeout_s: float) -> None:
        """Holds its components against the definition, loading those that are not in memory.

        Raises:
            InvalidInput: they do not fit.
            Unsupported: one is a pipeline.
            Unavailable: one is missing, or could not be loaded in time.
        """
        interrupt = Interrupt()
        watched = self._watchdog.begin(interrupt, timeout_s)
        try:
            self._fitting.check_all(interrupt)
        finally:
            self._watchdog.end(watched)

    def run(
        self,
        arrays: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        deadline_s: float | None = None,
        interrupt: Interrupt | None = None,
    ) -> dict[str, Array]:
        """Runs the steps that the wanted outputs need; what it returns is read-only.

        Args:
            arrays: Every input by name; they are read until this returns, and never written to.
            outputs: Names of the outputs wanted, in the order wanted; all if None.
            deadline_s: Seconds from now at which every step that runs is ended.
            interrupt: Ends the run from another thread.

        Raises:
            InvalidInput: the inputs are not the pipeline's, or a step refuses what it is given.
            NotFound: there is no such output.
            DeadlineExceeded: not done in time.
            Unavailable: ended by `interrupt`; or a component is missing or does not fit now.
            Exhausted: not enough memory.
            Conflict: the pipeline is closed.
            FoglineError: a step is at fault.
        """
        if self._is_closed.is_set():
            raise Conflict(f"{self._label}: it is closed")
        wanted = self._all_outputs if outputs is None else tuple(outputs)
        for name in wanted:
            if name not in self._layout.outputs:
                raise NotFound(f"{self._label} has no output {name[:80]!r}")
        rows = self._rows(arrays)
        whole = interrupt or Interrupt()
        watched = None if deadline_s is None else self._watchdog.begin(whole, deadline_s)
        stop = Stop(whole)
        try:
            return self._run(arrays, rows, wanted, stop)
        finally:
            stop.close()
            if watched is not None:
                self._watchdog.end(watched)

    def steps(self) -> tuple[StepCounts, ...]:
        """What each step has done, in the order of the definition."""
        return tuple(tally.counts() for tally in self._tallies.values())

    def close(self) -> None:
        """Takes no more runs; the components belong to others."""
        self._is_closed.set()

    def _run(
        self, arrays: Mapping[str, Array], rows: int | None, wanted: tuple[str, ...], stop: Stop
    ) -> dict[str, Array]:
        course = self._layout.course(wanted)
        crew = Crew(self._parts, course.uses, self._fitting, stop)
        run = Run(
            self._layout,
            Board(self._layout.constants, arrays, rows, course.readers),
            crew,
            tallies=self._tallies,
            stop=stop,
            branches=self._branches,
            clock=self._clock,
            label=self._label,
        )
        try:
            return run.run(course, wanted)
        finally:
            crew.release()

    def _rows(self, arrays: Mapping[str, Array]) -> int | None:
        """Rows of the first input with a free number of them; None where there is none."""
        rows = None
        for field in self.inputs:
            array = arrays.get(field.name)
            if array is None:
                raise InvalidInput(f"{self._label}: input {field.name!r} is missing")
            if not fits(field, array):
                raise InvalidInput(
                    f"{self._label}, input {field.name!r}: {difference(field, array)}"
                )
            if rows is None and field.shape[:1] == (-1,):
                rows = len(array)
        return rows
