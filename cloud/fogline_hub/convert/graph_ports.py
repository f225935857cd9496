"""Inputs and outputs of an ONNX graph: their names, shapes, free dimensions and bounds."""

from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import TensorProto, helper

from fogline.errors import Unsupported
from fogline.schema import Field
from fogline_hub.convert.graph import rename_outputs

INPUT = "input"
"""The name of the one tensor of a model whose columns are all numbers."""
DATATYPES: Mapping[int, str] = {
    TensorProto.BOOL: "BOOL",
    TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.UINT8: "UINT8",
    TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64",
    TensorProto.FLOAT16: "FP16",
    TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64",
    TensorProto.STRING: "BYTES",
}
_ELEMENTS = {name: element for element, name in DATATYPES.items()}


def value_of(field: Field) -> onnx.ValueInfoProto:
    """A field of a schema as an input or output of a graph."""
    shape = [None if size == -1 else size for size in field.shape]
    return helper.make_tensor_value_info(field.name, _ELEMENTS[field.datatype], shape)


def fields_of(values: Iterable[onnx.ValueInfoProto], name: str) -> tuple[Field, ...]:
    """Inputs or outputs as fields of a schema.

    Raises:
        Unsupported: a sequence, map, optional or type that is not served, or an unknown rank.
    """
    made = []
    for value in values:
        kind = value.type.WhichOneof("value") or "nothing"
        if kind != "tensor_type":
            raise Unsupported(
                f"{name}: {value.name!r} is a {kind.removesuffix('_type')}, and tensors alone are "
                "served; end the model at the tensors that it is made of"
            )
        tensor = value.type.tensor_type
        datatype = DATATYPES.get(tensor.elem_type)
        if datatype is None:
            known = TensorProto.DataType.DESCRIPTOR.values_by_number.get(tensor.elem_type)
            shown = known.name if known else str(tensor.elem_type)
            raise Unsupported(f"{name}: {value.name!r} is a tensor of {shown}, which is not served")
        if not tensor.HasField("shape"):
            raise Unsupported(
                f"{name}: {value.name!r} says no shape; declare its rank, for example with "
                "onnx.shape_inference"
            )
        shape = tuple(-1 if _is_free(d) else d.dim_value for d in tensor.shape.dim)
        made.append(Field(name=value.name, datatype=datatype, shape=shape))
    return tuple(made)


def free_axes(
    model: onnx.ModelProto, names: Iterable[str]
) -> tuple[tuple[tuple[str, int], ...], ...]:
    """Axes beside the first of the inputs `names` that are free, those of one name together."""
    wanted = set(names)
    groups: dict[str, list[tuple[str, int]]] = {}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        batch = dims[0].dim_param if dims else ""
        for axis, dim in enumerate(dims):
            is_free = axis > 0 and _is_free(dim)
            if value.name in wanted and is_free and (batch in ("", "?") or dim.dim_param != batch):
                is_named = dim.dim_param not in ("", "?")
                key = dim.dim_param if is_named else f"{value.name}/{axis}"
                groups.setdefault(key, []).append((value.name, axis))
    return tuple(tuple(axes) for axes in groups.values())


def make_batch_free(model: onnx.ModelProto, name: str) -> None:
    """Checks that each input takes any number of rows.

    Raises:
        Unsupported: the first dimension is a number.
    """
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if not dims or not _is_free(dims[0]):
            fixed = dims[0].dim_value if dims else "missing"
            raise Unsupported(
                f"{name}: the rows of input {value.name!r} are {fixed}, not free: the model or its "
                "export fixes them; export it with a dynamic first dimension, and write no number "
                "of rows into its code"
            )


def fix_numbers(model: onnx.ModelProto) -> None:
    """Fixes dimensions that an exporter names by a number, as PyTorch's does."""
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param.isdecimal():
                dim.dim_value = int(dim.dim_param)


def _is_free(dim: onnx.TensorShapeProto.Dimension) -> bool:
    """Some exporters write -1 for a free dimension."""
    return not dim.HasField("dim_value") or dim.dim_value < 0


def same_names(model: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Names inputs and outputs as the original does, by their order.

    Raises:
        Unsupported: the graph has other inputs, or another number of outputs.
    """
    got = [i.name for i in model.graph.input]
    if sorted(got) != sorted(inputs):
        raise Unsupported(
            f"the model takes {', '.join(inputs)}, its export {', '.join(got) or 'nothing'}: an "
            "input that decides nothing was dropped; leave it out of the model"
        )
    if len(model.graph.output) != len(outputs):
        raise Unsupported(
            f"the model has {len(outputs)} outputs, its export {len(model.graph.output)}"
        )
    rename_outputs(model, {o.name: n for o, n in zip(model.graph.output, outputs, strict=True)})


def bounded_indices(model: onnx.ModelProto) -> Mapping[str, tuple[int, int]]:
    """Least and greatest value of inputs that do nothing but pick rows of a constant table.

    ONNX counts a negative index from the end, and frameworks refuse it: the schema does so too.
    """
    heights = {t.name: t.dims[0] for t in model.graph.initializer if len(t.dims) > 0}
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in model.graph.node:
        for place, used in enumerate(node.input):
            readers.setdefault(used, []).append((node, place))
    found: dict[str, tuple[int, int]] = {}
    for value in model.graph.input:
        if value.type.tensor_type.elem_type not in (TensorProto.INT32, TensorProto.INT64):
            continue
        least = [
            _table_height(n, p, heights, readers)
            for n, p in readers.get(value.name, ())
            if n.op_type not in ("Shape", "Size")
        ]
        if least and all(least):
            found[value.name] = (0, min(least) - 1)
    return found


def _table_height(
    node: onnx.NodeProto,
    place: int,
    heights: Mapping[str, int],
    readers: Mapping[str, list[tuple[onnx.NodeProto, int]]],
) -> int:
    """Rows of the table that a reader picks from; 0 where it does anything else."""
    if node.op_type in ("Cast", "Identity"):
        below = [_table_height(n, p, heights, readers) for n, p in readers.get(node.output[0], ())]
        return min(below) if below and all(below) else 0
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    if node.op_type == "Gather" and place == 1 and axis == 0:
        return heights.get(node.input[0], 0)
    return 0
