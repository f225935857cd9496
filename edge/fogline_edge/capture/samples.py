"""Sampled rows as columnar `Samples` messages, each at most as long as a message may be."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from fogline.schema import Field, Schema, columns_of
from fogline.summaries import Scope
from fogline.tensors import Array, datatype_of
from fogline.wire import fleet_pb2
from fogline_edge.capture.batch import Batch
from fogline_edge.capture.held import hold
from fogline_edge.capture.reader import MAX_NAME_CHARS, MAX_TABLE_COLUMNS, SIDES, Side
from fogline_edge.serving.observer import Observation

ROW_BYTES = 200
"""Of a sampled row beside its values: its prediction id above all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBlock:
    """Sampled rows of one scope, whose tensors are of one form.

    Attributes:
        schema: Of the version.
        tensors: By side and name, each [rows, ...].
        prediction_ids: One a row.
        row_in_request: int64 [rows].
        event_us: int64 [rows], Unix microseconds.
        probability: float64 [rows], each above 0.
        policy: The strategy that gave the probabilities.
    """

    schema: Schema
    tensors: Mapping[tuple[Side, str], Array]
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
        """About what it takes in memory."""
        tensors = {"/".join(key): a for key, a in self.tensors.items()}
        return hold(tensors)[1] + ROW_BYTES * self.rows

    @property
    def form(self) -> tuple[object, ...]:
        """Blocks of one form can be put together."""
        return (
            self.policy,
            id(self.schema),
            *((key, a.dtype.str, a.shape[1:]) for key, a in self.tensors.items()),
        )

    def part(self, rows: slice | NDArray[np.bool_]) -> "SampleBlock":
        places = np.arange(self.rows)[rows].tolist()
        return SampleBlock(
            schema=self.schema,
            tensors={key: a[rows] for key, a in self.tensors.items()},
            prediction_ids=tuple(self.prediction_ids[i] for i in places),
            row_in_request=self.row_in_request[rows],
            event_us=self.event_us[rows],
            probability=self.probability[rows],
            policy=self.policy,
        )

    def without_long_texts(self, max_text_bytes: int) -> "SampleBlock":
        """Without rows that have a longer string: a cut string would be another value."""
        keep = np.ones(self.rows, dtype=np.bool_)
        for tensor in self.tensors.values():
            if tensor.dtype == object:
                for i, row in enumerate(tensor.reshape(self.rows, -1).tolist()):
                    keep[i] &= all(len(_bytes_of(v)) <= max_text_bytes for v in row)
        return self if keep.all() else self.part(keep)


def pick(
    batch: Batch,
    rows: NDArray[np.int64],
    probability: NDArray[np.float64],
    *,
    policy: str,
    max_text_bytes: int,
) -> list[SampleBlock]:
    """Copies the `rows` (ascending places, at least one) of a batch; `probability` is theirs."""
    reader = batch.reader
    forms: dict[tuple[object, ...], _Parts] = {}
    for stack, places, at in batch.parts(rows):
        total = sum(stack.rows)
        tensors = {
            (side, name): tensor
            for side in SIDES
            for name, tensor in getattr(stack, side).items()
            if tensor.ndim and len(tensor) == total and reader.is_sampled(side, name, tensor)
        }
        form = tuple([(k, t.dtype.char, t.shape[1:]) for k, t in tensors.items()])
        parts = forms.get(form)
        if parts is None:
            parts = forms[form] = _Parts(tensors)
        parts.add(stack, tensors, places, probability[at])
    blocks = [parts.to_block(reader.schema, policy) for parts in forms.values()]
    return [b for b in (b.without_long_texts(max_text_bytes) for b in blocks) if b.rows]


