"""One run of a pipeline: steps begin when those before them are over, branches beside each other.

The caller's thread works through the steps that are ready; where more than one is, it offers the
rest to the threads of `Branches`, which work on the same list. The first error ends all: what runs
is interrupted, what has not begun does not begin, and nothing is returned before all has stopped.
"""

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial

from fogline.clock import Clock
from fogline.errors import FoglineError, InvalidInput, internal_error
from fogline.pipeline import Step
from fogline.schema import Field, check_values
from fogline.tensors import Array
from fogline_edge.serving.pipelines.board import Board
from fogline_edge.serving.pipelines.branches import Branches
from fogline_edge.serving.pipelines.components import Held
from fogline_edge.serving.pipelines.crew import Crew
from fogline_edge.serving.pipelines.forms import difference, fits
from fogline_edge.serving.pipelines.layout import Course, Layout, Task
from fogline_edge.serving.pipelines.rows import Rows, Value, cut, read_only
from fogline_edge.serving.pipelines.stop import Stop
from fogline_edge.serving.stepwise import StepTally

_LOG = logging.getLogger(__name__)


class Run:
    """One run; used once.

    Args:
        layout: The pipeline.
        board: Its tensors, the inputs being there.
        crew: Its components.
        tallies: Of every step, by name.
        stop: Ends it.
        branches: Threads beside the caller's.
        clock: Measures steps.
        label: How errors name the pipeline.
    """

    def __init__(
        self,
        layout: Layout,
        board: Board,
        crew: Crew,
        *,
        tallies: Mapping[str, StepTally],
        stop: Stop,
        branches: Branches,
        clock: Clock,
        label: str,
    ) -> None:
        self._layout = layout
        self._board = board
        self._crew = crew
        self._tallies = tallies
        self._stop = stop
        self._branches = branches
        self._clock = clock
        self._label = label
        self._changed = threading.Condition()
        self._ready: deque[str] = deque()
        self._running = 0
        self._error: FoglineError | None = None
        self._waits: dict[str, int] = {}

    def run(self, course: Course, outputs: Sequence[str]) -> dict[str, Array]:
        """Runs all steps of a course.

        Args:
            course: What `outputs` need.
            outputs: Names of those wanted.

        Raises:
            FoglineError: the first error of a step; the text names pipeline, step and tensor.
        """
        if course.chain:
            for task in course.chain:
                self._do(task)
                self._board.let_go(task)
                self._crew.step_over(task.step.run)
        else:
            self._waits = dict(course.waits)
            self._ready.extend(course.ready)
            self._work(is_caller=True)
            if self._error is not None:
                raise self._error
        return {name: self._output(name) for name in outputs}

    # ------------------------------------------------------------- scheduling

    def _work(self, *, is_caller: bool) -> None:
        """Runs ready steps; the caller's thread until all are over, others while there are some."""
        while (name := self._next(is_caller=is_caller)) is not None:
            task = self._layout.tasks[name]
            error: FoglineError | None = None
            try:
                self._do(task)
            except FoglineError as e:
                error = e
            self._over(task, error)

    def _do(self, task: Task) -> None:
        """Runs or skips one step, unless the run should end. Raises `FoglineError` alone."""
        try:
            self._stop.check(self._label)
            self._step(task)
        except FoglineError:
            raise
        except Exception as e:  # a fault of ours must still end the run
            _LOG.exception("step failed", extra={"step": f"{self._label}, {task.name}"})
            raise internal_error(e, f"{self._label}, step {task.name!r}: ") from None

    def _next(self, *, is_caller: bool) -> str | None:
        with self._changed:
            while self._error is not None or not self._ready:
                if not is_caller or not self._running:
                    return None
                self._changed.wait()
            name = self._ready.popleft()
            self._running += 1
            has_more = bool(self._ready)
        if has_more:  # whoever takes the offer makes the next one
            self._branches.offer(partial(self._work, is_caller=False))
        return name

    def _over(self, task: Task, error: FoglineError | None) -> None:
        is_first = False
        self._crew.step_over(task.step.run)  # first: the run is over when nothing runs
        with self._changed:
            self._running -= 1
            if error is not None:
                is_first = self._error is None
                self._error = self._error or error
            for follower in task.followers:
                if follower in self._waits:
                    self._waits[follower] -= 1
                    if not self._waits[follower]:
                        self._ready.append(follower)
            self._board.let_go(task)
            self._changed.notify()
        if is_first:
            self._stop.terminate = True

    # ------------------------------------------------------------------ steps

    def _step(self, task: Task) -> None:
        """Runs one step on the rows that it is for, if there are any."""
        step, tally = task.step, self._tallies[task.name]
        offered = self._board.offered_rows(task)
        try:
            rows, inputs = self._board.inputs_of(task)
        except InvalidInput as e:
            raise self._named(step, e) from e
        if rows is not None and not len(rows):
            tally.skip(offered)
            self._board.skip(step.name)
            return
        began = self._clock.monotonic()
        version = ""
        try:
            held = self._crew.take(step.run)
            version = held.version
            self._board.put(step.name, self._computed(task, held, rows, inputs), rows)
        except FoglineError as e:
            if version:
                self._crew.note_failure(step.run)
            tally.ran(version, 0, offered, self._clock.monotonic() - began, failed=True)
            self._stop.check(f"{self._label}, step {step.name!r}")
            if not step.optional:
                raise self._named(step, e) from e
            self._board.skip(step.name)
            return
        took_s = self._clock.monotonic() - began
        tally.ran(version, offered if rows is None else len(rows), offered, took_s, failed=False)

    def _computed(
        self, task: Task, held: Held, rows: Rows | None, inputs: Mapping[str, Value]
    ) -> dict[str, Value]:
        arrays = {}
        for field in held.schema.inputs:
            name = field.name
            array = inputs[name].array
            if rows is not None and not task.takes[name].is_constant:
                array = cut(inputs[name], rows)
            if not fits(field, array):
                raise InvalidInput(f"input {name!r}: {difference(field, array)}")
            if field.has_bounds:  # a request's own check sees the pipeline's inputs alone
                check_values(field, array, f"component {task.step.run}")
            arrays[name] = array
        fields = {f.name: f for f in held.schema.outputs}
        wanted = task.read or tuple(fields)
        results = self._ran(held, arrays, wanted)
        return {name: _result(fields[name], results[name], rows) for name in wanted}

    def _ran(
        self, held: Held, arrays: Mapping[str, Array], wanted: Sequence[str]
    ) -> Mapping[str, Array]:
        count = max((len(a) for a in arrays.values() if a.ndim), default=1)
        error: FoglineError | None = None
        began = self._clock.monotonic()
        try:
            return held.run(arrays, wanted, self._stop)
        except FoglineError as e:
            error = e
            raise
        finally:
            held.note(count, self._clock.monotonic() - began, error)

    def _output(self, name: str) -> Array:
        output, take = self._layout.outputs[name]
        where = f"{self._label}, output {name!r}"
        try:
            value = self._board.value(take)
        except InvalidInput as e:
            raise FoglineError(f"{where}: {e}") from e
        if value is None or value.rows is not None:
            raise FoglineError(f"{where}: {output.source!r} does not hold every row")
        if not fits(output, value.array):
            raise FoglineError(f"{where}: {difference(output, value.array)}")
        return value.array

    def _named(self, step: Step, error: FoglineError) -> FoglineError:
        """The same fault, with where it happened before its text."""
        return type(error)(f"{self._label}, step {step.name!r}: {error}")


def _result(field: Field, array: Array, rows: Rows | None) -> Value:
    if not fits(field, array):
        raise FoglineError(f"output {field.name!r}: {difference(field, array)}")
    if rows is not None and (array.ndim == 0 or len(array) != len(rows)):
        raise FoglineError(
            f"output {field.name!r}: expected {len(rows)} rows as in its inputs, "
            f"got {list(array.shape)}"
        )
    return Value(read_only(array), rows)
