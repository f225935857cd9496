"""Where each operator leaves the batch dimension of what it is given; the table behind `rows`.

A rule takes a node and its inputs and returns its outputs, raises `Mixes` where the operator makes
one row depend on another, or returns None where it cannot tell. Operators that are not here are
ones about which nothing can be told.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from fogline.runtime.operators import Mixes, Node, Value, sizes

_OPEN_END = 2**31 - 1
"""From here on the end of a slice is "to the end", as exporters write it."""

Given = list[Value | None]
Rule = Callable[[Node, Given], list[Value] | None]


def _data(given: Given) -> Value | None:
    """The first input if it has rows and all others are fixed."""
    first, *others = given
    if first is None or not first.has_rows:
        return None
    return first if all(v is None or v.is_fixed for v in others) else None


def _mix(node: Node, how: str) -> Mixes:
    return Mixes(f"{node.label} {how}")


def _same(_: Node, given: Given) -> list[Value] | None:
    data = _data(given)
    return None if data is None else [data]


def _elementwise(node: Node, given: Given) -> list[Value] | None:
    """Broadcasting: dimensions meet counted from the last."""
    values = [v for v in given if v is not None]
    if any(v.is_size for v in values):
        return None
    with_rows = [v for v in values if v.has_rows]
    if len({v.is_folded for v in with_rows}) > 1:
        return None
    where = {v.from_end for v in with_rows}
    if len(where) != 1:
        if with_rows[0].is_folded:
            return None
        raise _mix(node, "sets rows against each other")
    (at,) = where
    constants = [v.dims for v in values if v.is_fixed and v.dims is not None]
    for dims in constants:
        if len(dims) >= at and dims[-at] != 1:
            raise _mix(node, f"takes a constant of {dims[-at]} rows")
    rank = max([v.rank for v in with_rows] + [len(dims) for dims in constants])
    return [with_rows[0].at(rank - at, rank)]


def _matmul(node: Node, given: Given) -> list[Value] | None:
    a, b = [*given, None][:2]
    if a is None or b is None or any(v is not None and not v.is_fixed for v in given[2:]):
        return None
    if node.has("transA") or node.has("transB"):
        return None
    for one, contracted in ((a, 1), (b, 2 if b.rank > 1 else 1)):
        if one.has_rows and one.from_end == contracted:
            raise _mix(node, "sums over rows")
    if a.has_rows and b.has_rows:
        if a.is_folded != b.is_folded:
            return None
        if min(a.from_end, b.from_end) <= 2 or a.from_end != b.from_end:
            raise _mix(node, "multiplies rows by each other")
        return [a.at(max(a.rank, b.rank) - a.from_end, max(a.rank, b.rank))]
    one, other = (a, b) if a.has_rows else (b, a)
    dims = (0, 0) if other.dims is None else other.dims
    if not other.is_fixed or len(dims) < 2 or one.rank < 2:
        return None
    rank = max(one.rank, len(dims))
    return [one.at(rank - one.from_end, rank)]


def _gemm(node: Node, given: Given) -> list[Value] | None:
    a, b = given[:2]
    if a is None or b is None:
        return None
    if b.has_rows:
        raise _mix(node, "takes rows as its weights")
    if not a.has_rows or any(v is not None and not v.is_fixed for v in given[1:]):
        return None
    if a.axis != (1 if node.integer("transA", 0) else 0):
        raise _mix(node, "sums over rows")
    bias = given[2].dims if len(given) > 2 and given[2] is not None else ()
    if bias is not None and len(bias) == 2 and bias[0] != 1:
        raise _mix(node, f"takes a constant of {bias[0]} rows")
    return [a.at(0, 2)]


def _batch_first(node: Node, given: Given) -> list[Value] | None:
    """Convolution, pooling and the like: the batch stays where it is, if it is the first."""
    data = _data(given)
    if data is not None and data.axis:
        raise _mix(node, "takes rows for channels or places")
    return None if data is None else [data]


def _table(node: Node, given: Given) -> list[Value] | None:
    """Classical models of `ai.onnx.ml`: one row in, one row out, of up to two dimensions."""
    data = _data(given)
    if data is None or data.axis or data.rank > 2:
        return None
    return [data.at(0, 1 if i == 0 and len(node.outputs) > 1 else 2) for i in range(2)]


def _normalize_by_axis(default: int) -> Rule:
    """Over one axis: `Softmax` from operator set 13 on, `LpNormalization`, `Hardmax`."""

    def rule(node: Node, given: Given) -> list[Value] | None:
        data = _data(given)
        if data is None:
            return None
        is_old = 0 < node.opset < 13 and node.operator != "LpNormalization"
        axis = _positive(node.integer("axis", 1 if is_old else default), data.rank)
        if axis == data.axis or (is_old and data.axis > axis):
            raise _mix(node, "normalises over rows")
        return [data]

    return rule


def _normalize_from_axis(node: Node, given: Given) -> list[Value] | None:
    """Over an axis and all after it: `LayerNormalization`."""
    data = _data(given)
    if data is None:
        return None
    if data.axis >= _positive(node.integer("axis", -1), data.rank):
        raise _mix(node, "normalises over rows")
    return [data]


def _reduce(node: Node, given: Given) -> list[Value] | None:
    data = _data(given)
    if data is None:
        return None
    axes = node.axes(1)
    if axes is None and node.gives(1):
        return None
    if not axes:
        if node.integer("noop_with_empty_axes", 0):
            return [data]
        raise _mix(node, "reduces over everything, rows included")
    gone = {_positive(a, data.rank) for a in axes}
    if data.axis in gone:
        raise _mix(node, "reduces over rows")
    return [data if node.integer("keepdims", 1) else _without(data, gone)]


def _choose(node: Node, given: Given) -> list[Value] | None:
    """`ArgMax` and `ArgMin`."""
    data = _data(given)
    if data is None:
        return None
    axis = _positive(node.integer("axis", 0), data.rank)
    if axis == data.axis:
        raise _mix(node, "compares rows")
    return [data if node.integer("keepdims", 1) else _without(data, {axis})]


def _along(default: int) -> Rule:
    """`TopK`, `Split`: something along one axis, given as attribute."""

    def rule(node: Node, given: Given) -> list[Value] | None:
        data = _data(given)
        if data is None:
            return None
        if _positive(node.integer("axis", default), data.rank) == data.axis:
            raise _mix(node, "works along rows")
        return [data]

    return rule


def _cumulate(node: Node, given: Given) -> list[Value] | None:
    data, axis = _data(given), node.whole(1)
    if data is None or axis is None or len(axis) != 1:
        return None
    if _positive(axis[0], data.rank) == data.axis:
        raise _mix(node, "sums along rows")
    return [data]


def _concat(node: Node, given: Given) -> list[Value] | None:
    values = [v for v in given if v is not None]
    found = [v for v in values if v.has_rows]
    axis = _positive(node.integer("axis", 0), found[0].rank)
    if any(v.axis == axis for v in found):
        raise _mix(node, "joins rows")
    same = len(found) == len(values) and len(set(found)) == 1
    return [found[0]] if same else None


def _transpose(node: Node, given: Given) -> list[Value] | None:
    data = _data(given)
    if data is None:
        return None
    order = node.integers("perm") or tuple(reversed(range(data.rank)))
    return [data.at(order.index(data.axis), data.rank)] if data.axis in order else None


def _flatten(node: Node, given: Given) -> list[Value] | None:
    data = _data(given)
    if data is None or data.axis:
        return None
    axis = _positive(node.integer("axis", 1), data.rank)
    return [data.at(0, 2)] if axis == 1 else [_folded(1 if axis == 0 else 0, 2)]


def _reshape(node: Node, given: Given) -> list[Value] | None:
    """The batch, if it is the first dimension, stays the most significant one.

    So it ends up in the first that is not 1, perhaps with what came after it.
    """
    data, shape = _data(given), node.whole(1)
    if data is None or data.axis or not shape or node.integer("allowzero", 0):
        return None
    if shape[0] == 0:
        return [data.at(0, len(shape))]
    axis = next((i for i, size in enumerate(shape) if size != 1), None)
    return None if axis is None else [_folded(axis, len(shape))]


def _squeeze(node: Node, given: Given) -> list[Value] | None:
    data, axes = _data(given), node.axes(1)
    if data is None or axes is None:
        return None
    gone = {_positive(a, data.rank) for a in axes}
    return None if data.axis in gone else [_without(data, gone)]


def _unsqueeze(node: Node, given: Given) -> list[Value] | None:
    data, axes = _data(given), node.axes(1)
    if data is None or axes is None:
        return None
    rank = data.rank + len(axes)
    new = {_positive(a, rank) for a in axes}
    kept = [i for i in range(rank) if i not in new]
    return [data.at(kept[data.axis], rank)] if data.axis < len(kept) else None


def _gather(node: Node, given: Given) -> list[Value] | None:
    data, indices = given[:2]
    if data is None or indices is None:
        return None
    if data.has_rows and indices.is_fixed and indices.dims is not None:
        axis = _positive(node.integer("axis", 0), data.rank)
        if axis == data.axis:
            raise _mix(node, "picks certain rows")
        grown = len(indices.dims) - 1
        return [data.at(data.axis + (grown if axis < data.axis else 0), data.rank + grown)]
    if data.is_fixed and data.dims is not None and indices.has_rows:
        axis = _positive(node.integer("axis", 0), len(data.dims))
        return [indices.at(axis + indices.axis, len(data.dims) - 1 + indices.rank)]
    return None


def _slice(node: Node, given: Given) -> list[Value] | None:
    data = _data(given)
    if data is None:
        return None
    starts = node.integers("starts") or node.whole(1)
    ends = node.integers("ends") or node.whole(2)
    if starts is None or ends is None:
        return None
    axes = node.integers("axes") or node.whole(3)
    if axes is None:
        if node.gives(3):
            return None
        axes = tuple(range(len(starts)))
    steps = node.whole(4) or ((1,) * len(starts))
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=False):
        is_whole = start == 0 and step == 1 and end >= _OPEN_END
        if _positive(axis, data.rank) == data.axis and not is_whole:
            raise _mix(node, "picks certain rows")
    return [data]


def _pad(node: Node, given: Given) -> list[Value] | None:
    data, pads = _data(given), node.integers("pads") or node.whole(1)
    if data is None or pads is None or node.gives(3) or len(pads) != 2 * data.rank:
        return None
    if pads[data.axis] or pads[data.axis + data.rank]:
        raise _mix(node, "adds or removes rows")
    return [data]


def _recurrent(node: Node, given: Given) -> list[Value] | None:
    """`LSTM`, `GRU`, `RNN`: X is [sequence, batch, n], or [batch, sequence, n] with layout 1."""
    data = _data(given)
    if data is None or data.rank != 3:
        return None
    batch = 0 if node.integer("layout", 0) else 1
    if data.axis != batch:
        raise _mix(node, "takes rows for a sequence")
    last = data.at(batch, 3)
    return [data.at(0 if batch == 0 else 2, 4), last, last]


def _shape(_node: Node, _given: Given) -> list[Value] | None:
    return [sizes()]


def _positive(axis: int, rank: int) -> int:
    return axis + rank if axis < 0 else axis


def _without(value: Value, gone: set[int]) -> Value:
    return value.at(value.axis - sum(a < value.axis for a in gone), value.rank - len(gone))


def _folded(axis: int, rank: int) -> Value:
    return Value(has_rows=True, is_folded=True, axis=axis, rank=rank)


_NAMES: tuple[tuple[Rule, str], ...] = (
    (_same, "Identity Cast Relu Sigmoid Tanh Abs Neg Exp Log Sqrt Erf Floor Ceil Round Sign Not"),
    (_same, "Reciprocal Softplus Softsign Elu Selu Celu LeakyRelu HardSigmoid HardSwish Swish"),
    (_same, "ThresholdedRelu Gelu FastGelu QuickGelu BiasGelu Mish Clip IsNaN IsInf Dropout"),
    (_same, "Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Asinh Acosh Atanh"),
    (_same, "QuantizeLinear DequantizeLinear Binarizer LabelEncoder"),
    (_elementwise, "Add Sub Mul Div Pow Mod Min Max Sum Mean Where And Or Xor Equal PRelu"),
    (_elementwise, "Greater GreaterOrEqual Less LessOrEqual StringConcat"),
    (_elementwise, "BitShift BitwiseAnd BitwiseOr BitwiseXor"),
    (_matmul, "MatMul MatMulInteger FusedMatMul MatMulNBits"),
    (_gemm, "Gemm FusedGemm"),
    (_batch_first, "Conv ConvInteger ConvTranspose FusedConv QLinearConv"),
    (_batch_first, "MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool"),
    (_batch_first, "BatchNormalization InstanceNormalization GroupNormalization LRN"),
    (_batch_first, "DepthToSpace SpaceToDepth Scaler Imputer Normalizer"),
    (_table, "TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor"),
    (_table, "LinearClassifier LinearRegressor SVMClassifier SVMRegressor"),
    (_normalize_by_axis(-1), "Softmax LogSoftmax Hardmax LpNormalization"),
    (_normalize_from_axis, "LayerNormalization SimplifiedLayerNormalization RMSNormalization"),
    (_reduce, "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2"),
    (_reduce, "ReduceLogSum ReduceLogSumExp ReduceSumSquare"),
    (_choose, "ArgMax ArgMin"),
    (_along(-1), "TopK"),
    (_along(0), "Split"),
    (_cumulate, "CumSum CumProd"),
    (_concat, "Concat"),
    (_transpose, "Transpose"),
    (_flatten, "Flatten"),
    (_reshape, "Reshape"),
    (_squeeze, "Squeeze"),
    (_unsqueeze, "Unsqueeze"),
    (_gather, "Gather"),
    (_slice, "Slice"),
    (_pad, "Pad"),
    (_recurrent, "LSTM GRU RNN"),
    (_shape, "Shape Size"),
)

RULES: Mapping[str, Rule] = MappingProxyType(
    {name: rule for rule, names in _NAMES for name in names.split()}
)
"""Operator's name -> its rule. No two served domains use one name for different things."""
