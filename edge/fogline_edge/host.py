"""Between the installer and serving: a version on the disk becomes one that answers, and back."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fogline.bundle import Bundle, Manifest, find_variant
from fogline.desired import CapturePolicy, DesiredModel, DesiredState
from fogline.errors import Corrupt, DeadlineExceeded, FoglineError
from fogline.records import decode_json
from fogline.runtime.fingerprint import still_holding
from fogline.runtime.interrupt import Watchdog
from fogline.runtime.measure import model_size_bytes
from fogline.runtime.memory import estimated_need
from fogline.runtime.plan import ModelPlan
from fogline.summaries import Reference
from fogline_edge.capture import Capture
from fogline_edge.install import Installed, Installer, Phase
from fogline_edge.serving.loading import Loading, variant_source
from fogline_edge.serving.models import Models
from fogline_edge.serving.pipeline_source import PipelineSource
from fogline_edge.serving.residency import Residency, Source
from fogline_edge.serving.statistics import Statistics

if TYPE_CHECKING:
    from fogline_edge.serving.pipelines import Surroundings

LOAD_S = 600.0
"""Longest wait for a load, with all that leaves memory before it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """How installed versions are run.

    Attributes:
        plan: What the operator decided, his threads above all.
        drain_s: Longest wait for calls to a model that is taken away.
        branch_threads: Branches of pipelines that run beside their callers' own threads.
    """

    plan: ModelPlan
    drain_s: float
    branch_threads: int = 1


class ModelHost:
    """Brings versions to serve through residency, and tells capture about each before it answers.

    Args:
        models: What serving answers from.
        residency: Which of it is in memory.
        capture: Gets each version's policy and reference first.
        desired: The desired state now, for capture policies.
        hosting: How to run models.
    """

    def __init__(
        self,
        models: Models,
        residency: Residency,
        capture: Capture,
        desired: Callable[[], DesiredState | None],
        hosting: Hosting,
    ) -> None:
        self._models = models
        self._residency = residency
        self._capture = capture
        self._desired = desired
        self._hosting = hosting
        self._statistics: Statistics | None = None
        self._watchdog = Watchdog()
        self._around: Surroundings | None = None
        self._installed: dict[str, Installed] = {}
        self._observed: dict[str, tuple[str, CapturePolicy]] = {}
        """By name: the digest that capture knows of, and under which policy."""
        self._unobserved: set[str] = set()
        self._is_calibrated = False

    def count_in(self, statistics: Statistics) -> None:
        """Has what models do in pipelines counted; before the first pipeline."""
        self._statistics = statistics

    def activate(self, installed: Installed) -> None:
        """Lets a version answer to its name in place of the former one, without a gap.

        The former one ends its requests on its own and leaves; what leaves memory to make room for
        either is loaded again when it is asked for.

        Raises:
            FoglineError: it cannot be loaded, and what served before still does.
        """
        source = self._source(installed)
        self._calibrate(source)
        self._observe(installed, self._policy_of(installed))
        name = installed.name
        self._models.set_visible(name, visible=self._is_visible(name))
        done = _Done()
        self._residency.replace(name, (source,), done, active=installed.version)
        done.wait(LOAD_S, f"model {name}@{installed.version}")
        self._installed[name] = installed

    def deactivate(self, name: str) -> None:
        """Stops answering for a model."""
        self._observed.pop(name, None)
        self._unobserved.discard(name)
        if self._installed.pop(name, None) is None:
            return
        done = _Done()
        self._residency.replace(name, (), done)
        try:
            done.wait(self._hosting.drain_s, f"calls to {name}")
        except DeadlineExceeded as e:
            _log.warning("removed model still has calls", extra={"reason": str(e)})

    def follow(self, model: DesiredModel) -> None:
        """Applies what changed of a model that serves, but for its version."""
        installed = self._installed.get(model.name)
        if installed is None or installed.digest != model.manifest:
            return
        self._models.set_visible(model.name, visible=model.visible)
        if self._observed.get(model.name) != (installed.digest, model.capture):
            self._observe(installed, model.capture)

    def close(self) -> None:
        self._residency.close()
        if self._around is not None:
            self._around.branches.close()
        self._watchdog.close()

    def _calibrate(self, source: Source) -> None:
        """Before the first model: what onnxruntime takes once is no model's."""
        if not self._is_calibrated and not isinstance(source, PipelineSource):
            # Here, since it takes 20 MB, which an agent without a model does without.
            from fogline.runtime.session import open_smallest

            open_smallest().close()
            self._residency.calibrate()
            self._is_calibrated = True

    def _source(self, installed: Installed) -> Source:
        bundle = Bundle(
            folder=installed.folder, manifest=installed.manifest, digest=installed.digest
        )
        if find_variant(installed.manifest, installed.variant).is_pipeline:
            return self._pipeline_source(bundle, installed)
        return variant_source(
            bundle,
            Loading(watchdog=self._watchdog, plan=self._hosting.plan),
            name=installed.name,
            version=installed.version,
            variant=installed.variant,
            generation=installed.generation,
            plan=self._plan_of(installed, bundle),
        )

    def _plan_of(self, installed: Installed, bundle: Bundle) -> ModelPlan:
        """As it was qualified; what of it was not measured is not used, or is put high.

        With other threads than then its times and stacks do not hold, but its memory does: as much
        is held, and a run of one row takes no more than one of the largest stack did.
        """
        threads = self._hosting.plan.threads
        plan = installed.plan or self._hosting.plan
        if plan.threads != threads:
            plan = replace(still_holding(plan, ""), threads=threads, measured_on="")
        if plan.memory is not None:
            return plan
        variant = find_variant(installed.manifest, installed.variant)
        paths = [bundle.path(f) for f in (variant.file, *variant.external_data)]
        return replace(plan, memory=estimated_need(model_size_bytes(paths[0], paths[1:])))

    def _pipeline_source(self, bundle: Bundle, installed: Installed) -> Source:
        # Here, so that a device without pipelines does not load what runs them.
        from fogline_edge.serving.pipelines import load_bundled_pipeline

        return PipelineSource(
            installed.name,
            installed.version,
            (installed.digest, installed.variant, installed.generation),
            partial(
                load_bundled_pipeline,
                bundle,
                installed.variant,
                self._surroundings(),
                name=installed.name,
                version=installed.version,
                generation=installed.generation,
            ),
        )

    def _surroundings(self) -> "Surroundings":
        from fogline_edge.serving.pipelines import Branches, Surroundings

        if self._around is None:
            self._around = Surroundings(
                models=self._models,
                branches=Branches(self._hosting.branch_threads),
                watchdog=self._watchdog,
                statistics=self._statistics,
            )
        return self._around

    def _observe(self, installed: Installed, policy: CapturePolicy) -> None:
        """Tells capture; where the outbox cannot take it now, `follow` tries again.

        A full disk must not make the installer reject a version for good.

        Raises:
            Corrupt: the version's reference.
        """
        reference = _reference(installed.folder, installed.manifest)
        try:
            self._capture.set_policy(
                installed.name, installed.version, policy, reference, installed.manifest.schema
            )
        except FoglineError as e:
            if installed.name not in self._unobserved:
                label = f"{installed.name}@{installed.version}"
                _log.warning("capture policy not set yet", extra={"model": label, "reason": str(e)})
            self._unobserved.add(installed.name)
            self._observed.pop(installed.name, None)
            return
        self._unobserved.discard(installed.name)
        self._observed[installed.name] = installed.digest, policy

    def _policy_of(self, installed: Installed) -> CapturePolicy:
        """The desired one; a last-known-good version keeps that of the model's wanted version."""
        wanted = self._wanted(installed.name)
        return CapturePolicy() if wanted is None else wanted.capture

    def _is_visible(self, name: str) -> bool:
        wanted = self._wanted(name)
        return wanted is None or wanted.visible

    def _wanted(self, name: str) -> DesiredModel | None:
        state = self._desired()
        return None if state is None else next((m for m in state.models if m.name == name), None)


