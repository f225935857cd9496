"""Does a graph keep the rows of a batch apart? Read from the file alone; nothing is run.

Follows the batch dimension, the first of every input, through the graph. Three answers: `KEPT`,
every answer's row comes from its own row alone; `MIXED`, an operator makes one row's answer depend
on another's, so that stacking requests would let a stranger change an answer; `UNKNOWN`, the
dimension was lost sight of, and only trying can tell (`fogline.runtime.stacking`).

`MIXED` is said only of what is sure, or of what nothing here can try well: control flow and
sequences over rows, random numbers, a scale taken over the whole batch (dynamic quantization).

Source: the operators' own definitions, onnx/docs/Operators.md and Operators-ml.md, and
onnxruntime/docs/ContribOperators.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from fogline.runtime.operators import Mixes, Node, Value, fixed, lost, rows, sizes
from fogline.runtime.row_rules import RULES
from fogline.wire.onnx_model_pb2 import Graph, Model, Tensor, ValueInfo

_ONNX = ("", "ai.onnx")
_RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
     "Bernoulli")
)  # fmt: skip
_BATCH_WIDE = frozenset(("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"))
"""One scale over all that they are given (onnxruntime's and ONNX's dynamic quantization)."""
_STATEFUL = frozenset(
    ("Loop", "Scan", "If", "SequenceConstruct", "SequenceInsert", "SequenceAt", "SequenceErase",
     "SequenceLength", "SequenceMap", "SplitToSequence", "ConcatFromSequence", "Unique",
     "NonMaxSuppression", "Compress")
)  # fmt: skip
"""Over rows: one decision or length for all of them, or rows that come and go."""
CONTROL = frozenset(("Loop", "Scan", "If", "SequenceMap"))
"""How long these take depends on values."""
_MAX_WHOLE = 64
"""Longest constant of whole numbers that is read: axes and shapes are shorter."""
_WIDTHS = {6: 4, 7: 8, 9: 1}
"""`TensorProto.DataType` INT32, INT64, BOOL -> bytes of an element in `raw_data`."""


class Keeping(Enum):
    KEPT = "kept"
    UNKNOWN = "unknown"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class RowVerdict:
    keeping: Keeping
    why: str = ""
    """Of `MIXED` and `UNKNOWN`: which operator, or which input or output."""


@dataclass(slots=True)
class _State:
    """What is known of the graph's values so far."""

    opset: int
    values: dict[str, Value] = field(default_factory=dict)
    wholes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Constants of whole numbers."""
    first_lost: str = ""
    """The operator behind which the batch dimension was lost first."""


def judge_rows(model: Model) -> RowVerdict:
    """Whether the rows of a batch stay apart in this model."""
    graph = model.graph
    opset = next((o.version for o in model.opset_import if o.domain in _ONNX), 1)
    state = _State(opset)
    for tensor in graph.initializer:
        state.values[tensor.name] = fixed(tuple(tensor.dims))
        _note_whole(state, tensor.name, tensor)
    for sparse in graph.sparse_initializer:
        state.values[sparse.values.name] = fixed()
    try:
        for given in graph.input:
            if given.name not in state.values:
                state.values[given.name] = _given(given)
        for node in graph.node:
            _step(state, node)
        return _ends(state, graph)
    except Mixes as e:
        return RowVerdict(Keeping.MIXED, str(e)[:400])


def has_control_flow(model: Model) -> bool:
    """Whether how long a run takes may depend on values."""
    return any(n.op_type in CONTROL for n in model.graph.node)


def _given(info: ValueInfo) -> Value:
    rank = _rank(info, "input")
    return lost() if rank is None else rows(0, rank)


def _rank(info: ValueInfo, kind: str) -> int | None:
    """The declared rank, None where there is none; refuses a side without a free first dimension.

    Raises:
        Mixes: it has no rows, or a fixed number of them.
    """
    name = info.name[:80]
    if not info.type.HasField("tensor_type"):
        raise Mixes(f"{kind} {name!r} is no tensor")
    if not info.type.tensor_type.HasField("shape"):
        return None
    dims = info.type.tensor_type.shape.dim
    if not dims:
        raise Mixes(f"{kind} {name!r} is a scalar, one for all rows")
    if dims[0].HasField("dim_value") and dims[0].dim_value >= 0:
        raise Mixes(f"{kind} {name!r} has a fixed first dimension, {dims[0].dim_value}")
    return len(dims)


def _ends(state: _State, graph: Graph) -> RowVerdict:
    unknown = ""
    for info in graph.output:
        _rank(info, "output")
        value = state.values.get(info.name, lost())
        if value.has_rows and value.axis != 0:
            raise Mixes(f"output {info.name[:80]!r} has its rows in dimension {value.axis}")
        if not value.has_rows or value.is_folded:
            behind = f" behind {state.first_lost}" if state.first_lost else ""
            unknown = unknown or f"output {info.name[:80]!r}: rows were lost sight of{behind}"
    return RowVerdict(Keeping.UNKNOWN if unknown else Keeping.KEPT, unknown)


def _step(state: _State, proto: Any) -> None:
    node = Node(proto, state.opset, state.wholes)
    given = [state.values.get(n, lost()) if n else None for n in node.inputs]
    given += [state.values.get(n, fixed()) for n in _captured(node)]
    seen = [v for v in given if v is not None]
    _check(node, seen)
    if all(v.is_fixed for v in seen):
        made = [fixed()]
        if node.operator == "Constant" and node.outputs:
            made = [_constant(state, node)]
    elif all(v.is_fixed or v.is_size for v in seen):
        made = [sizes()]
    else:
        made = _apply(node, given)
        if not state.first_lost and (made[0].is_lost or made[0].is_folded):
            state.first_lost = node.label
    for i, name in enumerate(node.outputs):
        if name:
            state.values[name] = made[min(i, len(made) - 1)]


def _check(node: Node, seen: list[Value]) -> None:
    """Refuses what mixes rows whatever stands in it. Raises `Mixes`."""
    if any(n.operator in _RANDOM for n in (node, *_inside(node))):
        raise Mixes(f"{node.label} makes random numbers")
    if node.operator == "Dropout" and len(node.inputs) > 2 and node.whole(2) != (0,):
        raise Mixes(f"{node.label} may be in training mode")
    if node.integer("training_mode", 0):
        raise Mixes(f"{node.label} is in training mode")
    if not any(v.has_rows or v.is_lost for v in seen):
        return
    if node.operator in _BATCH_WIDE:
        raise Mixes(f"{node.label} takes one scale over all rows")
    if node.operator in _STATEFUL:
        raise Mixes(f"{node.label} decides for all rows together")
    has_axes = bool(node.axes(1)) or node.gives(1) or node.integer("noop_with_empty_axes", 0)
    if node.operator.startswith("Reduce") and not has_axes:
        raise Mixes(f"{node.label} reduces over everything, rows included")


def _apply(node: Node, given: list[Value | None]) -> list[Value]:
    """The operator's rule; lost where there is none, or it says nothing."""
    rule = RULES.get(node.operator)
    if rule is None or any(v is not None and v.is_lost for v in given):
        return [sizes()] if node.operator in ("Shape", "Size") else [lost()]
    try:
        return rule(node, given) or [lost()]
    except (IndexError, ValueError):  # too few inputs, or axes beyond: onnxruntime will refuse it
        return [lost()]


