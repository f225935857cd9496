"""Tensors of a graph while it is written, with numpy's arithmetic: `(x - mean) / scale` adds nodes.

Rows come first: a matrix is [rows, width], a vector [rows]. Constants take the type of the tensor
that they meet, so that one formula is written in float64 or in float32. What onnxruntime's CPU
kernels do not have in float64 (Erf, Softplus, Elu, OneHot) is not offered here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from fogline.errors import Unsupported
from fogline_hub.convert.ensembles import Assembly

FLOAT = onnx.TensorProto.FLOAT
DOUBLE = onnx.TensorProto.DOUBLE
INT64 = onnx.TensorProto.INT64
BOOL = onnx.TensorProto.BOOL
STRING = onnx.TensorProto.STRING
CONTRIB = "com.microsoft"

_DTYPES: dict[int, Any] = {
    FLOAT: np.float32,
    DOUBLE: np.float64,
    INT64: np.int64,
    BOOL: np.bool_,
    STRING: np.object_,
}


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A value of the graph.

    Attributes:
        graph: Where it is written.
        name: Of the value.
        type: Element type of `onnx.TensorProto`.
        width: Columns of a matrix; 0 of a vector, and where nobody asks.
    """

    graph: Assembly
    name: str
    type: int
    width: int = 0

    __array_ufunc__: ClassVar[None] = None
    """Makes `array - tensor` ask the tensor, rather than each element of the array."""

    def op(
        self,
        operator: str,
        *others: Any,
        kind: int | None = None,
        width: int | None = None,
        **attributes: Any,
    ) -> "Tensor":
        """A node of which this is the first input; others are tensors or constants of its type."""
        names = [self.name, *(self._name_of(o) for o in others)]
        made = self.graph.add(operator, *names, **attributes)
        return Tensor(
            self.graph,
            made,
            self.type if kind is None else kind,
            self.width if width is None else width,
        )

    def _name_of(self, other: Any) -> str:
        if isinstance(other, Tensor):
            return other.name
        return self.graph.constant(np.asarray(other, dtype=_DTYPES[self.type]))

    def _with(self, operator: str, other: Any, *, swapped: bool = False) -> "Tensor":
        if isinstance(other, Tensor):
            first, second = (other, self) if swapped else (self, other)
            return first.op(operator, second, width=max(self.width, other.width))
        value = np.asarray(other)
        width = max(self.width, value.shape[-1] if value.ndim else 0)
        if not swapped:
            return self.op(operator, value, width=width)
        return self.constant(value).op(operator, self, width=width)

    def constant(self, value: Any, kind: int | None = None) -> "Tensor":
        """A constant of this tensor's type, or of another."""
        chosen = self.type if kind is None else kind
        array = np.asarray(value, dtype=_DTYPES[chosen])
        width = array.shape[-1] if array.ndim else 0
        return Tensor(self.graph, self.graph.constant(array), chosen, width)

    def __add__(self, other: Any) -> "Tensor":
        return self._with("Add", other)

    def __radd__(self, other: Any) -> "Tensor":
        return self._with("Add", other)

    def __sub__(self, other: Any) -> "Tensor":
        return self._with("Sub", other)

    def __rsub__(self, other: Any) -> "Tensor":
        return self._with("Sub", other, swapped=True)

    def __mul__(self, other: Any) -> "Tensor":
        return self._with("Mul", other)

    def __rmul__(self, other: Any) -> "Tensor":
        return self._with("Mul", other)

    def __truediv__(self, other: Any) -> "Tensor":
        return self._with("Div", other)

    def __rtruediv__(self, other: Any) -> "Tensor":
        return self._with("Div", other, swapped=True)

    def __pow__(self, other: Any) -> "Tensor":
        return self._with("Pow", other)

    def __neg__(self) -> "Tensor":
        return self.op("Neg")

    def __matmul__(self, other: Any) -> "Tensor":
        width = other.width if isinstance(other, Tensor) else np.shape(other)[-1]
        return self.op("MatMul", other, width=width)

    def __eq__(self, other: object) -> "Tensor":  # type: ignore[override]
        return self._compare("Equal", other)

    def __lt__(self, other: Any) -> "Tensor":
        return self._compare("Less", other)

    def __le__(self, other: Any) -> "Tensor":
        return self._compare("LessOrEqual", other)

    def __gt__(self, other: Any) -> "Tensor":
        return self._compare("Greater", other)

    def __ge__(self, other: Any) -> "Tensor":
        return self._compare("GreaterOrEqual", other)

    def __and__(self, other: "Tensor") -> "Tensor":
        return self._with("And", other)

    def __or__(self, other: "Tensor") -> "Tensor":
        return self._with("Or", other)

    def __invert__(self) -> "Tensor":
        return self.op("Not")

    __hash__ = None  # type: ignore[assignment]

    def _compare(self, operator: str, other: Any) -> "Tensor":
        width = other.width if isinstance(other, Tensor) else np.shape(other)[-1:] or (0,)
        wide = width if isinstance(width, int) else width[0]
        return self.op(operator, other, kind=BOOL, width=max(self.width, wide))

    def cast(self, kind: int) -> "Tensor":
        return self if kind == self.type else self.op("Cast", kind=kind, to=kind)

    def double(self) -> "Tensor":
        return self.cast(DOUBLE)

    def exp(self) -> "Tensor":
        return self.op("Exp")

    def log(self) -> "Tensor":
        return self.op("Log")

    def abs(self) -> "Tensor":
        return self.op("Abs")

    def sqrt(self) -> "Tensor":
        return self.op("Sqrt")

    def sigmoid(self) -> "Tensor":
        """1 / (1 + exp(-x)), by the half of it that does not overflow."""
        small = (-self.abs()).exp()
        share = 1.0 / (small + 1.0)
        return (self >= 0.0).choose(share, small * share)

    def softmax(self) -> "Tensor":
        return self.op("Softmax", axis=1)

    def is_nan(self) -> "Tensor":
        return self.op("IsNaN", kind=BOOL)

    def clip(self, low: Any = None, high: Any = None) -> "Tensor":
        """NaN stays NaN."""
        made = self if low is None else (self < low).choose(self.constant(low), self)
        return made if high is None else (made > high).choose(made.constant(high), made)

    def choose(self, yes: "Tensor", no: "Tensor") -> "Tensor":
        """Where this is true `yes`, else `no`."""
        return self.op("Where", yes, no, kind=yes.type, width=max(self.width, yes.width, no.width))

    def sum(self, axis: int = 1, *, keep: bool = True) -> "Tensor":
        return self._reduce("ReduceSum", axis, keep=keep)

    def max(self, axis: int = 1, *, keep: bool = True) -> "Tensor":
        return self._reduce("ReduceMax", axis, keep=keep)

    def min(self, axis: int = 1, *, keep: bool = True) -> "Tensor":
        return self._reduce("ReduceMin", axis, keep=keep)

    def _reduce(self, operator: str, axis: int, *, keep: bool) -> "Tensor":
        axes = self.constant([axis], INT64)
        return self.op(operator, axes, width=int(keep), keepdims=int(keep))

    def argmax(self, *, least: bool = False) -> "Tensor":
        """int64 [rows]; the first of equals."""
        operator = "ArgMin" if least else "ArgMax"
        return self.op(operator, kind=INT64, width=0, axis=1, keepdims=0)

    def take(self, columns: Sequence[int] | NDArray[Any]) -> "Tensor":
        """Columns by number."""
        places = [int(c) for c in columns]
        if places == list(range(self.width)):
            return self
        return self.op("Gather", self.constant(places, INT64), width=len(places), axis=1)

    def column(self, number: int) -> "Tensor":
        return self.take([number])

    def vector(self) -> "Tensor":
        """[rows, 1] as [rows]."""
        return self.op("Reshape", self.constant([-1], INT64), width=0)

    def matrix(self, width: int = 1) -> "Tensor":
        """[rows] as [rows, 1], or any shape as [rows, width]."""
        return self.op("Reshape", self.constant([-1, width], INT64), width=width)

    def reshape(self, *shape: int) -> "Tensor":
        return self.op("Reshape", self.constant(list(shape), INT64), width=shape[-1])

    def rows_of(self, table: NDArray[Any], kind: int | None = None) -> "Tensor":
        """The rows of a constant table that these numbers, int64 [rows], name."""
        made = self.constant(table, DOUBLE if kind is None else kind)
        return made.op("Gather", self, width=table.shape[1] if table.ndim > 1 else 0, axis=0)

    def zeros(self, width: int = 1) -> "Tensor":
        """[rows, width] of zeros, float64, whatever this matrix holds."""
        rows = self.op("Shape", kind=INT64, start=0, end=1)
        shape = rows.op("Concat", rows.constant([width], INT64), axis=0)
        filling = helper.make_tensor("value", DOUBLE, [1], [0.0])
        return shape.op("ConstantOfShape", kind=DOUBLE, width=width, value=filling)

    def numbers(self) -> "Tensor":
        """As float64.

        Raises:
            Unsupported: it is text.
        """
        if self.type == STRING:
            raise Unsupported("a column of text reaches a step that takes numbers")
        return self.double()


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Matrices of one type beside each other."""
    if len(parts) == 1:
        return parts[0]
    width = sum(p.width for p in parts)
    return parts[0].op("Concat", *parts[1:], width=width, axis=1)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of different types, [rows, 1] each."""

    columns: tuple[Tensor, ...]

    def take(self, places: Sequence[int]) -> "Table":
        return Table(tuple(self.columns[int(p)] for p in places))

    @property
    def width(self) -> int:
        return len(self.columns)


Given = Tensor | Table


def matrix_of(given: Given) -> Tensor:
    """All columns as one float64 matrix; raises `Unsupported` where one is text."""
    if isinstance(given, Tensor):
        return given.numbers()
    return joined([c.numbers() for c in given.columns])


def table_of(given: Given) -> Table:
    """The columns one by one."""
    if isinstance(given, Table):
        return given
    return Table(tuple(given.column(i) for i in range(given.width)))


def beside(parts: Sequence[Given]) -> Given:
    """What several steps made, side by side: a matrix, or a table where text is among it."""
    columns = [c for p in parts for c in (p.columns if isinstance(p, Table) else (p,))]
    if any(c.type == STRING for c in columns):
        return Table(tuple(c for p in parts for c in table_of(p).columns))
    return joined([c.numbers() for c in columns])
