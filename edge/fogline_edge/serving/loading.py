"""A model file or a bundle on disk -> a version that can serve.

What an operator gives is a stranger's file: it is proved in a limited child before this process
loads it. What an agent installed was proved when it came.
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fogline.bundle import MANIFEST_NAME, find_variant, read_bundle
from fogline.errors import (
    Corrupt,
    Exhausted,
    FoglineError,
    InvalidInput,
    NotFound,
    Unsupported,
    Untrusted,
)
from fogline.ids import check_name
from fogline.runtime import ModelPlan, Session, Watchdog
from fogline.runtime.fit import schema_misfit
from fogline.runtime.prove import prove, prove_variant
from fogline.runtime.qualification import Budgets, ProofRequest, Qualification, Reason
from fogline.schema import Schema
from fogline_edge.serving.models import ServedModel

MAX_MODEL_BYTES = 2**31 - 1
"""Protobuf's own limit on one message, and so on an ONNX file."""
MAX_BESIDE = 64
"""Most files beside a bare model file that it may keep constants in."""

_FAULTS: Mapping[Reason, type[FoglineError]] = MappingProxyType(
    {
        "malformed": InvalidInput,
        "unsupported_operator": Unsupported,
        "too_large": Exhausted,
        "unbounded": Unsupported,
        "digest": Untrusted,
        "schema_mismatch": Corrupt,
        "golden_mismatch": InvalidInput,
        "too_slow": Exhausted,
        "too_much_memory": Exhausted,
        "crashed": InvalidInput,
        "hung": Exhausted,
    }
)
"""What a rejected proof is to who gave the model."""


def load(
    path: Path,
    *,
    name: str,
    version: int,
    variant: str,
    plan: ModelPlan,
    watchdog: Watchdog,
    budgets: Budgets | None = None,
) -> ServedModel:
    """Proves and loads an ONNX file, or a variant of the bundle in a folder.

    Args:
        path: The file or folder.
        name: What clients call the model; a bundle's own name if empty.
        version: Its number.
        variant: Which one of a bundle; the preferred one if empty.
        plan: How to run it.
        watchdog: Ends late runs.
        budgets: What proving it may take.

    Raises:
        NotFound: no such file, folder or variant.
        InvalidInput: it is neither; the name is not legal; the model cannot be loaded.
        Unsupported: the model needs something that is not served.
        Corrupt: the bundle is not what its manifest says.
        Exhausted: it takes more than the budgets allow.
        Unavailable: this machine cannot prove it now.
    """
    if path.is_dir():
        return _load_bundle(path, name, version, variant, plan, watchdog, budgets)
    _check_file(path)
    if not name:
        raise InvalidInput(f"{path}: a model file needs a name; give one with --name")
    if variant:
        raise InvalidInput(f"{path}: a model file has no variants; they are parts of a bundle")
    label = f"model {check_name(name, 'model name')}@{version}"
    model = path.absolute()
    request = ProofRequest(
        model=str(model),
        external_data=_files_beside(model),
        plan=plan,
        budgets=budgets or Budgets(),
    )
    _accept(prove(request), f"{label}, {path}")
    session = Session.open(model, plan, label=label, watchdog=watchdog)
    schema = Schema(inputs=session.inputs, outputs=session.outputs)
    return ServedModel(name=name, version=version, schema=schema, runner=session, plan=plan)


def check_schema(schema: Schema, session: Session, label: str) -> None:
    """Raises `Corrupt` where the model is not what a manifest's schema says."""
    misfit = schema_misfit(schema, session.inputs, session.outputs)
    if misfit:
        raise Corrupt(f"{label}: {misfit}")


def _load_bundle(
    folder: Path,
    name: str,
    version: int,
    variant: str,
    plan: ModelPlan,
    watchdog: Watchdog,
    budgets: Budgets | None,
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
    found = prove_variant(bundle, chosen.name, plan=plan, budgets=budgets)
    _accept(found, f"{label}, variant {chosen.name}")
    session = Session.open(bundle.path(chosen.file), plan, label=label, watchdog=watchdog)
    check_schema(manifest.schema, session, label)
    return ServedModel(
        name=name,
        version=version,
        schema=manifest.schema,
        runner=session,
        plan=plan,
        variant=chosen.name,
        digest=bundle.digest,
    )


def _check_file(path: Path) -> None:
    if not path.exists():
        raise NotFound(f"{path}: no such file")
    if not path.is_file():
        raise InvalidInput(f"{path}: not a regular file")
    size = path.stat().st_size
    if size > MAX_MODEL_BYTES:
        raise InvalidInput(f"{path}: {size} bytes, a model file has at most {MAX_MODEL_BYTES}")


def _files_beside(model: Path) -> tuple[str, ...]:
    """Names of the regular files with one link in the model's folder, likely ones first."""
    names = []
    for file in model.parent.iterdir():
        status = file.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and file.name != model.name:
            names.append(file.name)
    names.sort(key=lambda name: (not name.startswith(model.stem), name))
    return tuple(names[:MAX_BESIDE])


def _accept(found: Qualification, what: str) -> None:
    if found.reason:
        raise _FAULTS[found.reason](f"{what}: {found.reason.replace('_', ' ')}: {found.detail}")
