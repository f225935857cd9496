"""Looks at an ONNX file before it is loaded, and refuses what should never be.

Nothing is executed. What these bounds let through can still take all memory or run for ever when it
is loaded, so loading happens in a limited child (`fogline.runtime.prove`), and so should this:
protobuf's objects are many times larger than the bytes of a hostile file.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from google.protobuf.message import DecodeError
from msgspec import Meta

from fogline.errors import Corrupt, Exhausted, Unsupported
from fogline.records import Record
from fogline.runtime.flow import Need, find_needs
from fogline.wire.onnx_model_pb2 import Attribute, Graph, Model, SparseTensor, Tensor

_Bound = Annotated[int, Meta(ge=1)]

_EXTERNAL = 1
"""`TensorProto.DataLocation.EXTERNAL`."""
_LOCATION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*){0,7}")
_ELEMENT_BITS: Mapping[int, int] = {
    **dict.fromkeys((1, 6, 12), 32),  # FLOAT, INT32, UINT32
    **dict.fromkeys((2, 3, 9), 8),  # UINT8, INT8, BOOL
    **dict.fromkeys((4, 5, 10, 16), 16),  # UINT16, INT16, FLOAT16, BFLOAT16
    **dict.fromkeys((7, 11, 13, 14), 64),  # INT64, DOUBLE, UINT64, COMPLEX64
    15: 128,  # COMPLEX128
}
"""`TensorProto.DataType` -> bits of an element; all others count as 8."""


FATAL_WITHOUT_ELEMENTS = frozenset({"LSTM", "GRU"})
"""Operators with which onnxruntime 1.32 ends the whole process, and gives no error, when they are
given tensors without elements: they divide by the rows."""


class GraphBounds(Record, frozen=True, kw_only=True):
    """What a model file may hold."""

    file_bytes: _Bound = 2**31 - 1
    """Protobuf's own limit on one message."""
    nodes: _Bound = 100_000
    """Of the graph and all graphs inside it."""
    depth: _Bound = 8
    """Graphs inside graphs (`If`, `Loop`, `Scan`); the main graph is the first."""
    constants: _Bound = 100_000
    """Tensors in the file or beside it."""
    constant_bytes: _Bound = 4 * 2**30
    """What all of them say that they hold, by their dimensions; a sparse one counts as dense,
    because onnxruntime makes it so."""
    domains: Annotated[tuple[str, ...], Meta(max_length=16)] = (
        "",
        "ai.onnx",
        "ai.onnx.ml",
        "com.microsoft",
    )
    """Whose operators may be used."""
    visits: _Bound = 400_000
    """Looks at nodes while following where values flow, ten microseconds each; loops are gone
    through several times."""
    refused: Annotated[tuple[str, ...], Meta(max_length=64)] = ("EPContext",)
    """Operators of these domains that are refused all the same: this one loads a compiled binary
    from a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFacts:
    """What a file holds."""

    file_bytes: int
    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    nodes: int
    operators: Mapping[str, int]
    """Operator, with its domain unless that is ONNX's own -> how often it stands there."""
    constants: int
    constant_bytes: int
    external_data: tuple[str, ...]
    """Locations that tensors refer to, sorted."""
    needs: tuple[Need, ...] = ()
    """Inputs that may be served only within bounds (`fogline.runtime.bounds`), by name."""


@dataclass(slots=True)
class _Tally:
    """What was counted so far."""

    operators: Counter[str] = field(default_factory=Counter)
    constants: int = 0
    constant_bits: int = 0
    external: set[str] = field(default_factory=set)


def inspect_graph(
    path: Path, *, external_data: Mapping[str, int] | None = None, bounds: GraphBounds | None = None
) -> GraphFacts:
    """Reads the file at `path` without loading it.

    Args:
        path: The ONNX file.
        external_data: Files that its tensors may refer to: location relative to the file -> size in
            bytes.
        bounds: What it may hold.

    Raises:
        Corrupt: not an ONNX file, or a tensor's external data is not listed or ends beyond its
            file.
        Unsupported: an operator, an operator set or a function that is not served.
        Exhausted: more of something than the bounds allow.
        OSError: the file cannot be read.
    """
    limits = bounds or GraphBounds()
    size = path.stat().st_size
    if size > limits.file_bytes:
        raise Exhausted(f"{path.name}: {size} bytes, a model file has at most {limits.file_bytes}")
    if path.suffix == ".ort":  # onnxruntime would read it as another format than was looked at
        raise Unsupported(f"{path.name}: an .ort file; give the .onnx file that it was made from")
    try:
        model = Model.FromString(path.read_bytes())
    except DecodeError as e:
        raise Corrupt(f"{path.name}: not an ONNX file: {e}") from e
    if not model.HasField("graph") or not model.opset_import:
        raise Corrupt(f"{path.name}: not an ONNX file: no graph, or no operator set")
    _check_opsets(model)
    tally = _Tally()
    _count(model.graph, limits, external_data or {}, tally)
    return GraphFacts(
        file_bytes=size,
        ir_version=model.ir_version,
        producer=f"{model.producer_name} {model.producer_version}".strip()[:200],
        opsets={o.domain: o.version for o in model.opset_import},
        nodes=tally.operators.total(),
        operators=dict(sorted(tally.operators.items())),
        constants=tally.constants,
        constant_bytes=tally.constant_bits // 8,
        external_data=tuple(sorted(tally.external)),
        needs=find_needs(model.graph, limits.visits),
    )


