"""A model file or a bundle on disk -> a version that can serve.

What an operator gives is a stranger's file: it is proved in a limited child before this process
loads it. What an agent installed was proved when it came.
"""

import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fogline.bundle import MANIFEST_NAME, Bundle, find_variant, read_bundle
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
from fogline.records import canonical_json
from fogline.runtime import ModelPlan, Watchdog
from fogline.runtime.fit import schema_misfit
from fogline.runtime.prove import prove, prove_variant
from fogline.runtime.qualification import Budgets, ProofRequest, Qualification, Reason
from fogline.runtime.spare import Spare
from fogline.schema import Schema
from fogline_edge.serving.model_source import ModelSource, Proved
from fogline_edge.serving.models import ServedModel
from fogline_edge.serving.plans import Kept, PlanStore, file_sha256, proof_key

if TYPE_CHECKING:
    from fogline.runtime.session import Session

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How model files are proved and opened in one process."""

    watchdog: Watchdog
    """Ends late runs."""
    plan: ModelPlan = field(default_factory=ModelPlan)
    """What a user decided, threads above all; what he did not is chosen by measuring."""
    budgets: Budgets = field(default_factory=Budgets)
    """What proving one model may take."""
    choose: bool = True
    """Whether other arenas and prepackings than the plan's are tried."""
    spare: Spare | None = None
    """A child that was started in advance, for the first model."""
    plans: PlanStore | None = None
    """What earlier proofs found; None: every model is proved."""


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
    """Proves and loads an ONNX file, or a variant of the bundle in a folder; as `source_of`.

    Raises:
        InvalidInput: also where the model cannot be loaded.
        Unsupported: the model needs something that is not served.
        Corrupt: the bundle is not what its manifest says.
        Exhausted: it takes more than the budgets allow.
        Unavailable: this machine cannot prove it now.
    """
    loading = Loading(watchdog=watchdog, plan=plan, budgets=budgets or Budgets())
    return source_of(path, loading, name=name, version=version, variant=variant).open()


def source_of(
    path: Path,
    loading: Loading,
    *,
    name: str = "",
    version: int = 1,
    variant: str = "",
    schema: Schema | None = None,
) -> ModelSource:
    """An ONNX file, or a variant of the bundle in a folder, to be proved and opened later.

    Args:
        path: The file or folder.
        loading: How.
        name: What clients call the model; a bundle's own name if empty.
        version: Its number.
        variant: Which one of a bundle; the preferred one if empty.
        schema: Bounds of a file's inputs, where its graph needs them; a bundle has its own.

    Raises:
        NotFound: no such file, folder or variant.
        InvalidInput: it is neither; the name is not legal.
        Corrupt, Untrusted: the bundle is not what its manifest says.
    """
    try:
        if path.is_dir():
            return _bundle_source(path, loading, name, version, variant)
        _check_file(path)
        beside = _files_beside(path.absolute())
    except OSError as e:
        raise InvalidInput(f"{e.filename or path}: cannot be read: {e.strerror}") from e
    if not name:
        raise InvalidInput(f"{path}: a model file needs a name; give one with --name")
    if variant:
        raise InvalidInput(f"{path}: a model file has no variants; they are parts of a bundle")
    check_name(name, "model name")
    return _file_source(path, beside, loading, name, version, schema)


def _file_source(
    path: Path,
    beside: Sequence[str],
    loading: Loading,
    name: str,
    version: int,
    schema: Schema | None,
) -> ModelSource:
    label = f"model {name}@{version}"
    model = path.absolute()

    def prove_it(sha256: str) -> Proved:
        request = ProofRequest(
            model=str(model),
            model_sha256=sha256,
            external_data=tuple(beside),
            schema=schema,
            plan=loading.plan,
            choose=loading.choose,
            budgets=loading.budgets,
        )
        found = prove(request, spare=loading.spare)
        return Proved(
            plan=_plan_of(found, loading.plan, f"{label}, {path}"),
            external_data=tuple(model.parent / name for name in found.external_data),
        )

    def open_it(plan: ModelPlan) -> ServedModel:
        session = _open(model, plan, label, loading.watchdog, schema)
        served = schema or Schema(inputs=session.inputs, outputs=session.outputs)
        return ServedModel(name=name, version=version, schema=served, runner=session, plan=plan)

    return ModelSource(
        name,
        version,
        files=(model,),
        beside=(model.parent / name for name in beside),
        prove=partial(_find_or_prove, loading, model, schema, prove_it),
        open_=open_it,
    )


