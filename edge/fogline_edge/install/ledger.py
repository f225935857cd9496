"""The installer's memory: every change is on the disk before it is believed. Thread-safe.

Holds also who is on probation, so that a long installation does not keep a version that has proved
itself from being confirmed.
"""

import logging
import threading
from typing import Literal

from msgspec.structs import replace

from fogline.clock import Clock
from fogline.errors import Corrupt
from fogline.runtime.plan import ModelPlan
from fogline_edge.install.attempts import AttemptBounds, settle
from fogline_edge.install.machine import Machine
from fogline_edge.install.state import (
    MAX_REASON_CHARS,
    Candidate,
    InstallState,
    Marker,
    ModelState,
    Rejection,
    StateFile,
)
from fogline_edge.install.store import VersionKey

_log = logging.getLogger(__name__)


class Ledger:
    """Changes to `InstallState`, one durable write each.

    Args:
        file: Where it is kept.
        clock: For dates and probation.
        machine: Says which start of the kernel this is.
        agent_version: What a rejection is bound to.
        bounds: Of crashes and probation.
    """

    def __init__(
        self,
        file: StateFile,
        *,
        clock: Clock,
        machine: Machine,
        agent_version: str,
        bounds: AttemptBounds,
    ) -> None:
        self._file = file
        self._clock = clock
        self._machine = machine
        self._agent_version = agent_version
        self._bounds = bounds
        self._state = InstallState()
        self._probation: dict[str, tuple[str, float]] = {}
        self._lock = threading.RLock()

    def open(self) -> tuple[ModelState, ...]:
        """Reads what the last run left, and counts the marks that it left; once, at boot."""
        with self._lock:
            try:
                found = self._file.load()
            except Corrupt as e:
                aside = self._file.set_aside()
                _log.error("installed models are lost", extra={"why": str(e), "moved": str(aside)})
                found = InstallState()
            self._state = settle(
                found,
                boot_id=self._machine.boot_id(),
                agent_version=self._agent_version,
                now=self._clock.now(),
                bounds=self._bounds,
            )
            if self._state != found:
                self._file.save(self._state)
            return self._state.models

    def names(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(model.name for model in self._state.models)

    def get(self, name: str) -> ModelState:
        with self._lock:
            return self._state.get(name)

    def rejection(self, name: str, digest: str) -> Rejection | None:
        """Why this agent does not try a version; None if it does."""
        return self.get(name).rejection(digest, self._agent_version)

    def candidates(self, name: str) -> tuple[Candidate, ...]:
        """What may be loaded at boot, best first."""
        return self.get(name).candidates(self._agent_version)

    def kept(self) -> frozenset[VersionKey]:
        """Versions whose files must stay."""
        with self._lock:
            held = (c for m in self._state.models for c in (m.active, m.good))
            return frozenset(c.key for c in held if c is not None)

    # -------------------------------------------------------------- changes

    def mark(self, name: str, digest: str, phase: Literal["qualify", "activate", "serve"]) -> None:
        """Says on the disk what is about to be tried."""
        with self._lock:
            marker = Marker(digest=digest, phase=phase, boot_id=self._machine.boot_id())
            self._save(replace(self._state.get(name), marker=marker))

    def unmark(self, name: str) -> None:
        """The try ended without harm; a version on probation gets its own mark back."""
        with self._lock:
            self._save(replace(self._state.get(name), marker=self._probation_marker(name)))

    def reject(self, name: str, digest: str, generation: int, reason: str) -> None:
        """Never again with this agent, until `forget_rejection`."""
        _log.warning("rejected", extra={"model": name, "digest": digest, "reason": reason})
        with self._lock:
            rejection = Rejection(
                digest=digest,
                agent_version=self._agent_version,
                reason=reason[:MAX_REASON_CHARS],
                generation=generation,
                at=self._clock.now(),
            )
            model = self._state.get(name).with_rejection(rejection)
            self._save(replace(model, marker=self._probation_marker(name)))

    def forget_rejection(self, name: str, digest: str, generation: int) -> None:
        """Lets a version be tried again if the wish is newer than the rejection."""
        with self._lock:
            known = self.rejection(name, digest)
            if known is not None and generation > known.generation:
                model = self._state.get(name).without_rejections(digest)
                self._save(model.without_strikes(digest))

    def activated(self, name: str, candidate: Candidate) -> None:
        """A new version serves; the one before stays at hand if it had proved itself."""
        with self._lock:
            model = self._state.get(name)
            before = model.active
            good = before if before is not None and before.is_confirmed else model.good
            marker = Marker(digest=candidate.digest, phase="serve", boot_id=self._machine.boot_id())
            self._save(replace(model, active=candidate, good=good, marker=marker))
            self.begin_probation(name, candidate.digest)

    def went_back(self, name: str, candidate: Candidate) -> None:
        """A boot had to take another version than the last active one."""
        with self._lock:
            self._save(replace(self._state.get(name), active=candidate))

    def measured(self, name: str, candidate: Candidate, plan: ModelPlan | None) -> Candidate:
        """The candidate with a plan that was measured anew, wherever it is remembered."""
        found = replace(candidate, plan=plan)
        with self._lock:
            model = self._state.get(name)
            active, good = (
                replace(c, plan=plan) if c is not None and c.key == candidate.key else c
                for c in (model.active, model.good)
            )
            marker = self._probation_marker(name)
            self._save(replace(model, active=active, good=good, marker=marker))
        return found

    def drop_good(self, name: str) -> bool:
        """Gives up the last good version for room; only where the active one is confirmed."""
        with self._lock:
            model = self._state.get(name)
            active, good = model.active, model.good
            if active is None or not active.is_confirmed or good is None or good.key == active.key:
                return False
            self._save(replace(model, good=None))
            return True

    def drop(self, name: str) -> None:
        """Forgets a model."""
        with self._lock:
            self._probation.pop(name, None)
            state = self._state.drop(name)
            self._file.save(state)
            self._state = state

    # ------------------------------------------------------------ probation

    def begin_probation(self, name: str, digest: str) -> None:
        with self._lock:
            until = self._clock.monotonic() + self._bounds.probation_s
            self._probation[name] = (digest, until)

    def confirm_due(self) -> None:
        """Takes the mark off every version that has served for the whole probation."""
        with self._lock:
            now = self._clock.monotonic()
            for name, (digest, until) in list(self._probation.items()):
                if now >= until:
                    del self._probation[name]
                    self._confirm(name, digest)

    def stop(self) -> None:
        """The agent ends in good order: no version is to blame for it."""
        with self._lock:
            self._probation.clear()
            state = self._state
            for model in state.models:
                state = state.put(replace(model, marker=None))
            if state != self._state:
                self._file.save(state)
                self._state = state

    def _confirm(self, name: str, digest: str) -> None:
        model = self._state.get(name)
        if model.active is None or model.active.digest != digest:
            return
        own = model.marker is not None and model.marker.digest == digest
        self._save(
            replace(
                model.without_strikes(digest),
                active=replace(model.active, is_confirmed=True),
                marker=None if own else model.marker,
            )
        )

    def _probation_marker(self, name: str) -> Marker | None:
        if name not in self._probation:
            return None
        digest, _ = self._probation[name]
        return Marker(digest=digest, phase="serve", boot_id=self._machine.boot_id())

    def _save(self, model: ModelState) -> None:
        state = self._state.put(model)
        self._file.save(state)
        self._state = state