def _check_opsets(model: Model) -> None:
    """An operator set that is imported and not used is harmless, and exporters write such."""
    if model.functions:
        one = model.functions[0]
        raise Unsupported(
            f"function {_name(one.domain, one.name)}: functions in a model file are not served; "
            "inline them with onnx.inliner.inline_local_functions"
        )
    for opset in model.opset_import:
        if opset.version < 1:
            raise Corrupt(f"operator set {opset.domain[:80]!r} has version {opset.version}")


def _count(graph: Graph, bounds: GraphBounds, files: Mapping[str, int], tally: _Tally) -> None:
    """Walks all graphs with a list of what is still to do, so that depth costs no stack."""
    todo = [(graph, 1)]
    while todo:
        one, depth = todo.pop()
        if depth > bounds.depth:
            raise Exhausted(f"graphs nest deeper than {bounds.depth}")
        if tally.operators.total() + len(one.node) > bounds.nodes:
            raise Exhausted(f"more than {bounds.nodes} nodes")
        for tensor in one.initializer:
            _count_tensor(tensor, bounds, files, tally)
        for sparse in one.sparse_initializer:
            _count_sparse(sparse, bounds, files, tally)
        for node in one.node:
            name = _name(node.domain, node.op_type)
            if node.domain not in bounds.domains or node.op_type in bounds.refused:
                served = ", ".join(d or "ai.onnx" for d in bounds.domains if d != "ai.onnx")
                raise Unsupported(f"operator {name} is not served; served are those of {served}")
            tally.operators[name] += 1
            for attribute in node.attribute:
                _count_attribute(attribute, bounds, files, tally)
                todo.extend((inner, depth + 1) for inner in _graphs(attribute))


def _graphs(attribute: Attribute) -> Iterator[Graph]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _count_attribute(
    attribute: Attribute, bounds: GraphBounds, files: Mapping[str, int], tally: _Tally
) -> None:
    if attribute.HasField("t"):
        _count_tensor(attribute.t, bounds, files, tally)
    for tensor in attribute.tensors:
        _count_tensor(tensor, bounds, files, tally)
    if attribute.HasField("sparse_tensor"):
        _count_sparse(attribute.sparse_tensor, bounds, files, tally)
    for sparse in attribute.sparse_tensors:
        _count_sparse(sparse, bounds, files, tally)


def _count_sparse(
    sparse: SparseTensor, bounds: GraphBounds, files: Mapping[str, int], tally: _Tally
) -> None:
    _count_tensor(sparse.values, bounds, files, tally)
    _count_tensor(sparse.indices, bounds, files, tally)
    _add(sparse.dims, sparse.values.data_type, bounds, tally)


def _count_tensor(
    tensor: Tensor, bounds: GraphBounds, files: Mapping[str, int], tally: _Tally
) -> None:
    bits = _add(tensor.dims, tensor.data_type, bounds, tally)
    if tensor.data_location == _EXTERNAL or tensor.external_data:
        tally.external.add(_check_external(tensor, (bits + 7) // 8, files))


def _add(dims: Iterable[int], data_type: int, bounds: GraphBounds, tally: _Tally) -> int:
    sizes = tuple(dims)
    if any(d < 0 for d in sizes):
        raise Corrupt(f"a constant has the dimensions {list(sizes)[:8]}")
    bits = math.prod(sizes) * _ELEMENT_BITS.get(data_type, 8)
    tally.constants += 1
    tally.constant_bits += bits
    if tally.constants > bounds.constants:
        raise Exhausted(f"more than {bounds.constants} constants")
    if tally.constant_bits > 8 * bounds.constant_bytes:
        raise Exhausted(f"constants of more than {bounds.constant_bytes} bytes")
    return bits


def _check_external(tensor: Tensor, size: int, files: Mapping[str, int]) -> str:
    """The location, if it is a listed file and the tensor lies within it.

    The pattern also refuses onnxruntime's own mark for data at an address in memory.
    """
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    if not _LOCATION.fullmatch(location) or location not in files:
        raise Corrupt(
            f"a constant's external data lies in {location[:200]!r}, which is not listed; "
            "external data must be files beside or below the model that are named with it"
        )
    offset = _number(entries.get("offset", "0"))
    length = _number(entries.get("length", str(size)))
    if offset is None or length is None or offset + length > files[location]:
        raise Corrupt(f"a constant's external data lies beyond the end of {location}")
    return location


def _number(text: str) -> int | None:
    with suppress(ValueError):
        if text.isascii() and text.isdigit() and len(text) < 20:
            return int(text)
    return None


def _name(domain: str, operator: str) -> str:
    text = operator if domain in ("", "ai.onnx") else f"{domain}.{operator}"
    return "".join(c if c.isprintable() else "?" for c in text[:120])
