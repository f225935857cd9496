"""Requests of one version and window put together, as columns over all their rows."""

from collections.abc import Mapping, Sequence
from typing import Literal

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
        observations: The requests, in order; rows of the first come first.
        rows: Rows of all of them together.
    """

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.observations = observations
        self.rows = sum(o.rows for o in observations)
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

    def per_row(self, of_request: Sequence[int]) -> NDArray[np.int64]:
        """One value a request, repeated for each of its rows: int64 [rows]."""
        return np.repeat(
            np.asarray(of_request, dtype=np.int64), [o.rows for o in self.observations]
        )

    def row_in_request(self) -> NDArray[np.int64]:
        return np.concatenate([np.arange(o.rows) for o in self.observations])

    def _joined(self, side: Side) -> dict[str, Array]:
        joined: dict[str, Array] = {}
        for field in self.fields(side):
            parts = [getattr(o, side).get(field.name) for o in self.observations]
            if (
                all(
                    p is not None and p.ndim > 0 and p.shape[0] == o.rows
                    for p, o in zip(parts, self.observations, strict=True)
                )
                and len({p.shape[1:] for p in parts}) == 1
            ):
                joined[field.name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return joined