class _Parts:
    """Rows of one form, on the way to a block."""

    def __init__(self, keys: Iterable[tuple[Side, str]]) -> None:
        self._tensors: dict[tuple[Side, str], list[Array]] = {key: [] for key in keys}
        self._ids: list[str] = []
        self._event_us: list[int] = []
        self._row_in_request: list[NDArray[np.int64]] = []
        self._probability: list[NDArray[np.float64]] = []

    def add(
        self,
        stack: Observation,
        tensors: Mapping[tuple[Side, str], Array],
        places: NDArray[np.int64],
        probability: NDArray[np.float64],
    ) -> None:
        for key, tensor in tensors.items():
            self._tensors[key].append(tensor if len(tensor) == len(places) else tensor[places])
        self._probability.append(probability)
        ends = list(accumulate(stack.rows))
        owners = [bisect_right(ends, place) for place in places.tolist()]
        ids, event_us, rows = stack.prediction_ids, stack.event_us, stack.rows
        self._ids += [ids[i] for i in owners]
        self._event_us += [event_us[i] for i in owners]
        first_rows = [ends[i] - rows[i] for i in owners]
        self._row_in_request.append(places - first_rows)

    def to_block(self, schema: Schema, policy: str) -> SampleBlock:
        return SampleBlock(
            schema=schema,
            # Copies in any case: what is kept for long must not hold messages.
            tensors={key: np.concatenate(arrays) for key, arrays in self._tensors.items()},
            prediction_ids=tuple(self._ids),
            row_in_request=np.concatenate(self._row_in_request),
            event_us=np.array(self._event_us, dtype=np.int64),
            probability=np.concatenate(self._probability),
            policy=policy,
        )


def joined(blocks: Iterable[SampleBlock]) -> list[SampleBlock]:
    """The rows as one block for each form."""
    forms: dict[tuple[object, ...], list[SampleBlock]] = {}
    for block in blocks:
        if block.rows:
            forms.setdefault(block.form, []).append(block)
    return [_concatenated(same) for same in forms.values()]


def to_messages(scope: Scope, block: SampleBlock, max_bytes: int) -> Iterator[bytes]:
    """Serialized `Samples`, none longer than `max_bytes`; one row that is longer is left out."""
    # Cut by a guess first: building and measuring one message of everything, again for each half
    # of it, would hold up for milliseconds whoever else needs the interpreter.
    step = max(1, block.rows * max_bytes // max(1, block.size_bytes))
    for start in range(0, block.rows, step):
        yield from _split(scope, block.part(slice(start, start + step)), max_bytes)


def _split(scope: Scope, block: SampleBlock, max_bytes: int) -> Iterator[bytes]:
    body = _message(scope, block).SerializeToString(deterministic=True)
    if len(body) <= max_bytes:
        yield body
    elif block.rows > 1:
        half = block.rows // 2
        yield from _split(scope, block.part(slice(half)), max_bytes)
        yield from _split(scope, block.part(slice(half, None)), max_bytes)


def _concatenated(same: Sequence[SampleBlock]) -> SampleBlock:
    if len(same) == 1:
        return same[0]
    return SampleBlock(
        schema=same[0].schema,
        tensors={key: np.concatenate([b.tensors[key] for b in same]) for key in same[0].tensors},
        prediction_ids=tuple([i for b in same for i in b.prediction_ids]),
        row_in_request=np.concatenate([b.row_in_request for b in same]),
        event_us=np.concatenate([b.event_us for b in same]),
        probability=np.concatenate([b.probability for b in same]),
        policy=same[0].policy,
    )


def _message(scope: Scope, block: SampleBlock) -> fleet_pb2.Samples:
    return fleet_pb2.Samples(
        scope=scope.to_message(),
        prediction_ids=block.prediction_ids,
        row_in_request=block.row_in_request.tolist(),
        event_us=block.event_us.tolist(),
        inclusion_probability=block.probability.tolist(),
        inputs=[_column(n, a) for n, a in _columns(block, "inputs")],
        outputs=[_column(n, a) for n, a in _columns(block, "outputs")],
        policy=block.policy,
    )


def _columns(block: SampleBlock, side: Side) -> Iterator[tuple[str, Array]]:
    """Name and values, [rows] or [rows, width], in the schema's order."""
    fields: tuple[Field, ...] = getattr(block.schema, side)
    for field in fields:
        tensor = block.tensors.get((side, field.name))
        if tensor is None:
            continue
        width = int(np.prod(tensor.shape[1:]))
        if tensor.ndim <= 2 and (field.columns or width <= MAX_TABLE_COLUMNS):
            for name, column in columns_of(field, tensor):
                if len(name) <= MAX_NAME_CHARS:
                    yield name, column
        elif len(field.name) <= MAX_NAME_CHARS:
            yield field.name, tensor.reshape(block.rows, width)


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