def _captured(node: Node) -> Iterator[str]:
    """Names that graphs inside a node take from outside, and some that are their own."""
    for inner in _inside(node):
        yield from inner.inputs


def _inside(node: Node) -> Iterator[Node]:
    """All nodes of the graphs inside a node."""
    todo = node.graphs()
    while todo:
        for proto in todo.pop().node:
            inner = Node(proto, node.opset, {})
            todo.extend(inner.graphs())
            yield inner


def _constant(state: _State, node: Node) -> Value:
    tensor = node.tensor("value")
    if tensor is not None:
        _note_whole(state, node.outputs[0], tensor)
        return fixed(tuple(tensor.dims))
    whole = node.integers("value_ints") or (
        (node.integer("value_int", 0),) if node.has("value_int") else None
    )
    if whole is not None:
        state.wholes[node.outputs[0]] = whole
    return fixed()


def _note_whole(state: _State, name: str, tensor: Tensor) -> None:
    """Remembers a short constant of whole numbers."""
    width = _WIDTHS.get(tensor.data_type)
    if width is None or tensor.data_location or len(tensor.dims) > 1:
        return
    if tensor.dims and tensor.dims[0] > _MAX_WHOLE:
        return
    raw = tensor.raw_data
    state.wholes[name] = (
        tuple(
            int.from_bytes(raw[i : i + width], "little", signed=width > 1)
            for i in range(0, len(raw), width)
        )
        if raw
        else tuple(tensor.int64_data) or tuple(tensor.int32_data)
    )
