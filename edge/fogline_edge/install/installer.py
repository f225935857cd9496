"""Brings wanted versions onto this device, and never the device off its last good one.

    fetch (child) -> assemble -> mark -> qualify (child) -> mark -> activate -> probation -> good

A version serves only if signed metadata and desired state name the same manifest, every file has
the manifest's digest, it was proved in a child on this device, and it did not take the device down.
Each step's end is on the disk before the next begins, so after a crash anywhere `boot` finds either
the old version or the new one, whole, and checks it before it serves. A boot uses neither network
nor metadata.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from fogline import __version__
from fogline.bundle import find_variant
from fogline.clock import Clock
from fogline.desired import DesiredModel, target_path
from fogline.durable import make_private_folder
from fogline.errors import Exhausted, FoglineError, Unavailable, Untrusted
from fogline.failpoints import reach
from fogline.identity import Identity
from fogline.runtime.fingerprint import fingerprint, still_holding
from fogline_edge.install.board import Board
from fogline_edge.install.fetch.messages import (
    DeviceProfile,
    Fetched,
    FetchRequest,
    Refused,
    Result,
)
from fogline_edge.install.fetching import run_fetch
from fogline_edge.install.ledger import Ledger
from fogline_edge.install.machine import LinuxMachine, Machine
from fogline_edge.install.phases import Event
from fogline_edge.install.qualify import Qualify, Verdict, qualify
from fogline_edge.install.records import InstallConfig, Installed, ModelReport
from fogline_edge.install.state import Candidate, ModelState, StateFile
from fogline_edge.install.store import HeldVersion, Store

TRANSIENT = (Exhausted, Unavailable)
"""What a load may fail with without saying anything of the version; it is tried again later."""
_log = logging.getLogger(__name__)


class Installer:
    """One device's installed models.

    `boot`, `install` and `remove` exclude each other, so only one heavy child runs at a time;
    `tick`, `reports` and `close` never wait for them. Callbacks run in the calling thread.

    Args:
        folder: The agent's data folder; `store/`, `versions/`, `tuf/`, `installed.json` in it are
            the installer's.
        identity: Whose hub is asked, and what root is trusted first.
        activate: Loads a version and lets it serve in place of the model's former one. It either
            does, and returns, or raises a `FoglineError` and leaves things as they were.
        deactivate: Stops serving a model of that name.
        report: Gets every change of phase.
        clock: For probation and dates.
        config: Bounds.
        machine: The machine's facts.
        time_floor_s: Unix seconds below which the clock cannot be right.
        fetch: Gets a version's files into the store; `run_fetch` does it in a child.
        prove: Qualifies a held version; `qualify` does it in a child.
        agent_version: What a rejection is bound to.
    """

    def __init__(  # noqa: PLR0913 - a composition root passes each once, by name
        self,
        folder: Path,
        identity: Identity,
        *,
        activate: Callable[[Installed], None],
        deactivate: Callable[[str], None],
        report: Callable[[ModelReport], None],
        clock: Clock,
        config: InstallConfig | None = None,
        machine: Machine | None = None,
        time_floor_s: Callable[[], int] = lambda: 0,
        fetch: Callable[[FetchRequest, InstallConfig], Result] = run_fetch,
        prove: Qualify = qualify,
        agent_version: str = __version__,
    ) -> None:
        self._folder = make_private_folder(folder)
        self._identity = identity
        self._activate = activate
        self._deactivate = deactivate
        self._config = config or InstallConfig()
        self._machine = machine or LinuxMachine()
        self._time_floor_s = time_floor_s
        self._prove = prove
        self._fetch = fetch
        self._store = Store(folder)
        self._board = Board(report)
        self._ledger = Ledger(
            StateFile(folder / "installed.json"),
            clock=clock,
            machine=self._machine,
            agent_version=agent_version,
            bounds=self._config.attempts,
        )
        self._here = fingerprint()
        self._serving: dict[str, Installed] = {}
        self._busy = threading.Lock()

    # ----------------------------------------------------------------- boot

    def boot(self) -> list[Installed]:
        """Lets serve what the disk holds, checked anew; once, before anything else.

        A version that took the device down too often, is damaged or cannot be loaded gives way to
        the last good one; if that fails as well the model does not serve, and is reported so.

        Returns:
            What serves now, by name.
        """
        with self._busy:
            self._store.recover()
            for model in self._ledger.open():
                self._restore(model)
            return [self._serving[name] for name in sorted(self._serving)]

    def _restore(self, model: ModelState) -> None:
        wanted = model.active
        if wanted is None:
            return
        rejected = self._ledger.rejection(model.name, wanted.digest)
        reasons = [rejected.reason] if rejected is not None else []
        for candidate in self._ledger.candidates(model.name):
            failure = self._try_held(model.name, candidate)
            if not failure:
                self._note_restored(model.name, wanted, candidate, "; ".join(reasons))
                return
            reasons.append(failure)
        event = self._event_of(model.name, wanted)
        self._board.held(model.name, wanted, event, "; ".join(reasons))

    def _try_held(self, name: str, candidate: Candidate) -> str:
        """Loads one version from the disk; returns why it does not serve, if so."""
        try:
            held = self._store.open(candidate.key)
        except FoglineError as e:
            # Damage is the disk's fault, not the version's: it may be fetched again.
            self._store.remove(candidate.key)
            return f"version {candidate.version} is damaged on this device's disk: {e}"
        candidate, reason = self._measured_here(name, candidate, held)
        if reason:
            self._ledger.reject(name, candidate.digest, candidate.generation, reason)
            return reason
        self._ledger.mark(name, candidate.digest, "serve")
        installed = self._installed(name, candidate, held)
        try:
            self._activate(installed)
        except TRANSIENT as e:
            self._ledger.unmark(name)
            return f"version {candidate.version} cannot be loaded now: {e}"
        except FoglineError as e:
            reason = f"version {candidate.version} does not load: {e}"
            self._ledger.reject(name, candidate.digest, candidate.generation, reason)
            return reason
        self._serving[name] = installed
        self._ledger.begin_probation(name, candidate.digest)
        return ""

    def _measured_here(
        self, name: str, candidate: Candidate, held: HeldVersion
    ) -> tuple[Candidate, str]:
        """Proves a version anew whose plan another build or processor measured.

        Returns:
            The candidate with its plan of here, and why it does not hold here; a version that
            cannot be judged now serves as it is, nothing stacked.
        """
        if candidate.plan is None or candidate.plan.measured_on == self._here:
            return candidate, ""
        try:
            verdict = self._prove_held(name, candidate, held)
        except TRANSIENT as e:
            _log.warning("not measured anew", extra={"model": name, "reason": str(e)})
            return candidate, ""
        if verdict.reason:
            return candidate, f"version {candidate.version} does not hold here: {verdict.reason}"
        return self._ledger.measured(name, candidate, verdict.plan), ""

    def _note_restored(
        self, name: str, wanted: Candidate, candidate: Candidate, reason: str
    ) -> None:
        if candidate.key == wanted.key:
            self._board.held(name, candidate, Event.SERVES)
            return
        _log.warning(
            "went back to the last good version",
            extra={"model": name, "from": wanted.version, "to": candidate.version, "why": reason},
        )
        self._ledger.went_back(name, candidate)
        self._board.held(name, wanted, self._event_of(name, wanted), reason)

    def _event_of(self, name: str, candidate: Candidate) -> Event:
        is_rejected = self._ledger.rejection(name, candidate.digest) is not None
        return Event.REFUSE if is_rejected else Event.BREAK_OFF

    # -------------------------------------------------------------- install

    def install(
        self, desired: DesiredModel, generation: int, *, retry: bool = False
    ) -> ModelReport:
        """Does all that it takes to let one wanted version serve; blocks until it is decided.

        Args:
            desired: What is wanted.
            generation: Of the desired state that says so.
            retry: Tries a rejected version once more, if `generation` is newer than when it was
                rejected.

        Returns:
            The last report: `ACTIVE`, `REJECTED` for good, or `FAILED` for now, to be tried again
            with back-off. In the latter two, what served before still does.
        """
        with self._busy:
            if retry:
                self._ledger.forget_rejection(desired.name, desired.manifest, generation)
            rejected = self._ledger.rejection(desired.name, desired.manifest)
            if rejected is not None:
                return self._board.wanted(desired, Event.REFUSE, reason=rejected.reason)
            serving = self._serving.get(desired.name)
            if serving is not None and serving.digest == desired.manifest:
                return self._board.wanted(desired, Event.SERVES, variant=serving.variant)
            try:
                return self._install(desired, generation)
            except (FoglineError, OSError) as e:
                _log.warning("install failed", extra={"model": desired.name, "reason": str(e)})
                return self._board.wanted(desired, Event.BREAK_OFF, reason=str(e))

    def _install(self, desired: DesiredModel, generation: int) -> ModelReport:
        if desired.target != target_path(desired.name, desired.version):
            raise Untrusted(
                f"desired state names {desired.target[:120]!r} for {desired.name}@{desired.version}"
            )
        self._board.wanted(desired, Event.START)
        self._store.offer_manifest(desired.manifest)
        result = self._fetch(self._request(desired), self._config)
        if isinstance(result, Refused):
            return self._not_fetched(desired, generation, result)
        reach("install.after_fetch")
        candidate = _candidate(desired, generation, result)
        held = self._store.assemble(candidate.key)
        self._board.wanted(desired, Event.FETCHED, variant=candidate.variant)
        verdict = self._prove_held(desired.name, candidate, held)
        if verdict.reason:
            return self._refuse(desired, candidate, verdict.reason)
        self._board.wanted(desired, Event.QUALIFIED, variant=candidate.variant)
        return self._let_serve(desired, replace(candidate, plan=verdict.plan), held)

    def _prove_held(self, name: str, candidate: Candidate, held: HeldVersion) -> Verdict:
        """What qualification finds out.

        Raises:
            Exhausted: it could not be judged now.
        """
        self._check_memory(held)
        reach("install.before_marker")
        self._ledger.mark(name, candidate.digest, "qualify")
        reach("install.after_marker")
        verdict = self._prove(held, self._model_memory(), self._config.qualify_timeout_s)
        reach("install.after_qualify")
        if verdict.is_transient:
            self._ledger.unmark(name)
            raise Exhausted(verdict.reason)
        return verdict

    def _let_serve(
        self, desired: DesiredModel, candidate: Candidate, held: HeldVersion
    ) -> ModelReport:
        self._ledger.mark(desired.name, candidate.digest, "activate")
        installed = self._installed(desired.name, candidate, held)
        reach("install.before_activate")
        try:
            self._activate(installed)
        except TRANSIENT:  # the machine's state now, not the version's fault
            self._ledger.unmark(desired.name)
            raise
        except FoglineError as e:
            return self._refuse(desired, candidate, f"it does not load: {e}")
        self._serving[desired.name] = installed
        self._ledger.activated(desired.name, candidate)
        reach("install.after_activate")
        self._store.collect(self._ledger.kept())
        return self._board.wanted(desired, Event.ACTIVATED, variant=candidate.variant)

    def _not_fetched(self, desired: DesiredModel, generation: int, refused: Refused) -> ModelReport:
        if refused.is_final:
            self._ledger.reject(desired.name, desired.manifest, generation, refused.text)
            self._store.collect(self._ledger.kept())
            return self._board.wanted(desired, Event.REFUSE, reason=refused.text)
        if refused.fault == Exhausted.__name__ and self._ledger.drop_good(desired.name):
            self._store.collect(self._ledger.kept())
        return self._board.wanted(desired, Event.BREAK_OFF, reason=refused.text)

    def _refuse(self, desired: DesiredModel, candidate: Candidate, reason: str) -> ModelReport:
        self._ledger.reject(desired.name, candidate.digest, candidate.generation, reason)
        self._store.collect(self._ledger.kept())
        return self._board.wanted(desired, Event.REFUSE, variant=candidate.variant, reason=reason)

    def _request(self, desired: DesiredModel) -> FetchRequest:
        return FetchRequest(
            hub_url=self._identity.hub_url,
            api_secret=self._identity.api_secret,
            tuf_root=self._identity.tuf_root,
            tuf_folder=str(self._folder / "tuf"),
            store_folder=str(self._store.blobs),
            model=desired.name,
            target=desired.target,
            manifest=desired.manifest,
            profile=DeviceProfile(memory_bytes=self._model_memory()),
            held=tuple(sorted(self._store.held_digests())),
            used_bytes=self._store.used_bytes(),
            time_floor_s=self._time_floor_s(),
            bounds=self._config.fetch,
        )

    def _installed(self, name: str, candidate: Candidate, held: HeldVersion) -> Installed:
        variant = find_variant(held.manifest, candidate.variant)
        plan = candidate.plan
        return Installed(
            name=name,
            version=candidate.version,
            digest=candidate.digest,
            variant=candidate.variant,
            generation=candidate.generation,
            folder=held.folder,
            model=held.folder / variant.file,
            manifest=held.manifest,
            plan=None if plan is None else still_holding(plan, self._here),
        )

    def _model_memory(self) -> int:
        return self._config.model_memory_bytes or self._machine.total_memory() * 3 // 4

    def _check_memory(self, held: HeldVersion) -> None:
        measured = find_variant(held.manifest, held.key.variant).measured
        needed = measured.peak_memory_bytes if measured is not None else 0
        needed = needed or self._config.unmeasured_memory_bytes
        available = self._machine.available_memory()
        if available < needed:
            raise Exhausted(
                f"qualifying variant {held.key.variant} takes {needed} bytes of memory, "
                f"{available} are available now"
            )

    # ------------------------------------------------- removal and probation

    def remove(self, name: str) -> None:
        """Stops serving a model and forgets it, its rejected versions included."""
        with self._busy:
            # Forgotten first: a crash in between must not bring it back at the next boot.
            self._ledger.drop(name)
            if self._serving.pop(name, None) is not None:
                self._deactivate(name)
            self._board.drop(name)
            self._store.collect(self._ledger.kept())

    def tick(self) -> None:
        """Ends probations that are over; to be called about every second."""
        self._ledger.confirm_due()

    def close(self) -> None:
        """The agent stops in good order, so no version is to blame for its end."""
        self._ledger.stop()

    def reports(self) -> tuple[ModelReport, ...]:
        """The last report of each model, by name."""
        return self._board.all()

    def models(self) -> tuple[str, ...]:
        """Names of the models that the device holds, serving or not."""
        return self._ledger.names()


def _candidate(desired: DesiredModel, generation: int, fetched: Fetched) -> Candidate:
    return Candidate(
        version=desired.version,
        digest=desired.manifest,
        variant=fetched.variant,
        generation=generation,
    )
