"""A model file or a bundle on disk -> a version that can serve."""

from pathlib import Path

from fogline.bundle import MANIFEST_NAME, find_variant, read_bundle
from fogline.errors import Corrupt, InvalidInput, NotFound
from fogline.ids import check_name
from fogline.runtime import ModelPlan, Session, Watchdog
from fogline.schema import Field, Schema
from fogline_edge.serving.models import ServedModel

MAX_MODEL_BYTES = 2**31 - 1
"""Protobuf's own limit on one message, and so on an ONNX file."""


def load(
    path: Path,
    *,
    name: str,
    version: int,
    variant: str,
    plan: ModelPlan,
    watchdog: Watchdog,
) -> ServedModel:
    """Loads an ONNX file, or a variant of the bundle in a folder.

    Args:
        path: The file or folder.
        name: What clients call the model; a bundle's own name if empty.
        version: Its number.
        variant: Which one of a bundle; the preferred one if empty.
        plan: How to run it.
        watchdog: Ends late runs.

    Raises:
        NotFound: no such file, folder or variant.
        InvalidInput: it is neither; the name is not legal; the model cannot be loaded.
        Unsupported: the model needs something that is not served.
        Corrupt: the bundle is not what its manifest says.
    """
    if path.is_dir():
        return _load_bundle(path, name, version, variant, plan, watchdog)
    if not path.exists():
        raise NotFound(f"{path}: no such file")
    if not path.is_file():
        raise InvalidInput(f"{path}: not a regular file")
    if not name:
        raise InvalidInput(f"{path}: a model file needs a name; give one with --name")
    if variant:
        raise InvalidInput(f"{path}: a model file has no variants; they are parts of a bundle")
    check_name(name, "model name")
    session = _open(path, f"model {name}@{version}", plan, watchdog)
    schema = Schema(inputs=session.inputs, outputs=session.outputs)
    return ServedModel(name=name, version=version, schema=schema, session=session)


def _load_bundle(
    folder: Path, name: str, version: int, variant: str, plan: ModelPlan, watchdog: Watchdog
) -> ServedModel:
    if not (folder / MANIFEST_NAME).is_file():
        raise InvalidInput(
            f"{folder}: a folder without {MANIFEST_NAME}; give a .onnx file or a bundle's folder"
        )
    bundle = read_bundle(folder)
    manifest = bundle.manifest
    name = check_name(name or manifest.name, "model name")
    chosen = find_variant(manifest, variant)
    label = f"model {name}@{version}"
    session = _open(bundle.path(chosen.file), label, plan, watchdog)
    check_schema(manifest.schema, session, label)
    return ServedModel(
        name=name,
        version=version,
        schema=manifest.schema,
        session=session,
        variant=chosen.name,
        digest=bundle.digest,
    )


def _open(path: Path, label: str, plan: ModelPlan, watchdog: Watchdog) -> Session:
    size = path.stat().st_size
    if size > MAX_MODEL_BYTES:
        raise InvalidInput(f"{path}: {size} bytes, a model file has at most {MAX_MODEL_BYTES}")
    return Session.open(path, plan, label=label, watchdog=watchdog)


def check_schema(schema: Schema, session: Session, label: str) -> None:
    """Holds a manifest's schema against what the model's graph declares.

    Raises:
        Corrupt: an input or output is missing, unknown, of another datatype or another shape. A
            schema may fix a dimension that the graph leaves free.
    """
    for kind, promised, there in (
        ("input", schema.inputs, session.inputs),
        ("output", schema.outputs, session.outputs),
    ):
        graph = {f.name: f for f in there}
        if graph.keys() != {f.name for f in promised}:
            raise Corrupt(f"{label}: the manifest's {kind}s are not those of the model file")
        for field in promised:
            if not _is_within(field, graph[field.name]):
                raise Corrupt(
                    f"{label}, {kind} {field.name!r}: the manifest says {field.datatype} "
                    f"{list(field.shape)}, the model file has {graph[field.name].datatype} "
                    f"{list(graph[field.name].shape)}"
                )


def _is_within(field: Field, graph: Field) -> bool:
    return (
        field.datatype == graph.datatype
        and len(field.shape) == len(graph.shape)
        and all(g in (-1, f) for f, g in zip(field.shape, graph.shape, strict=True))
    )
