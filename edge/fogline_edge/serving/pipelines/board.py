"""The tensors of one run: what is there, for which rows, and until who has read it.

Steps that run beside each other touch different keys by single operations of dict, which are
atomic; what a step reads was there before it began.
"""

from collections.abc import Mapping

import numpy as np

from fogline.pipeline import CONSTANTS, INPUTS
from fogline.tensors import Array
from fogline_edge.serving.pipelines.conditions import rows_that_meet
from fogline_edge.serving.pipelines.layout import Ref, Take, Task
from fogline_edge.serving.pipelines.rows import (
    NO_ROWS,
    Rows,
    Value,
    common_rows,
    put_together,
    read_only,
    rows_left,
)


class Board:
    """Of one run.

    Args:
        constants: By name.
        arrays: The pipeline's inputs.
        request_rows: Rows of the request; None where no input has a free number of rows.
        readers: How many read each step's tensors.
    """

    def __init__(
        self,
        constants: dict[str, Value],
        arrays: Mapping[str, Array],
        request_rows: int | None,
        readers: Mapping[str, int],
    ) -> None:
        self._tensors: dict[str, dict[str, Value]] = {
            CONSTANTS: constants,
            INPUTS: {name: Value(read_only(array)) for name, array in arrays.items()},
        }
        self._request_rows = request_rows
        self._readers = dict(readers)
        self._ran: dict[str, Rows | None] = {}

    def put(self, step: str, tensors: dict[str, Value], rows: Rows | None) -> None:
        """What a step gave, for the rows that it ran on."""
        self._tensors[step] = tensors
        self._ran[step] = rows

    def skip(self, step: str) -> None:
        """A step that ran on no row gives nothing."""
        self._ran[step] = NO_ROWS

    def let_go(self, task: Task) -> None:
        """Drops what nobody reads any more, now that a task is over; by one thread at a time."""
        for producer in task.waits:
            self._readers[producer] -= 1
            if not self._readers[producer]:
                self._tensors.pop(producer, None)

    def inputs_of(self, task: Task) -> tuple[Rows | None, dict[str, Value]]:
        """The rows that a step runs on, and its inputs, of these rows or more.

        Raises:
            InvalidInput: a condition does not suit its tensor, or numbers of rows differ.
        """
        step = task.step
        rows = rows_left([self._ran[name] for name in step.unless]) if step.unless else None
        if step.when is not None and task.when is not None:
            value = self._find(task.when)
            met = NO_ROWS if value is None else rows_that_meet(step.when, value)
            rows = common_rows(rows, met)
        inputs: dict[str, Value] = {}
        for name, take in task.takes.items():
            value = None if rows is not None and not len(rows) else self.value(take)
            if value is None:
                return NO_ROWS, {}
            inputs[name] = value
            rows = common_rows(rows, value.rows)
        return rows, inputs

    def value(self, take: Take) -> Value | None:
        """The tensor, or what its alternatives come to; None where none is there.

        Raises:
            InvalidInput: alternatives that cannot be put together.
        """
        refs = take.refs
        if len(refs) == 1:
            return self._find(refs[0])
        there = [(ref[0], v) for ref in refs if (v := self._find(ref)) is not None]
        if not there:
            return None
        total = next((v.rows.total for _, v in there if v.rows is not None), self._request_rows)
        return put_together([_repeated(producer, value, total) for producer, value in there])

    def offered_rows(self, task: Task) -> int:
        """Rows of what comes to a step: of the first of its inputs that is there."""
        for take in task.takes.values():
            for ref in take.refs:
                value = None if ref[0] == CONSTANTS else self._find(ref)
                if value is not None:
                    whole = len(value.array) if value.array.ndim else 1
                    return whole if value.rows is None else value.rows.total
        return 0

    def _find(self, ref: Ref) -> Value | None:
        tensors = self._tensors.get(ref[0])
        return None if tensors is None else tensors.get(ref[1])


def _repeated(producer: str, value: Value, total: int | None) -> Value:
    """A constant of one row stands for every row that others of its list might hold."""
    array = value.array
    if total is None or producer != CONSTANTS or array.ndim == 0 or len(array) != 1:
        return value
    return Value(np.broadcast_to(array, (total, *array.shape[1:])))