class HostedInstaller:
    """The installer as `link.Reconciler` needs it; keeps capture policies in step."""

    def __init__(self, installer: Installer, host: ModelHost) -> None:
        self._installer = installer
        self._host = host

    def install(self, model: DesiredModel, generation: int, *, retry: bool) -> bool:
        report = self._installer.install(model, generation, retry=retry)
        if report.phase is Phase.ACTIVE:
            self._host.follow(model)
        return report.phase is not Phase.FAILED

    def remove(self, name: str) -> None:
        self._installer.remove(name)

    def names(self) -> tuple[str, ...]:
        return self._installer.models()

    def tick(self) -> None:
        self._installer.tick()


class _Done:
    """A residency's `then` that a thread waits for."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self._error: FoglineError | None = None

    def __call__(self, error: FoglineError | None) -> None:
        self._error = error
        self._told.set()

    def wait(self, timeout_s: float, what: str) -> None:
        """Raises what it was told, or `DeadlineExceeded`."""
        if not self._told.wait(timeout_s):
            raise DeadlineExceeded(f"{what}: not done after {timeout_s:.0f} s")
        if self._error is not None:
            raise self._error


def _reference(folder: Path, manifest: Manifest) -> Reference:
    """The bundle's reference; an empty one counts requests and rows alone. Raises `Corrupt`."""
    if not manifest.reference:
        return Reference()
    try:
        data = (folder / manifest.reference).read_bytes()
    except OSError as e:
        raise Corrupt(f"{manifest.reference}: {e.strerror}") from e
    return decode_json(data, Reference, manifest.reference)
