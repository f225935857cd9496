"""The class output of a network: which it is, by its graph, and the label that it stands for.

Exporters write numbers alone. Where the classes are known, the graph gets one output more: `label`,
the class with the greatest number, or of one sigmoid the side of one half.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fogline.errors import InvalidInput, Unsupported
from fogline.schema import Field
from fogline.summaries import category_text
from fogline_hub.convert.dataset import Column, shown_names
from fogline_hub.convert.parity import Numbers

LABEL = "label"
LABEL_NAMES = (LABEL, "output_label")
"""What exporters call the class."""
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)


@dataclass(frozen=True, slots=True)
class Head:
    """One output [rows, width] with a number for each class, or with one number for two."""

    name: str
    width: int
    is_softmax: bool
    is_sigmoid: bool

    @property
    def classes(self) -> int:
        return max(self.width, 2)


def is_label(field: Field) -> bool:
    """Whether an output is the class itself, by its name and form."""
    is_named = field.name in LABEL_NAMES
    return is_named and len(field.shape) == 1 and field.datatype in ("INT64", "BYTES")


def find_head(model: onnx.ModelProto) -> Head | None:
    """The only output that a class can be read from; None where there is none, or are several."""
    heads = [h for o in model.graph.output if (h := _head(model, o)) is not None]
    sure = [h for h in heads if h.is_softmax or h.is_sigmoid]
    chosen = sure or heads
    return chosen[0] if len(chosen) == 1 else None


def class_names(head: Head | None, named: Sequence[str], actual: Column | None) -> tuple[str, ...]:
    """The classes of a head, in its order: as the user named them, or 0, 1 ... as the target says.

    Args:
        head: The class output.
        named: Names that the user gave; empty if none.
        actual: The sample's target; None without one.

    Returns:
        The names; empty where the model is no classifier as far as can be told.

    Raises:
        InvalidInput: names that do not fit, or a text target without names: their order in the
            output is nowhere written.
    """
    if named:
        if head is None or len(set(named)) != head.classes:
            has = "no class output" if head is None else f"a class output of {head.classes} classes"
            raise InvalidInput(f"{len(set(named))} labels were given, the model has {has}")
        if head.width == 1 and not head.is_sigmoid:
            raise Unsupported(
                f"output {head.name!r} has one number for two classes and no sigmoid, so its "
                "threshold is not known; end the model with a sigmoid"
            )
        return tuple(named)
    if head is None or actual is None or (head.width == 1 and not head.is_sigmoid):
        return ()
    if actual.dtype.kind == "O":
        if not (head.is_softmax or head.is_sigmoid):
            return ()
        values = sorted({str(v) for v in actual.tolist()})
        raise InvalidInput(
            f"the target is text ({shown_names(tuple(values), 4)}), and the model does not say "
            "which of its outputs is which: name them in its order with --labels"
        )
    found = {category_text(v) for v in actual.tolist()} - {None}
    names = tuple(str(i) for i in range(head.classes))
    return names if found <= set(names) and len(found) > 1 else ()


def label_codes_of(head: Head, numbers: Numbers) -> NDArray[np.int64]:
    """The class [rows] that a head's numbers [rows, width] say."""
    if head.width == 1:
        return (numbers[:, 0] > 0.5).astype(np.int64)
    if not len(numbers):
        return np.zeros(0, dtype=np.int64)
    return np.asarray(numbers.argmax(axis=1), dtype=np.int64)


def add_label(model: onnx.ModelProto, head: Head, labels: Sequence[str]) -> str:
    """Adds the output `label` [rows] and returns its datatype: INT64, or BYTES for names.

    Raises:
        InvalidInput: the graph has such a name already.
    """
    graph = model.graph
    used = {n for node in graph.node for n in (*node.input, *node.output)}
    if any(n == LABEL or n.startswith("fogline_label") for n in used):
        raise InvalidInput(f"the graph already uses the name {LABEL!r}")
    if head.width == 1:
        kind = next(o for o in graph.output if o.name == head.name).type.tensor_type.elem_type
        half = helper.make_tensor("fogline_label_half", kind, [], [0.5])
        axes = numpy_helper.from_array(np.array([1], np.int64), "fogline_label_axes")
        graph.initializer.extend([half, axes])
        graph.node.extend(
            [
                helper.make_node("Greater", [head.name, half.name], ["fogline_label_is_more"]),
                helper.make_node(
                    "Cast", ["fogline_label_is_more"], ["fogline_label_wide"], to=TensorProto.INT64
                ),
                helper.make_node("Squeeze", ["fogline_label_wide", axes.name], ["fogline_label"]),
            ]
        )
    else:
        graph.node.append(
            helper.make_node("ArgMax", [head.name], ["fogline_label"], axis=1, keepdims=0)
        )
    is_number = all(str(int(n)) == n for n in labels if n.lstrip("-").isdecimal()) and all(
        n.lstrip("-").isdecimal() for n in labels
    )
    table = (
        numpy_helper.from_array(np.array([int(n) for n in labels], np.int64), "fogline_label_names")
        if is_number
        else helper.make_tensor(
            "fogline_label_names", TensorProto.STRING, [len(labels)], [n.encode() for n in labels]
        )
    )
    graph.initializer.append(table)
    graph.node.append(helper.make_node("Gather", [table.name, "fogline_label"], [LABEL]))
    kind = TensorProto.INT64 if is_number else TensorProto.STRING
    graph.output.append(helper.make_tensor_value_info(LABEL, kind, ["rows"]))
    return "INT64" if is_number else "BYTES"


def _head(model: onnx.ModelProto, output: onnx.ValueInfoProto) -> Head | None:
    kind = output.type.tensor_type
    dims = kind.shape.dim
    if kind.elem_type not in FLOATS or len(dims) != 2 or dims[1].dim_value < 1:
        return None
    width = dims[1].dim_value
    makers = {o: node for node in model.graph.node for o in node.output}
    node = makers.get(output.name)
    while node is not None and node.op_type in ("Identity", "Reshape", "Cast"):
        node = makers.get(node.input[0])
    axis = next((a.i for a in node.attribute if a.name == "axis"), -1) if node else 0
    operator = node.op_type if node is not None else ""
    is_softmax = operator == "Softmax" and axis in (-1, 1) and width > 1
    return Head(output.name, width, is_softmax, operator == "Sigmoid" and width == 1)
