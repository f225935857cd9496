"""One run of a pipeline: steps begin when those before them are over, branches beside each other.

The caller's thread works through the steps that are ready; where more than one is, it offers the
rest to the threads of `Branches`, which work on the same list. The first error ends all: what runs
is interrupted, what has not begun does not begin, and nothing is returned before all has stopped.
"""

import logging
import threading
from collections import deque
from collections.abc import Mapping
from functools import partial

import numpy as np

from fogline.clock import Clock
from fogline.errors import FoglineError, InvalidInput
from fogline.pipeline import CONSTANTS, INPUTS, Step
from fogline.schema import Field, check_values
from fogline.tensors import DATATYPES, Array, datatype_of
from fogline_edge.serving.pipelines.branches import Branches
from fogline_edge.serving.pipelines.components import Held
from fogline_edge.serving.pipelines.conditions import rows_that_meet
from fogline_edge.serving.pipelines.counts import StepTally
from fogline_edge.serving.pipelines.crew import Crew
from fogline_edge.serving.pipelines.layout import Course, Layout, Ref, Take, Task
from fogline_edge.serving.pipelines.rows import (
    NO_ROWS,
    Rows,
    Value,
    common_rows,
    cut,
    put_together,
    read_only,
    rows_left,
)
from fogline_edge.serving.pipelines.stop import Stop

_LOG = logging.getLogger(__name__)


