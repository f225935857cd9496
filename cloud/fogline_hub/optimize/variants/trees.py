"""Smaller tree ensembles: fewer trees, by a curve measured on the sample, and float32 for float64.

Files of trees also compress well, but nothing loads a compressed model: what a compressed transfer
takes is told of every variant beside its size, and storage that compresses is the device's own.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fogline.errors import Unsupported
from fogline_hub.optimize.variants.tree_nodes import (
    OPERATOR,
    cut,
    is_by_tree,
    narrow,
    tree_count,
    tree_nodes,
)
from fogline_hub.optimize.variants.weights import copy_model

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the trees; the curve's points."""

Loss = Callable[[onnx.ModelProto], float]
"""What a model loses on the sample, against the whole ensemble."""


def fewer_trees(
    model: onnx.ModelProto, loss: Loss, max_loss: float
) -> tuple[onnx.ModelProto | None, str]:
    """The fewest first trees that lose at most `max_loss`, and the curve in words.

    Whether leaves are shares of an average or steps of a sum is not written in a graph, so both
    are tried: an average of fewer trees gets its leaves scaled up.

    Raises:
        Unsupported: trees that are not cut, or more than one ensemble.
    """
    nodes = tree_nodes(model)
    if not nodes:
        return None, ""
    if len(nodes) > 1:
        raise Unsupported("has several ensembles, whose trees are not cut together")
    count = tree_count(nodes[0])
    curve: list[str] = []
    for share in SHARES:
        keep = int(np.ceil(share * count))
        if not 1 <= keep < count:
            continue
        tried = [_cut_to(model, keep, scale) for scale in (1.0, count / keep)]
        losses = [loss(m) for m in tried]
        best = int(np.argmin(losses))
        curve.append(f"{keep}: {losses[best]:.4f}")
        if losses[best] <= max_loss:
            return tried[best], f"{keep} of {count} trees (loss on the sample {', '.join(curve)})"
    return None, f"loses too much with fewer than {count} trees ({', '.join(curve)})"


def narrow_trees(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Float64 ensembles in float32 where their input is float32; None where there are none.

    Raises:
        Unsupported: rounding would change a comparison.
    """
    made = copy_model(model)
    makers = {o: n for n in made.graph.node for o in n.output}
    changed = 0
    for node in tree_nodes(made):
        given = _float32_source(node.input[0], makers, made)
        if given is None or not narrow(node):
            continue
        node.input[0] = given
        if node.op_type == OPERATOR:
            _cast_back(made.graph, node)
        changed += 1
    _narrow_tables(made)
    return made if changed else None


def _cut_to(model: onnx.ModelProto, keep: int, scale: float) -> onnx.ModelProto:
    made = copy_model(model)
    (node,) = tree_nodes(made)
    by_tree = is_by_tree(node)
    leaves = cut(node, keep, scale)
    if by_tree:
        table = _table_of(made, node.output[0])
        if table is None:
            raise Unsupported("numbers its leaves, but has no table of them")
        array = numpy_helper.to_array(table)
        kept = (array[leaves] * scale).astype(array.dtype)
        table.CopyFrom(numpy_helper.from_array(kept, table.name))
    return made


def _table_of(model: onnx.ModelProto, leaf_ids: str) -> onnx.TensorProto | None:
    """The constant that is gathered by the leaves' numbers."""
    names = {leaf_ids}
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in names:
            names.add(node.output[0])
        if node.op_type == "Gather" and node.input[1] in names:
            return constants.get(node.input[0])
    return None


def _float32_source(
    name: str, makers: dict[str, onnx.NodeProto], model: onnx.ModelProto
) -> str | None:
    """The float32 tensor that a cast to float64 made `name` of."""
    node = makers.get(name)
    if node is None or node.op_type != "Cast":
        return None
    source = node.input[0]
    kinds = {i.name: i.type.tensor_type.elem_type for i in model.graph.input}
    maker = makers.get(source)
    if maker is not None and maker.op_type == "Cast":
        return source if helper.get_node_attr_value(maker, "to") == TensorProto.FLOAT else None
    return source if kinds.get(source) == TensorProto.FLOAT else None


def _cast_back(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """What the narrowed node makes goes on as float64."""
    name = node.output[0]
    node.output[0] = f"{name}.f"
    cast = helper.make_node("Cast", [f"{name}.f"], [name], to=TensorProto.DOUBLE)
    graph.node.insert(list(graph.node).index(node) + 1, cast)


def _narrow_tables(model: onnx.ModelProto) -> None:
    """Tables of leaves in float32, cast where they are read."""
    for node in tree_nodes(model):
        if not is_by_tree(node):
            continue
        table = _table_of(model, node.output[0])
        if table is None or table.data_type != TensorProto.DOUBLE:
            continue
        array = numpy_helper.to_array(table).astype(np.float32)
        table.CopyFrom(numpy_helper.from_array(array, table.name))
        for i, reader in enumerate(model.graph.node):
            if table.name in reader.input:
                name = reader.output[0]
                reader.output[0] = f"{name}.f"
                cast = helper.make_node("Cast", [f"{name}.f"], [name], to=TensorProto.DOUBLE)
                model.graph.node.insert(i + 1, cast)
                break
