"""Between the installer and serving: a version on the disk becomes one that answers, and back."""

import gc
import logging
from collections.abc import Callable
from pathlib import Path

from fogline.bundle import Manifest
from fogline.desired import CapturePolicy, DesiredModel, DesiredState
from fogline.errors import Corrupt, DeadlineExceeded, FoglineError
from fogline.records import decode_json
from fogline.runtime import ModelPlan, Session, Watchdog
from fogline.summaries import Reference
from fogline_edge.capture import Capture
from fogline_edge.install import Installed, Installer, Phase
from fogline_edge.serving import Models, ServedModel
from fogline_edge.serving.loading import check_schema

_log = logging.getLogger(__name__)


class ModelHost:
    """Loads versions for `Models`, and tells capture about each before it answers.

    Args:
        models: What serving answers from.
        capture: Gets each version's policy and reference first.
        desired: The desired state now, for capture policies.
        plan: How to run models.
        drain_s: Longest wait for calls to an old version.
    """

    def __init__(
        self,
        models: Models,
        capture: Capture,
        desired: Callable[[], DesiredState | None],
        *,
        plan: ModelPlan,
        drain_s: float,
    ) -> None:
        self._models = models
        self._capture = capture
        self._desired = desired
        self._plan = plan
        self._drain_s = drain_s
        self._watchdog = Watchdog()
        self._installed: dict[str, Installed] = {}
        self._observed: dict[str, tuple[str, CapturePolicy]] = {}
        """By name: the digest that capture knows of, and under which policy."""
        self._unobserved: set[str] = set()

    def activate(self, installed: Installed) -> None:
        """Lets a version answer to its name in place of the former one, without a gap.

        Raises:
            FoglineError: it cannot be loaded, and what served before still does.
        """
        label = f"model {installed.name}@{installed.version}"
        session = Session.open(installed.model, self._plan, label=label, watchdog=self._watchdog)
        try:
            check_schema(installed.manifest.schema, session, label)
            self._observe(installed, self._policy_of(installed))
            served = ServedModel(
                name=installed.name,
                version=installed.version,
                schema=installed.manifest.schema,
                runner=session,
                plan=self._plan,
                variant=installed.variant,
                digest=installed.digest,
                generation=installed.generation,
            )
            old = self._models.swap(installed.name, served, drain_s=self._drain_s)
        except DeadlineExceeded as e:  # the new one answers; the old one's last calls keep it alive
            _log.warning("old version still has calls", extra={"reason": str(e)})
            old = None
        except BaseException:
            session.close()
            raise
        self._installed[installed.name] = installed
        _release(old)

    def deactivate(self, name: str) -> None:
        """Stops answering for a model."""
        self._observed.pop(name, None)
        self._unobserved.discard(name)
        installed = self._installed.pop(name, None)
        if installed is None:
            return
        try:
            _release(self._models.remove(name, installed.version, drain_s=self._drain_s))
        except DeadlineExceeded as e:
            _log.warning("removed version still has calls", extra={"reason": str(e)})

    def follow(self, model: DesiredModel) -> None:
        """Applies a changed capture policy, or one that failed, to a version that serves."""
        installed = self._installed.get(model.name)
        if installed is None or installed.digest != model.manifest:
            return
        if self._observed.get(model.name) != (installed.digest, model.capture):
            self._observe(installed, model.capture)

    def close(self) -> None:
        self._watchdog.close()

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
        state = self._desired()
        wanted = () if state is None else state.models
        return next((m.capture for m in wanted if m.name == installed.name), CapturePolicy())


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


def _reference(folder: Path, manifest: Manifest) -> Reference:
    """The bundle's reference; an empty one counts requests and rows alone. Raises `Corrupt`."""
    if not manifest.reference:
        return Reference()
    try:
        data = (folder / manifest.reference).read_bytes()
    except OSError as e:
        raise Corrupt(f"{manifest.reference}: {e.strerror}") from e
    return decode_json(data, Reference, manifest.reference)


def _release(old: ServedModel | None) -> None:
    """Closes a drained version's session and lets its memory go now, not at some later cycle."""
    if old is not None:
        old.runner.close()
        gc.collect()