class Run:
    """One run; used once.

    Args:
        layout: The pipeline.
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
        crew: Crew,
        tallies: Mapping[str, StepTally],
        *,
        stop: Stop,
        branches: Branches,
        clock: Clock,
        label: str,
    ) -> None:
        self._layout = layout
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
        self._values: dict[str, dict[str, Value]] = {CONSTANTS: layout.constants}
        self._readers: dict[str, int] = {}
        self._ran: dict[str, Rows | None] = {}
        self._waits: dict[str, int] = {}
        self._request_rows: int | None = None

    def run(
        self,
        arrays: Mapping[str, Array],
        rows: int | None,
        course: Course,
        outputs: tuple[str, ...],
    ) -> dict[str, Array]:
        """Runs all steps that `outputs` need.

        Args:
            arrays: The pipeline's inputs, whole and of its schema's datatypes.
            rows: Of the request; None where no input has a free number of rows.
            course: What `outputs` need.
            outputs: Names of those wanted.

        Raises:
            FoglineError: the first error of a step; the text names pipeline, step and tensor.
        """
        self._request_rows = rows
        self._values[INPUTS] = {n: Value(read_only(array)) for n, array in arrays.items()}
        self._readers = dict(course.readers)
        if course.chain:
            for task in course.chain:
                self._do(task)
                self._let_go(task)
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
            self._ran[task.name] = self._step(task)
        except FoglineError:
            raise
        except Exception as e:  # a fault of ours must still end the run
            _LOG.exception("step failed", extra={"step": f"{self._label}, {task.name}"})
            raise FoglineError(
                f"{self._label}, step {task.name!r}: internal error ({type(e).__name__})"
            ) from None

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
            self._let_go(task)
            self._changed.notify()
        if is_first:
            self._stop.terminate = True

    def _let_go(self, task: Task) -> None:
        """Drops what nobody reads any more, now that a task is over."""
        for producer in task.waits:
            self._readers[producer] -= 1
            if not self._readers[producer]:
                self._values.pop(producer, None)

    # ------------------------------------------------------------------ steps

    def _step(self, task: Task) -> Rows | None:
        """Runs one step; returns the rows that it ran on."""
        step, tally = task.step, self._tallies[task.name]
        offered = self._offered(task)
        try:
            rows, inputs = self._inputs(task)
        except InvalidInput as e:
            raise self._named(step, e) from e
        if rows is not None and not len(rows):
            tally.skip(offered)
            return NO_ROWS
        began = self._clock.monotonic()
        version = ""
        try:
            held = self._crew.take(step.run)
            version = held.version
            self._values[step.name] = self._computed(task, held, rows, inputs)
        except FoglineError as e:
            if version:
                self._crew.note_failure(step.run)
            tally.ran(version, 0, offered, self._clock.monotonic() - began, failed=True)
            self._stop.check(f"{self._label}, step {step.name!r}")
            if step.optional:
                return NO_ROWS
            raise self._named(step, e) from e
        took_s = self._clock.monotonic() - began
        tally.ran(version, offered if rows is None else len(rows), offered, took_s, failed=False)
        return rows

    def _inputs(self, task: Task) -> tuple[Rows | None, dict[str, Value]]:
        """The rows that a step runs on, and its inputs, of these rows or more."""
        step = task.step
        rows = rows_left([self._ran[name] for name in step.unless]) if step.unless else None
        if step.when is not None and task.when is not None:
            value = self._find(task.when)
            met = NO_ROWS if value is None else rows_that_meet(step.when, value)
            rows = common_rows(rows, met)
        inputs: dict[str, Value] = {}
        for name, take in task.takes.items():
            value = None if rows is not None and not len(rows) else self._value(take)
            if value is None:
                return NO_ROWS, {}
            inputs[name] = value
            rows = common_rows(rows, value.rows)
        return rows, inputs

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
        results = held.run(arrays, wanted, self._stop)
        return {name: _result(fields[name], results[name], rows) for name in wanted}

    def _value(self, take: Take) -> Value | None:
        """The tensor, or what its alternatives come to; None where none is there."""
        refs = take.refs
        if len(refs) == 1:
            return self._find(refs[0])
        there = [(ref[0], v) for ref in refs if (v := self._find(ref)) is not None]
        if not there:
            return None
        total = next((v.rows.total for _, v in there if v.rows is not None), self._request_rows)
        return put_together([_repeated(producer, value, total) for producer, value in there])

    def _find(self, ref: Ref) -> Value | None:
        tensors = self._values.get(ref[0])
        return None if tensors is None else tensors.get(ref[1])

    def _offered(self, task: Task) -> int:
        """Rows of what comes to a step: of the first of its inputs that is there."""
        for take in task.takes.values():
            for ref in take.refs:
                value = None if ref[0] == CONSTANTS else self._find(ref)
                if value is not None:
                    whole = len(value.array) if value.array.ndim else 1
                    return whole if value.rows is None else value.rows.total
        return 0

    def _output(self, name: str) -> Array:
        output, take = self._layout.outputs[name]
        where = f"{self._label}, output {name!r}"
        try:
            value = self._value(take)
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


def fits(field: Field, array: Array) -> bool:
    """Whether an array is of the field's datatype, rank and fixed dimensions.

    A field without dimensions is a scalar, or an output of a model that knows not even its rank.
    """
    taken, given, dtype = field.shape, array.shape, DATATYPES[field.datatype]
    if array.dtype is not dtype and array.dtype != dtype:  # dtypes of one kind are mostly one
        return False
    if taken and len(taken) != len(given):
        return False
    for dim, there in zip(taken, given, strict=False):  # noqa: SIM110 - a generator costs more
        if dim not in (-1, there):
            return False
    return True


def difference(field: Field, array: Array) -> str:
    return (
        f"expected {field.datatype} {list(field.shape)}, "
        f"got {datatype_of(array)} {list(array.shape)}"
    )


def _result(field: Field, array: Array, rows: Rows | None) -> Value:
    if not fits(field, array):
        raise FoglineError(f"output {field.name!r}: {difference(field, array)}")
    if rows is not None and (array.ndim == 0 or len(array) != len(rows)):
        raise FoglineError(
            f"output {field.name!r}: expected {len(rows)} rows as in its inputs, "
            f"got {list(array.shape)}"
        )
    return Value(read_only(array), rows)


def _repeated(producer: str, value: Value, total: int | None) -> Value:
    """A constant of one row stands for every row that others of its list might hold."""
    array = value.array
    if total is None or producer != CONSTANTS or array.ndim == 0 or len(array) != 1:
        return value
    return Value(np.broadcast_to(array, (total, *array.shape[1:])))
