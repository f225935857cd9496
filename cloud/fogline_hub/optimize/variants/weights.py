"""Graph passes that make a dense model's weights smaller; what no pass can shrink gives None.

Trees have no weights that these passes reach; they need fewer trees or smaller leaves, which
changes the model and is not done here.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

MIN_ELEMENTS = 64
"""Smaller constants stay as they are: a node to restore one costs more than it saves."""
FLOAT16_MAX = 65504.0
INT8_LEVELS = 127
REDUCED_LEVELS = 63
"""Weights take 7 bits: without VNNI, products of 8 by 8 bits saturate (`reduce_range`)."""


def fp16_storage(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Float weights stored as float16, cast back by a node that the runtime folds at load."""
    made = copy_model(model)
    stored = 0
    for tensor in list(made.graph.initializer):
        array = _float_array(tensor)
        if array is None or np.abs(array).max(initial=0.0) > FLOAT16_MAX:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{name}.h"))
        made.graph.node.insert(
            0, helper.make_node("Cast", [f"{name}.h"], [name], to=onnx.TensorProto.FLOAT)
        )
        stored += 1
    return made if stored else None


def int8_dynamic(model: onnx.ModelProto, *, reduce_range: bool = True) -> onnx.ModelProto | None:
    """MatMul by a constant in int8: activations are quantised at each run, by their range.

    That range is of the whole batch, so one row's answer depends on the rows beside it: a variant
    made here must never be stacked with other requests.

    Source: ONNX, `DynamicQuantizeLinear` and `MatMulInteger`; weights symmetric, a scale a column.
    """
    made = copy_model(model)
    constants = {t.name: t for t in made.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    used: set[str] = set()
    levels = REDUCED_LEVELS if reduce_range else INT8_LEVELS
    for node in made.graph.node:
        weights = factor_of(node, constants)
        if weights is None:
            nodes.append(node)
            continue
        if node.input[1] not in used:
            _add_int8(made.graph, node.input[1], weights, levels)
            used.add(node.input[1])
        nodes.extend(_quantised(node))
    if not used:
        return None
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    drop_unused(made.graph, used)
    return made


def lift_constants(model: onnx.ModelProto) -> None:
    """Turns `Constant` nodes of tensors into initializers, where passes look for weights.

    Some exporters (PaddlePaddle's among them) write every weight as such a node.
    """
    kept: list[onnx.NodeProto] = []
    for node in model.graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type != "Constant" or value is None:
            kept.append(node)
            continue
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def copy_model(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def _float_array(tensor: onnx.TensorProto) -> np.ndarray | None:
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return None
    array = numpy_helper.to_array(tensor)
    return array if array.size >= MIN_ELEMENTS else None


def factor_of(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> np.ndarray | None:
    """The constant [n, k] right side of a product without more to it."""
    if node.op_type == "MatMul" and node.domain == "":
        is_plain = True
    elif node.op_type == "Gemm":
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        is_plain = not settings.get("transA") and not settings.get("transB")
        is_plain = is_plain and settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0
    else:
        return None
    tensor = constants.get(node.input[1])
    if not is_plain or tensor is None:
        return None
    array = _float_array(tensor)
    return array if array is not None and array.ndim == 2 else None


def _add_int8(graph: onnx.GraphProto, name: str, weights: np.ndarray, levels: int) -> None:
    scale = np.abs(weights).max(axis=0) / levels
    scale[scale == 0] = 1.0
    whole = np.rint(weights / scale).astype(np.int8)
    graph.initializer.append(numpy_helper.from_array(whole, f"{name}.q"))
    graph.initializer.append(
        numpy_helper.from_array(scale.astype(np.float32)[None, :], f"{name}.s")
    )


def _quantised(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    name, out = node.input[1], node.output[0]
    has_bias = node.op_type == "Gemm" and len(node.input) > 2
    product = f"{out}.p" if has_bias else out
    made = [
        helper.make_node(
            "DynamicQuantizeLinear", [node.input[0]], [f"{out}.x", f"{out}.xs", f"{out}.xz"]
        ),
        helper.make_node("MatMulInteger", [f"{out}.x", f"{name}.q", f"{out}.xz"], [f"{out}.i"]),
        helper.make_node("Cast", [f"{out}.i"], [f"{out}.f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{out}.xs", f"{name}.s"], [f"{out}.s"]),
        helper.make_node("Mul", [f"{out}.f", f"{out}.s"], [product]),
    ]
    if has_bias:
        made.append(helper.make_node("Add", [product, node.input[2]], [out]))
    return made


def drop_unused(graph: onnx.GraphProto, names: set[str]) -> None:
    """Takes away constants that nothing reads any more."""
    read = {n for node in graph.node for n in node.input} | {o.name for o in graph.output}
    kept = [t for t in graph.initializer if t.name in read or t.name not in names]
    del graph.initializer[:]
    graph.initializer.extend(kept)
