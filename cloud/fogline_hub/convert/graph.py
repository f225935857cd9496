"""Passes over ONNX models that converters and the optimiser share.

A finished model has its initializers in `raw_data` (lists of floats ruin deltas between versions),
public names chosen by Fogline, no text of its maker, and one byte string for one model.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from fogline.errors import Corrupt, InvalidInput
from fogline.runtime.graph import FATAL_WITHOUT_ELEMENTS

_PACKED = tuple(
    getattr(onnx.TensorProto, n)
    for n in (
        *("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "BOOL"),
        *("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"),
    )
)
MAX_MODEL_BYTES = 2**31 - 1
"""protobuf's own limit on one message."""


def load(path: Path) -> onnx.ModelProto:
    """Parses a model file, without external data.

    Raises:
        Corrupt: it is no ONNX model.
        InvalidInput: it is 2 GiB or longer.
    """
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise InvalidInput(f"{path.name}: ONNX files of 2 GiB and more are not read")
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError as e:
        raise Corrupt(f"{path.name}: not an ONNX model: {e}") from e
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise Corrupt(f"{path.name}: not an ONNX model: it has no nodes, outputs or opset")
    return model


def finish(model: onnx.ModelProto, name: str) -> bytes:
    """The model's one byte string, cleaned of all that does not change what it computes."""
    model.producer_name = "fogline"
    model.producer_version = model.doc_string = model.domain = ""
    model.graph.name = name
    model.graph.doc_string = ""
    del model.metadata_props[:]
    for part in _graphs(model.graph):
        del part.metadata_props[:]
        for value in (*part.input, *part.output, *part.value_info):
            value.doc_string = ""
            del value.metadata_props[:]
        for node in part.node:
            node.doc_string = node.name = ""
            del node.metadata_props[:]
    for tensor in tensors(model):
        _pack(tensor)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def rename_outputs(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Gives graph outputs other names, wherever they are made or used.

    Raises:
        InvalidInput: a new name already means something else in the graph.
    """
    used = {n for node in model.graph.node for n in (*node.input, *node.output)}
    used |= {i.name for i in model.graph.initializer} | {i.name for i in model.graph.input}
    changed = {old: new for old, new in names.items() if old != new}
    if clash := sorted(used & set(changed.values())):
        raise InvalidInput(f"the graph already uses the name {clash[0]!r}")
    for node in model.graph.node:
        node.input[:] = [changed.get(n, n) for n in node.input]
        node.output[:] = [changed.get(n, n) for n in node.output]
    for output in model.graph.output:
        output.name = changed.get(output.name, output.name)


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator stands in the graph and its subgraphs, `domain.Name` -> count."""
    counts: dict[str, int] = {}
    for node in _nodes(model.graph):
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def takes_no_rows(model: onnx.ModelProto) -> bool:
    """False where onnxruntime ends the whole process when it is asked no rows."""
    return not operators(model).keys() & FATAL_WITHOUT_ELEMENTS


def opsets(model: onnx.ModelProto) -> dict[str, int]:
    return {o.domain or "ai.onnx": o.version for o in model.opset_import}


def tensors(model: onnx.ModelProto) -> Iterable[onnx.TensorProto]:
    """All constants: initializers and attributes, also of subgraphs."""
    for part in _graphs(model.graph):
        yield from part.initializer
        for node in part.node:
            for attribute in node.attribute:
                yield from [attribute.t] if attribute.HasField("t") else attribute.tensors


def _nodes(graph: onnx.GraphProto) -> Iterable[onnx.NodeProto]:
    for part in _graphs(graph):
        yield from part.node


def _graphs(graph: onnx.GraphProto) -> Iterable[onnx.GraphProto]:
    todo = [graph]
    while todo:
        part = todo.pop()
        yield part
        for node in part.node:
            for attribute in node.attribute:
                todo.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)


def _pack(tensor: onnx.TensorProto) -> None:
    """Numbers as `raw_data`; text, and types of less than a byte, as they are."""
    tensor.doc_string = ""
    del tensor.metadata_props[:]
    if not tensor.raw_data and tensor.data_type in _PACKED:
        array = np.asarray(numpy_helper.to_array(tensor))
        packed = numpy_helper.from_array(array, tensor.name)
        if packed.data_type == tensor.data_type:
            tensor.CopyFrom(packed)
