"""Stacks of requests of one version and window put together, as columns over all their rows."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fogline.tensors import Array
from fogline_edge.capture.reader import Reader, Side
from fogline_edge.serving.observer import Observation

MAX_ROWS = 2048
"""Rows that are put together, unless one stack has more; their tensors are copied once."""


class Batch:
    """Answered requests of one version.

    Attributes:
        reader: Of the version.
        stacks: In order; rows of the first come first. At least one.
        requests: How many requests they are.
        rows: Rows of all of them together.
        forms: Of each stack, the shape of a row of each tensor that is watched, None for one that
            is not there or has no rows.
    """

    __slots__ = ("_parts", "_sizes", "forms", "reader", "requests", "rows", "stacks")

    def __init__(self, reader: Reader, stacks: Sequence[Observation]) -> None:
        self.reader = reader
        self.stacks = stacks
        self._sizes = [sum(o.rows) for o in stacks]
        self.requests = sum([len(o.rows) for o in stacks])
        self.rows = sum(self._sizes)
        self._parts: dict[tuple[Side, str], list[Array | None]] = {}
        self.forms: list[list[tuple[int, ...] | None]] = []
        for side, name in reader.watched:
            if side == "inputs":
                parts = [o.inputs.get(name) for o in stacks]
            else:
                parts = [o.outputs.get(name) for o in stacks]
            self._parts[side, name] = parts
            self.forms.append([_row_shape(p, n) for p, n in zip(parts, self._sizes, strict=True)])

    @property
    def is_uniform(self) -> bool:
        """Whether all stacks are of one form, so that their tensors can be put together."""
        return all(form.count(form[0]) == len(form) for form in self.forms)

    def columns(self, side: Side) -> dict[str, Array]:
        """The columns [rows] of one side that are counted, by name; of a uniform batch."""
        found: dict[str, Array] = {}
        for tensor in self.reader.counted[side]:
            table = self.tensor(side, tensor.name)
            if table is not None:
                found.update(tensor.columns(table))
        return found

    def tensor(self, side: Side, name: str) -> Array | None:
        """A watched tensor of a uniform batch, [rows, ...]; None if it is not there."""
        parts = self._parts[side, name]
        form = self.forms[self.reader.watched.index((side, name))]
        if form[0] is None:
            return None
        return parts[0] if len(parts) == 1 else np.concatenate(parts)  # type: ignore[arg-type]

    def latency_us(self) -> NDArray[np.int64]:
        """Of each request, int64 [requests]."""
        each = chain.from_iterable(o.latency_us for o in self.stacks)
        return np.fromiter(each, np.int64, self.requests)

    def event_us(self) -> tuple[int, int]:
        """The earliest and the latest event time, Unix microseconds."""
        return (
            min(min(o.event_us) for o in self.stacks),
            max(max(o.event_us) for o in self.stacks),
        )

    def parts(
        self, rows: NDArray[np.int64]
    ) -> Iterator[tuple[Observation, NDArray[np.int64], slice]]:
        """Which of the ascending `rows` are of which stack.

        Yields:
            A stack, places in it, and where they stand in `rows`.
        """
        ends = np.cumsum(self._sizes)
        owner = np.searchsorted(ends, rows, side="right")
        edges = np.flatnonzero(np.diff(owner, prepend=-1)).tolist()
        for start, stop in zip(edges, [*edges[1:], len(rows)], strict=True):
            stack = int(owner[start])
            first = int(ends[stack]) - self._sizes[stack]
            yield self.stacks[stack], rows[start:stop] - first, slice(start, stop)


def batches(reader: Reader, stacks: Sequence[Observation]) -> Iterator[Batch]:
    """Stacks of one version and window as uniform batches.

    They have at most `MAX_ROWS` rows where no stack has more by itself.
    """
    start = rows = 0
    for i, stack in enumerate(stacks):
        added = sum(stack.rows)
        if rows and rows + added > MAX_ROWS:
            yield from _uniform(Batch(reader, stacks[start:i]))
            start, rows = i, 0
        rows += added
    yield from _uniform(Batch(reader, stacks[start:]))


def _uniform(batch: Batch) -> Iterator[Batch]:
    if batch.is_uniform:
        yield batch
        return
    forms: dict[tuple[object, ...], list[Observation]] = {}
    for form, stack in zip(zip(*batch.forms, strict=True), batch.stacks, strict=True):
        forms.setdefault(form, []).append(stack)
    for stacks in forms.values():
        yield Batch(batch.reader, stacks)


def _row_shape(tensor: Array | None, rows: int) -> tuple[int, ...] | None:
    if tensor is None:
        return None
    shape = tensor.shape
    return shape[1:] if shape and shape[0] == rows else None


def by_window(
    stack: Observation, window_of: Callable[[int], int]
) -> Iterator[tuple[int, Observation]]:
    """A stack as (window, its requests of that window)."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, event_us in enumerate(stack.event_us):
        members[window_of(event_us)].append(i)
    owner = np.repeat(np.arange(len(stack.rows)), stack.rows)
    for window, chosen in members.items():
        yield window, _part(stack, chosen, np.isin(owner, chosen))


def _part(stack: Observation, chosen: list[int], mask: NDArray[np.bool_]) -> Observation:
    """Some requests of a stack; `mask` [rows] says which rows are theirs."""

    def rows_of(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {n: a[mask] for n, a in arrays.items() if a.ndim and len(a) == len(mask)}

    def of(values: Sequence[Any]) -> list[Any]:
        return [values[i] for i in chosen]

    return Observation(
        served=stack.served,
        inputs=rows_of(stack.inputs),
        outputs=rows_of(stack.outputs),
        rows=of(stack.rows),
        event_us=of(stack.event_us),
        prediction_ids=of(stack.prediction_ids),
        latency_us=of(stack.latency_us),
    )
