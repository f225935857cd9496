"""A node of a graph and what is known of its values; what `rows` and its rules speak of."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fogline.wire.onnx_model_pb2 import Attribute, Graph, Tensor

_ONNX = ("", "ai.onnx")


class Mixes(Exception):
    """Rows do not stay apart; the text says where."""


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of one tensor; the makers below are its only forms."""

    is_fixed: bool = False
    """The same whatever the rows are, and however many."""
    is_size: bool = False
    """Depends on how many rows there are, not on what they hold."""
    has_rows: bool = False
    """Dimension `axis` is the batch, and a slice along it depends on its own row alone."""
    is_folded: bool = False
    """The rows lie in `axis` together with dimensions that came after it, in their order."""
    axis: int = 0
    rank: int = 0
    dims: tuple[int, ...] | None = None
    """Of a fixed one, where known."""

    @property
    def is_lost(self) -> bool:
        return not (self.is_fixed or self.is_size or self.has_rows)

    @property
    def from_end(self) -> int:
        """The batch dimension counted from the last, which is 1."""
        return self.rank - self.axis

    def at(self, axis: int, rank: int) -> "Value":
        """The same rows in another place."""
        return replace(self, axis=axis, rank=rank)


def fixed(dims: tuple[int, ...] | None = None) -> Value:
    return Value(is_fixed=True, dims=dims)


def sizes() -> Value:
    return Value(is_size=True)


def lost() -> Value:
    return Value()


def rows(axis: int, rank: int) -> Value:
    return Value(has_rows=True, axis=axis, rank=rank)


class Node:
    """One node, with its attributes by name."""

    def __init__(self, proto: Any, opset: int, wholes: Mapping[str, tuple[int, ...]]) -> None:
        self.operator: str = proto.op_type
        self.inputs: list[str] = list(proto.input)
        self.outputs: list[str] = list(proto.output)
        self.opset = opset if proto.domain in _ONNX else 0
        self.label = f"{proto.op_type[:80]} ({(proto.name or ''.join(self.outputs[:1]))[:80]!r})"
        self._attributes: dict[str, Attribute] = {a.name: a for a in proto.attribute}
        self._wholes = wholes

    def has(self, name: str) -> bool:
        return name in self._attributes

    def integer(self, name: str, default: int) -> int:
        found = self._attributes.get(name)
        return default if found is None else found.i

    def integers(self, name: str) -> tuple[int, ...] | None:
        found = self._attributes.get(name)
        return None if found is None else tuple(found.ints)

    def tensor(self, name: str) -> Tensor | None:
        found = self._attributes.get(name)
        return found.t if found is not None and found.HasField("t") else None

    def graphs(self) -> list[Graph]:
        found = self._attributes.values()
        return [g for a in found for g in ([a.g] if a.HasField("g") else []) + list(a.graphs)]

    def whole(self, index: int) -> tuple[int, ...] | None:
        """Input `index`, where it is a constant of whole numbers."""
        return self._wholes.get(self.inputs[index]) if index < len(self.inputs) else None

    def gives(self, index: int) -> bool:
        return index < len(self.inputs) and bool(self.inputs[index])

    def axes(self, index: int) -> tuple[int, ...] | None:
        """Axes by attribute or, in later operator sets, as input `index`; None: not known."""
        given = self.integers("axes")
        return given if given is not None else self.whole(index)
