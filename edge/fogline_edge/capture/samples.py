"""Sampled rows as columnar `Samples` messages, each at most as long as a message may be."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fogline.schema import columns_of
from fogline.summaries import Scope
from fogline.tensors import Array, datatype_of
from fogline.wire import fleet_pb2
from fogline_edge.capture.batch import MAX_TABLE_COLUMNS, Batch, Side
from fogline_edge.capture.config import CaptureConfig

MAX_NAME_CHARS = 128
"""Longest name of a column that the hub takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBlock:
    """Sampled rows of one scope.

    Attributes:
        inputs: Column name -> values [rows] or [rows, width].
        outputs: The same for what was returned.
        prediction_ids: One a row.
        row_in_request: int64 [rows].
        event_us: int64 [rows], Unix microseconds.
        probability: float64 [rows], each above 0.
        policy: The strategy that gave the probabilities.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    prediction_ids: tuple[str, ...]
    row_in_request: NDArray[np.int64]
    event_us: NDArray[np.int64]
    probability: NDArray[np.float64]
    policy: str

    @property
    def rows(self) -> int:
        return len(self.prediction_ids)

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory and, columns being dense, in messages."""
        arrays = (*self.inputs.values(), *self.outputs.values())
        return sum(a.nbytes for a in arrays) + 96 * self.rows

    def part(self, start: int, stop: int) -> "SampleBlock":
        return SampleBlock(
            inputs={n: a[start:stop] for n, a in self.inputs.items()},
            outputs={n: a[start:stop] for n, a in self.outputs.items()},
            prediction_ids=self.prediction_ids[start:stop],
            row_in_request=self.row_in_request[start:stop],
            event_us=self.event_us[start:stop],
            probability=self.probability[start:stop],
            policy=self.policy,
        )


def pick(
    batch: Batch,
    rows: NDArray[np.int64],
    probability: NDArray[np.float64],
    policy: str,
    config: CaptureConfig,
) -> SampleBlock:
    """Copies the `rows` (places) of a batch; `probability` is theirs, [len(rows)].

    Rows with a string that is too long are left out: a cut string would be another value.
    """
    inputs = dict(_picked(batch, "inputs", rows, config))
    outputs = dict(_picked(batch, "outputs", rows, config))
    keep = np.ones(len(rows), dtype=np.bool_)
    for column in (*inputs.values(), *outputs.values()):
        if column.dtype == object:
            flat = column.reshape(len(rows), -1)
            for i in range(len(rows)):
                keep[i] &= all(len(_bytes_of(v)) <= config.max_text_bytes for v in flat[i])
    rows = rows[keep]
    owner = batch.requests_of(rows)
    ids = [i for o in batch.observations for i in o.prediction_ids]
    return SampleBlock(
        inputs={n: a[keep] for n, a in inputs.items()},
        outputs={n: a[keep] for n, a in outputs.items()},
        prediction_ids=tuple(ids[i] for i in owner.tolist()),
        row_in_request=rows - batch.first_rows()[owner],
        event_us=batch.event_us[owner],
        probability=probability[keep],
        policy=policy,
    )


def joined(blocks: Sequence[SampleBlock]) -> Iterator[SampleBlock]:
    """Neighbours with the same columns and policy, as one block each."""
    run: list[SampleBlock] = []
    for block in blocks:
        if run and _form(block) != _form(run[-1]):
            yield _concatenated(run)
            run = []
        run.append(block)
    if run:
        yield _concatenated(run)


def to_messages(scope: Scope, block: SampleBlock, max_bytes: int) -> Iterator[bytes]:
    """Serialized `Samples`, none longer than `max_bytes`; one row that is longer is left out."""
    message = _message(scope, block)
    size = message.ByteSize()
    if size <= max_bytes:
        if block.rows:
            yield message.SerializeToString(deterministic=True)
        return
    if block.rows == 1:
        return
    parts = min(block.rows, -(-size // max_bytes))
    edges = np.linspace(0, block.rows, parts + 1).astype(int).tolist()
    for start, stop in pairwise(edges):
        yield from to_messages(scope, block.part(start, stop), max_bytes)


def _picked(
    batch: Batch, side: Side, rows: NDArray[np.int64], config: CaptureConfig
) -> Iterator[tuple[str, Array]]:
    there = batch.tensors(side)
    for field in batch.fields(side):
        if field.name not in there:
            continue
        chosen = there[field.name][rows]
        width = int(np.prod(chosen.shape[1:]))
        is_table = chosen.ndim <= 2 and (bool(field.columns) or width <= MAX_TABLE_COLUMNS)
        if is_table:
            for name, column in columns_of(field, chosen):
                if len(name) <= MAX_NAME_CHARS:
                    yield name, column
        elif 0 < width <= config.max_row_width and len(field.name) <= MAX_NAME_CHARS:
            yield field.name, chosen.reshape(len(rows), width)


def _form(block: SampleBlock) -> tuple[object, ...]:
    return (
        block.policy,
        *((n, a.dtype, a.shape[1:]) for n, a in block.inputs.items()),
        None,
        *((n, a.dtype, a.shape[1:]) for n, a in block.outputs.items()),
    )


def _concatenated(run: Sequence[SampleBlock]) -> SampleBlock:
    if len(run) == 1:
        return run[0]
    return SampleBlock(
        inputs={n: np.concatenate([b.inputs[n] for b in run]) for n in run[0].inputs},
        outputs={n: np.concatenate([b.outputs[n] for b in run]) for n in run[0].outputs},
        prediction_ids=tuple(i for b in run for i in b.prediction_ids),
        row_in_request=np.concatenate([b.row_in_request for b in run]),
        event_us=np.concatenate([b.event_us for b in run]),
        probability=np.concatenate([b.probability for b in run]),
        policy=run[0].policy,
    )


def _message(scope: Scope, block: SampleBlock) -> fleet_pb2.Samples:
    return fleet_pb2.Samples(
        scope=scope.to_message(),
        prediction_ids=block.prediction_ids,
        row_in_request=block.row_in_request.tolist(),
        event_us=block.event_us.tolist(),
        inclusion_probability=block.probability.tolist(),
        inputs=[_column(n, a) for n, a in block.inputs.items()],
        outputs=[_column(n, a) for n, a in block.outputs.items()],
        policy=block.policy,
    )


def _column(name: str, values: Array) -> fleet_pb2.Column:
    datatype = datatype_of(values, f"column {name!r}")
    column = fleet_pb2.Column(
        name=name, datatype=datatype, width=values.shape[1] if values.ndim == 2 else 1
    )
    flat = values.reshape(-1)
    match datatype:
        case "FP16" | "FP32":
            column.fp32.extend(flat.tolist())
        case "FP64" | "UINT64":  # beyond 2^53 the latter loses digits; int64 would wrap around
            column.fp64.extend(flat.astype(np.float64).tolist())
        case "BOOL":
            column.flags.extend(flat.tolist())
        case "BYTES":
            column.raw.extend(_bytes_of(v) for v in flat.tolist())
        case _:
            column.int64.extend(flat.tolist())
    return column


def _bytes_of(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
