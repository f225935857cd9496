"""Requests of one version and window put together, as columns over all their rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fogline.schema import Field, columns_of
from fogline.tensors import Array
from fogline_edge.serving.observer import Observation

Side = Literal["inputs", "outputs"]

MAX_TABLE_COLUMNS = 64
"""Columns without names of a [rows, k] tensor that are still columns of their own; wider tensors
are counted by name only if the reference lists them, and sampled as one wide column."""


class Batch:
    """Answered requests, at least one, of one version that gave the same outputs.

    Attributes:
        observations: The stacks, in order; rows of the first come first.
        counts: Rows of each request, int64 [requests].
        event_us: Event time of each request, int64 [requests], Unix microseconds.
        rows: Rows of all of them together.
    """

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.observations = observations
        self.counts = np.array([n for o in observations for n in o.rows], dtype=np.int64)
        self.event_us = np.array([t for o in observations for t in o.event_us], dtype=np.int64)
        self.rows = int(self.counts.sum())
        self._schema = observations[0].served.schema
        self._tensors: dict[Side, dict[str, Array]] = {
            "inputs": self._joined("inputs"),
            "outputs": self._joined("outputs"),
        }

    def tensors(self, side: Side) -> Mapping[str, Array]:
        """Tensors with one entry a row, [rows, ...], by name."""
        return self._tensors[side]

    def fields(self, side: Side) -> tuple[Field, ...]:
        return getattr(self._schema, side)  # type: ignore[no-any-return]

    def columns(self, side: Side) -> dict[str, Array]:
        """Named columns [rows] of one side."""
        there = self._tensors[side]
        return {
            name: column
            for field in self.fields(side)
            if field.name in there
            for name, column in columns_of(field, there[field.name])
        }

    def requests_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which request each of the `rows` (places) is of: int64 [len(rows)]."""
        return np.searchsorted(np.cumsum(self.counts), rows, side="right").astype(np.int64)

    def first_rows(self) -> NDArray[np.int64]:
        """Place of the first row of each request, int64 [requests]."""
        return np.cumsum(self.counts) - self.counts

    def _joined(self, side: Side) -> dict[str, Array]:
        joined: dict[str, Array] = {}
        for field in self.fields(side):
            parts = [getattr(o, side).get(field.name) for o in self.observations]
            if (
                all(
                    p is not None and p.ndim > 0 and p.shape[0] == sum(o.rows)
                    for p, o in zip(parts, self.observations, strict=True)
                )
                and len({p.shape[1:] for p in parts}) == 1
            ):
                joined[field.name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return joined


def by_window(
    observation: Observation, window_of: Callable[[int], int]
) -> Iterator[tuple[int, Observation]]:
    """A stack as (window, its requests of that window); most are of one, and then it is whole."""
    windows = [window_of(t) for t in observation.event_us]
    if len(set(windows)) == 1:
        yield windows[0], observation
        return
    owner = np.repeat(np.arange(len(windows)), observation.rows)
    for window in dict.fromkeys(windows):
        chosen = [i for i, w in enumerate(windows) if w == window]
        yield window, _part(observation, chosen, np.isin(owner, chosen))


def _part(observation: Observation, chosen: list[int], mask: NDArray[np.bool_]) -> Observation:
    """Some requests of a stack; `mask` [rows] says which rows are theirs."""

    def rows_of(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {n: a[mask] for n, a in arrays.items() if a.ndim and len(a) == len(mask)}

    def of(values: Sequence[Any]) -> list[Any]:
        return [values[i] for i in chosen]

    return Observation(
        served=observation.served,
        inputs=rows_of(observation.inputs),
        outputs=rows_of(observation.outputs),
        rows=of(observation.rows),
        event_us=of(observation.event_us),
        prediction_ids=of(observation.prediction_ids),
        latency_us=of(observation.latency_us),
    )
