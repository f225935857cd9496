"""A model file or a bundle on disk -> a version that can serve.

What an operator gives is a stranger's file: it is proved in a limited child before this process
loads it. What an agent installed was proved when it came.
"""

import stat
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fogline.bundle import MANIFEST_NAME, Bundle, find_variant, read_bundle
from fogline.errors import (
    Conflict,
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
from fogline_edge.serving.models import ServedModel
from fogline_edge.serving.plans import PlanStore, proof_key
from fogline_edge.serving.residency.room import Need

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

    def kept(
        self,
        prove: Callable[[], ModelPlan],
        files: Sequence[Path],
        asked: object,
        beside: Sequence[Path] = (),
    ) -> Callable[[], ModelPlan]:
        """`prove`, but for a model that was proved before; `asked` is what else decides it."""
        if self.plans is None:
            return prove
        said = canonical_json((self.plan, self.choose, self.budgets, asked))
        return partial(_find_or_prove, self.plans, prove, files, beside, said)


class ModelSource:
    """A `residency.Source` of an ONNX file: proved once, opened whenever it is wanted.

    A file that changed since it was proved is not opened.
    """

    def __init__(
        self,
        name: str,
        version: int,
        *,
        files: Sequence[Path],
        prove: Callable[[], ModelPlan],
        open_: Callable[[ModelPlan], ServedModel],
        plan: ModelPlan | None = None,
    ) -> None:
        """Makes a source; nothing is read but what the files' states are.

        Args:
            name: What clients call the model.
            version: Its number.
            files: What it is made of.
            prove: Finds the plan, or raises why there is none.
            open_: Opens it by that plan.
            plan: The plan, where it was found before; then nothing is proved.

        Raises:
            NotFound: a file is not there.
        """
        self.name = name
        self.version = version
        self.stamp = _stamp(files)
        self.plan = plan
        self._files = tuple(files)
        self._prove = prove
        self._open = open_

    @property
    def need(self) -> Need | None:
        return None if self.plan is None else need_of(self.plan)

    def prove(self) -> None:
        """Raises as `load`."""
        if self.plan is None:
            self._check_unchanged()
            self.plan = self._prove()

    def open(self) -> ServedModel:
        """Raises as `load`, and `Conflict` where the files are not those that were proved."""
        self.prove()
        self._check_unchanged()
        return self._open(self.plan or ModelPlan())

    def _check_unchanged(self) -> None:
        if _stamp(self._files) != self.stamp:
            raise Conflict(
                f"model {self.name}@{self.version}: {self._files[0].name} or a file beside it "
                "changed on the disk since it was looked at; load the model again"
            )


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
    if path.is_dir():
        return _bundle_source(path, loading, name, version, variant)
    _check_file(path)
    if not name:
        raise InvalidInput(f"{path}: a model file needs a name; give one with --name")
    if variant:
        raise InvalidInput(f"{path}: a model file has no variants; they are parts of a bundle")
    label = f"model {check_name(name, 'model name')}@{version}"
    model = path.absolute()
    beside = _files_beside(model)

    def prove_it() -> ModelPlan:
        request = ProofRequest(
            model=str(model),
            external_data=beside,
            schema=schema,
            plan=loading.plan,
            choose=loading.choose,
            budgets=loading.budgets,
        )
        return _plan_of(prove(request, spare=loading.spare), loading.plan, f"{label}, {path}")

    def open_it(plan: ModelPlan) -> ServedModel:
        session = _open(model, plan, label, loading.watchdog)
        schema = Schema(inputs=session.inputs, outputs=session.outputs)
        return ServedModel(name=name, version=version, schema=schema, runner=session, plan=plan)

    # Others beside it may be anything's, and change; constants of another name are only numbers.
    own = (model.parent / name for name in beside if name.startswith(model.stem))
    files = (model, *own)
    others = [model.parent / name for name in beside if not name.startswith(model.stem)]
    kept = loading.kept(prove_it, files, schema, others)
    return ModelSource(name, version, files=files, prove=kept, open_=open_it)


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

    def prove_it() -> ModelPlan:
        found = prove_variant(
            bundle,
            chosen.name,
            plan=loading.plan,
            choose=loading.choose,
            budgets=loading.budgets,
            spare=loading.spare,
        )
        return _plan_of(found, loading.plan, f"{label}, variant {chosen.name}")

    def open_it(plan: ModelPlan) -> ServedModel:
        path = bundle.path(chosen.file)
        session = _open(path, plan, label, loading.watchdog)
        try:
            check_schema(bundle.manifest.schema, session, label)
        except FoglineError:
            session.close()
            raise
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

    files = [bundle.path(f) for f in (chosen.file, *chosen.external_data)]
    kept = loading.kept(prove_it, files, (bundle.digest, chosen.name))
    return ModelSource(name, version, files=files, prove=kept, open_=open_it, plan=plan)


def _find_or_prove(
    plans: PlanStore,
    prove: Callable[[], ModelPlan],
    files: Sequence[Path],
    beside: Sequence[Path],
    asked: bytes,
) -> ModelPlan:
    try:
        key = proof_key(files, beside, asked)
    except OSError as e:
        raise NotFound(f"{e.filename}: {e.strerror}") from e
    plan = plans.find(key)
    if plan is None:
        plan = prove()
        plans.keep(key, plan)
    return plan


def need_of(plan: ModelPlan) -> Need:
    """What a plan's measured memory means for a budget on anonymous memory.

    The peak was measured with the file's pages in it, which a budget on anonymous memory does not
    count: they are taken off, as all of them are there when a session that maps them is warm.
    """
    memory = plan.memory
    if memory is None:
        return Need()
    peak = memory.load_peak_bytes - memory.file_bytes
    return Need(
        held_bytes=memory.anonymous_bytes,
        peak_bytes=max(peak, memory.anonymous_bytes),
        run_bytes=0 if plan.arena else memory.run_bytes,
    )


def _open(model: Path, plan: ModelPlan, label: str, watchdog: Watchdog) -> "Session":
    # Late: onnxruntime takes 20 MB, which an agent without a model does without.
    from fogline.runtime.session import Session

    return Session.open(model, plan, label=label, watchdog=watchdog)


def check_schema(schema: Schema, session: "Session", label: str) -> None:
    """Raises `Corrupt` where the model is not what a manifest's schema says."""
    misfit = schema_misfit(schema, session.inputs, session.outputs)
    if misfit:
        raise Corrupt(f"{label}: {misfit}")


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


def _stamp(files: Sequence[Path]) -> Hashable:
    """What is different when a file is: its place on the disk, its size, when it was written."""
    try:
        states = [(str(path), path.stat()) for path in files]
    except OSError as e:
        raise NotFound(f"{e.filename}: {e.strerror}") from e
    return tuple((path, s.st_ino, s.st_size, s.st_mtime_ns) for path, s in states)
