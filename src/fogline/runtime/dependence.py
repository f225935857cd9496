"""What is known of a tensor's values while they are followed through a graph (`flow`)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fogline.runtime.sizing import (
    BOUNDED,
    CARRIED,
    CUT,
    INDICES,
    OTHER_TYPE,
    POLES,
    SAME_TYPE_AS,
    SIZED,
)
from fogline.tensors import Array
from fogline.wire.onnx_model_pb2 import Tensor

UNKNOWN, INT32, INT64, BOOL = 0, 6, 7, 9
"""`TensorProto.DataType`."""
WHOLE: Mapping[int, np.dtype[Any]] = {INT32: np.dtype("<i4"), INT64: np.dtype("<i8")}
"""Types whose division by -1 can end a process."""

Inputs = int
"""A set of inputs of the main graph: bit i is the i-th. A set of names each tensor would not fit in
memory for a graph that is made for it."""


class Value(NamedTuple):
    """What is known of one tensor."""

    depends: Inputs = 0
    """Inputs whose values its values depend on."""
    grows: Inputs = 0
    """Those of them that can make its values as large as they like."""
    shape: Inputs = 0
    """Inputs whose values its shape depends on; as far as they like only with declared bounds."""
    type: int = UNKNOWN


CONSTANT = Value()


class Scope:
    """Tensors by name, in one graph and those around it."""

    __slots__ = ("constants", "outer", "values")

    def __init__(self, outer: "Scope | None") -> None:
        self.outer = outer
        self.values: dict[str, Value] = {}
        self.constants: dict[str, Tensor] = {}

    def find(self, name: str) -> Value | None:
        scope: Scope | None = self
        while scope is not None:
            found = scope.values.get(name)
            if found is not None:
                return found
            scope = scope.outer
        return None

    def constant(self, name: str) -> Tensor | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.constants.get(name)
            scope = scope.outer
        return None


def operator_of(node: Any) -> str:
    domain, operator = node.domain, node.op_type
    return str(operator if domain in ("", "ai.onnx") else f"{domain}.{operator}")


def join(values: Iterable[Value]) -> Value:
    """What is known of a tensor that may be any of these, or is made of all of them."""
    depends = grows = shape = 0
    kind = UNKNOWN
    for value in values:
        depends |= value.depends
        grows |= value.grows
        shape |= value.shape
        kind = kind or value.type
    return Value(depends, grows, shape, kind)


def choose(value: Value, by: Sequence[Value]) -> Value:
    """A value that is chosen, or how often made, by others; bounded by what is chosen from."""
    chosen = join(by).depends
    return Value(value.depends | chosen, value.grows, value.shape | chosen, value.type)


def outputs_of(node: Any, operator: str, given: Sequence[Value]) -> list[Value]:
    """What an operator without graphs inside gives for these inputs."""
    everything = join(given)
    depends, grows, shape, _ = everything
    kind = _type(node, operator, given)
    if not (depends or shape):  # constants alone, or sizes of the request
        return [Value(type=INT64 if operator in INDICES else kind)] * len(node.output)
    if operator in ("Shape", "Size"):
        return [Value(depends=shape, type=INT64)]
    positions = CARRIED.get(operator)
    if positions is not None:
        grows = join([given[i] for i in positions if i < len(given)]).grows
    if operator in POLES and not (operator == "Div" and kind in WHOLE):
        is_safe = operator == "Div" and len(given) == 2 and not given[1].depends
        grows = grows if is_safe else depends
    for i in SIZED.get(operator) or CUT.get(operator) or ():
        shape |= given[i].depends if i < len(given) else 0
    bounded = BOUNDED.get(operator, ())
    return [
        Value(depends, 0, shape, INT64 if operator in INDICES or i else UNKNOWN)
        if i in bounded
        else Value(depends, grows, shape, kind if i == 0 or operator == "Split" else UNKNOWN)
        for i in range(len(node.output))
    ]


def _type(node: Any, operator: str, given: Sequence[Value]) -> int:
    """Element type of the first output; unknown where only a definition tells."""
    if operator == "Cast":
        return next((a.i for a in node.attribute if a.name == "to"), UNKNOWN)
    if operator in OTHER_TYPE or "." in operator:
        return UNKNOWN
    position = SAME_TYPE_AS.get(operator, 0)
    return given[position].type if position < len(given) else UNKNOWN


def whole_numbers(tensor: Tensor) -> Array | None:
    """The elements of a constant of whole numbers; None where they are not in the file."""
    dtype = WHOLE.get(tensor.data_type)
    if dtype is None:
        return None
    if tensor.raw_data:
        size = len(tensor.raw_data) // dtype.itemsize * dtype.itemsize
        return np.frombuffer(tensor.raw_data[:size], dtype)
    return np.array(tensor.int64_data or tensor.int32_data, np.int64)