def variant_source(
    bundle: Bundle,
    loading: Loading,
    *,
    name: str,
    version: int,
    variant: str = "",
    generation: int = 0,
    plan: ModelPlan | None = None,
) -> ModelSource:
    """A variant of a bundle that was read; `plan` as its qualification found it, if it was proved.

    Raises:
        NotFound: no such variant, or a file is missing.
    """
    chosen = find_variant(bundle.manifest, variant)
    label = f"model {check_name(name, 'model name')}@{version}"
    model, *external_data = (bundle.path(f) for f in (chosen.file, *chosen.external_data))
    proved_sha256 = next(f.sha256 for f in bundle.manifest.files if f.path == chosen.file)

    def prove_it(sha256: str) -> Proved:
        if sha256 not in ("", proved_sha256):
            raise Untrusted(f"{label}: {chosen.file} changed since the bundle was read")
        found = prove_variant(
            bundle,
            chosen.name,
            plan=loading.plan,
            choose=loading.choose,
            budgets=loading.budgets,
            spare=loading.spare,
        )
        return Proved(
            plan=_plan_of(found, loading.plan, f"{label}, variant {chosen.name}"),
            external_data=tuple(external_data),
        )

    def open_it(plan: ModelPlan) -> ServedModel:
        session = _open(model, plan, label, loading.watchdog, bundle.manifest.schema)
        return ServedModel(
            name=name,
            version=version,
            schema=bundle.manifest.schema,
            runner=session,
            plan=plan,
            variant=chosen.name,
            digest=bundle.digest,
            generation=generation,
        )

    return ModelSource(
        name,
        version,
        files=(model, *external_data),
        prove=partial(_find_or_prove, loading, model, (bundle.digest, chosen.name), prove_it),
        open_=open_it,
        plan=plan,
    )


def _find_or_prove(
    loading: Loading, model: Path, asked: object, prove: Callable[[str], Proved]
) -> Proved:
    """What was kept of these files' proof; else what `prove` finds, to be kept.

    Args:
        loading: How models are proved, and where what was found is kept.
        model: The model file.
        asked: What decides the proof beside it and `loading`.
        prove: Proves the model if it has the digest that it is given.
    """
    plans = loading.plans
    if plans is None:
        return prove("")
    sha256 = file_sha256(model)
    key = proof_key(sha256, canonical_json((loading.plan, loading.choose, loading.budgets, asked)))
    kept = plans.find(key)
    if kept is not None:
        found = {model.parent / place: digest for place, digest in kept.external_data.items()}
        with suppress(NotFound):
            if all(file_sha256(path) == digest for path, digest in found.items()):
                return Proved(plan=kept.plan, external_data=tuple(found))
    proved = prove(sha256)
    external_data = {
        str(path.relative_to(model.parent)): file_sha256(path) for path in proved.external_data
    }
    kept = Kept(plan=proved.plan, external_data=external_data)
    return replace(proved, keep=partial(plans.keep, key, kept))


def _open(
    model: Path, plan: ModelPlan, label: str, watchdog: Watchdog, schema: Schema | None
) -> "Session":
    """A session, held against the schema that it is served by."""
    # Late: onnxruntime takes 20 MB, which an agent without a model does without.
    from fogline.runtime.session import Session

    session = Session.open(model, plan, label=label, watchdog=watchdog)
    misfit = "" if schema is None else schema_misfit(schema, session.inputs, session.outputs)
    if misfit:
        session.close()
        raise Corrupt(f"{label}: {misfit}")
    return session


def _bundle_source(
    folder: Path, loading: Loading, name: str, version: int, variant: str
) -> ModelSource:
    if not (folder / MANIFEST_NAME).is_file():
        raise InvalidInput(
            f"{folder}: a folder without {MANIFEST_NAME}; give a .onnx file, a bundle's folder, or "
            "a folder of models as NAME/1/model.onnx"
        )
    bundle = read_bundle(folder)
    name = name or bundle.manifest.name
    return variant_source(bundle, loading, name=name, version=version, variant=variant)


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
        with suppress(FileNotFoundError):  # it went meanwhile
            status = file.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and file.name != model.name:
                names.append(file.name)
    names.sort(key=lambda name: (not name.startswith(model.stem), name))
    return tuple(names[:MAX_BESIDE])


def _plan_of(found: Qualification, wanted: ModelPlan, what: str) -> ModelPlan:
    """The plan that a proof found; raises what a rejection is to who gave the model."""
    if found.reason:
        raise _FAULTS[found.reason](f"{what}: {found.reason.replace('_', ' ')}: {found.detail}")
    return found.plan or wanted
