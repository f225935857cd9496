"""What an ONNX file holds, read in a limited child: `python -m fogline_hub.convert.inspection`."""

import sys
import tempfile
from pathlib import Path

import onnx

from fogline.errors import NotFound
from fogline.records import Record
from fogline.sandbox import Limits
from fogline_hub.convert import graph
from fogline_hub.convert.job import run_job, serve_job

LIMITS = Limits(memory_bytes=4 * 2**30, timeout_s=60.0, cpu_s=60, network=False)
MAX_LISTED = 1000
"""Tensors listed of each side."""


class InspectionJob(Record, frozen=True, kw_only=True):
    """Which files to read; absolute paths."""

    paths: tuple[str, ...]


class Tensor(Record, frozen=True, kw_only=True):
    """One input or output of a graph, as the file says it."""

    name: str
    type: str
    shape: tuple[str, ...]
    """Numbers, names of free dimensions, or `?`."""


class ModelFacts(Record, frozen=True, kw_only=True):
    """One ONNX file."""

    size_bytes: int
    ir_version: int
    opsets: dict[str, int]
    operators: dict[str, int]
    initializers: int
    parameters: int
    """Elements of all initializers."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Inspection(Record, frozen=True, kw_only=True):
    """One for each file, in order."""

    models: tuple[ModelFacts, ...]


def inspect_models(paths: tuple[Path, ...]) -> tuple[ModelFacts, ...]:
    """Reads ONNX files without loading them.

    Raises:
        NotFound: a file is not there.
        Corrupt: it is no ONNX model.
        Exhausted: reading it takes more than the limits.
    """
    for path in paths:
        if not path.is_file():
            raise NotFound(f"{path}: no such file")
    job = InspectionJob(paths=tuple(str(p.resolve()) for p in paths))
    with tempfile.TemporaryDirectory(prefix="fogline-inspect-") as scratch:
        found, _ = run_job(
            "fogline_hub.convert.inspection",
            job,
            Inspection,
            folder=Path(scratch),
            limits=LIMITS,
            what=", ".join(str(p) for p in paths),
        )
    return found.models


def _inspect(job: InspectionJob, _: Path) -> Inspection:
    return Inspection(models=tuple(_facts(Path(p)) for p in job.paths))


def _facts(path: Path) -> ModelFacts:
    model = graph.load(path)
    constants = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    return ModelFacts(
        size_bytes=path.stat().st_size,
        ir_version=model.ir_version,
        opsets=graph.opsets(model),
        operators=graph.operators(model),
        initializers=len(constants),
        parameters=sum(_elements(t) for t in model.graph.initializer),
        inputs=tuple(map(_tensor, inputs[:MAX_LISTED])),
        outputs=tuple(map(_tensor, model.graph.output[:MAX_LISTED])),
    )


def _elements(tensor: onnx.TensorProto) -> int:
    count = 1
    for dimension in tensor.dims:
        count *= max(0, dimension)
    return min(count, 2**53)


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return Tensor(name=value.name, type=kind or "?", shape=())
    tensor = value.type.tensor_type
    known = onnx.TensorProto.DataType.DESCRIPTOR.values_by_number
    number = known.get(tensor.elem_type)
    return Tensor(
        name=value.name,
        type=number.name.lower() if number else f"type {tensor.elem_type}",
        shape=tuple(
            str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?"
            for d in tensor.shape.dim
        ),
    )


if __name__ == "__main__":
    sys.exit(serve_job(InspectionJob, _inspect))
