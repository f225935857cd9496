"""What is done to a stranger's ONNX file before it is served: gathered, inlined, cleaned, raised.

Each pass keeps what the model computes; raising the opset is proved by running both. What no device
can run is refused by name.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx.external_data_helper
import onnx.inliner
import onnx.version_converter

from fogline.errors import Corrupt, Unsupported
from fogline_hub.convert import graph

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Operators that onnxruntime has built in."""
LEAST_OPSET = 13
"""From here on quantizers and optimisers know every operator; what is older is raised."""
RAISED_OPSET = 18
LEAST_IR = 8
"""onnx 1.10; from 4 on an initializer is no input."""
CLASS_NAMES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
"""Attributes that hold class names, of ZipMap and of the classifiers of `ai.onnx.ml`."""


def read(path: Path) -> onnx.ModelProto:
    """Reads a model with the weights in files beside it, its own functions inlined.

    Raises:
        Corrupt: no ONNX model, or its files are not what it says.
        Unsupported: 2 GiB or more together, or an IR that is newer than this build.
    """
    model = graph.load(path)
    if model.ir_version > onnx.IR_VERSION:
        raise Unsupported(
            f"{path.name}: is of IR {model.ir_version}, {onnx.IR_VERSION} is the newest that is "
            "read; write it with an older onnx"
        )
    _gather(model, path)
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except (RuntimeError, ValueError) as e:
            raise Corrupt(f"{path.name}: its functions cannot be inlined: {e}") from e
    return model


def clean(model: onnx.ModelProto, name: str) -> tuple[str, ...]:
    """Makes a model that every server takes, in place, without a change of opset.

    Returns:
        The class names that a ZipMap at the end had; empty without one.

    Raises:
        Unsupported: operators of a domain that no device has.
    """
    _check_domains(model, name)
    constants = {t.name for t in model.graph.initializer}
    kept = [i for i in model.graph.input if i.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    least = onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    model.ir_version = max(model.ir_version, LEAST_IR, least)
    return cut_zipmap(model)


def raised(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model in `RAISED_OPSET`.

    Raises:
        Unsupported: onnx's version converter cannot.
    """
    try:
        made = onnx.version_converter.convert_version(model, RAISED_OPSET)
    except Exception as e:  # the converter's C++ errors come as several kinds
        raise Unsupported(
            f"{name}: opset {graph.opsets(model).get('ai.onnx')} cannot be raised to "
            f"{RAISED_OPSET}: {type(e).__name__}"
        ) from e
    made.ir_version = model.ir_version
    return made


def cut_zipmap(model: onnx.ModelProto) -> tuple[str, ...]:
    """Ends the graph at the tensor that a ZipMap makes a list of dictionaries of.

    The output keeps its name. Its first dimension is the rows, its second the classes.
    """
    outputs = {o.name: o for o in model.graph.output}
    names: tuple[str, ...] = ()
    for node in list(model.graph.node):
        if node.op_type != "ZipMap" or node.output[0] not in outputs:
            continue
        names = class_names(node)
        _make_tensor(outputs[node.output[0]], len(names), model.graph, node.input[0])
        model.graph.node.remove(node)
        model.graph.node.append(onnx.helper.make_node("Identity", [node.input[0]], node.output))
    return names


def class_names(node: onnx.NodeProto) -> tuple[str, ...]:
    """The class names in a node's attributes, in their order."""
    for attribute in node.attribute:
        if attribute.name in CLASS_NAMES and (attribute.strings or attribute.ints):
            texts = [s.decode("utf-8", "replace") for s in attribute.strings]
            return tuple(texts or [str(i) for i in attribute.ints])
    return ()


def free_batch(model: onnx.ModelProto, rows: int) -> onnx.ModelProto:
    """The model with its fixed number of rows made free; the proof says whether it then is right.

    A constant shape that begins with that number, as exporters write it for Reshape, is freed too.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.value_info[:]
    for value in (*made.graph.input, *made.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == rows:
            dims[0].Clear()
            dims[0].dim_param = "rows"
    shapes = {n.input[1] for n in made.graph.node if n.op_type == "Reshape" and len(n.input) > 1}
    for tensor in made.graph.initializer:
        if tensor.name in shapes:
            _free_shape(tensor, rows)
    for node in made.graph.node:
        if node.op_type == "Constant" and node.output[0] in shapes:
            for attribute in node.attribute:
                if attribute.name == "value":
                    _free_shape(attribute.t, rows)
    return made


def _free_shape(tensor: onnx.TensorProto, rows: int) -> None:
    values = onnx.numpy_helper.to_array(tensor).copy()
    if values.ndim == 1 and len(values) and values[0] == rows and -1 not in values:
        values[0] = -1
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _make_tensor(
    output: onnx.ValueInfoProto, classes: int, within: onnx.GraphProto, name: str
) -> None:
    known = {v.name: v.type.tensor_type.elem_type for v in within.value_info}
    kind = known.get(name) or onnx.TensorProto.FLOAT
    made = onnx.helper.make_tensor_value_info(output.name, kind, ["rows", classes or None])
    output.CopyFrom(made)


def _check_domains(model: onnx.ModelProto, name: str) -> None:
    strange = [o for o in graph.operators(model) if o.rpartition(".")[0] not in DOMAINS]
    if strange:
        domains = sorted({o.rpartition(".")[0] for o in strange})
        raise Unsupported(
            f"{name}: uses operators of the domain {', '.join(domains[:4])} "
            f"({', '.join(_shorts(strange)[:6])}), which no device has; export it with operators "
            "of ai.onnx and ai.onnx.ml alone"
        )


def _shorts(operators: Sequence[str]) -> list[str]:
    return [o.rpartition(".")[2] for o in operators]


def _gather(model: onnx.ModelProto, path: Path) -> None:
    outside = [t for t in graph.tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    if not outside:
        return
    files = {e.value for t in outside for e in t.external_data if e.key == "location"}
    try:
        sizes = [(path.parent / f).stat().st_size for f in files]
    except (OSError, ValueError) as e:
        raise Corrupt(f"{path.name}: a file with its weights is missing beside it") from e
    if sum(sizes) + path.stat().st_size > graph.MAX_MODEL_BYTES:
        raise Unsupported(f"{path.name}: with its weights 2 GiB or more, which is not served")
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as e:
        raise Corrupt(f"{path.name}: its weights cannot be read: {type(e).__name__}") from e
    for tensor in outside:
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
