"""What the installer remembers across crashes: one small JSON file, replaced as a whole.

Held per model: the version that serves, the one to go back to, the mark of a load that has not
proved itself yet, how often each candidate took the device down, and what is never tried again.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from fogline.desired import Digest, Name, Positive
from fogline.durable import write_durably
from fogline.errors import Exhausted
from fogline.records import Record, canonical_json, decode_json
from fogline.runtime.plan import ModelPlan
from fogline_edge.install.store import VersionKey

MAX_MODELS = 64
MAX_REJECTIONS = 32
"""Remembered per model; the oldest is forgotten first."""
MAX_REASON_CHARS = 500

Count = Annotated[int, Meta(ge=0)]


class Candidate(Record, frozen=True, kw_only=True):
    """A version that this device holds and can load."""

    version: Positive
    digest: Digest
    variant: Name
    generation: Positive
    is_confirmed: bool = False
    """It has served for the whole probation once."""
    plan: ModelPlan | None = None
    """What qualification measured on this device; None where it did not come to that."""

    @property
    def key(self) -> VersionKey:
        return VersionKey(self.digest, self.variant)


class Marker(Record, frozen=True, kw_only=True):
    """On the disk before a version is loaded, and off it once the version has proved itself.

    A marker that a starting agent finds says that the last run ended in between.
    """

    digest: Digest
    phase: Literal["qualify", "activate", "serve"]
    boot_id: str
    """The kernel's, so that a power cut is told from a crash."""


class Strikes(Record, frozen=True, kw_only=True):
    """How often a run ended with this version's marker still there."""

    digest: Digest
    crashes: Count = 0
    power_losses: Count = 0


class Rejection(Record, frozen=True, kw_only=True):
    """A version that this agent does not try again."""

    digest: Digest
    agent_version: str
    """Another agent may well be able to load it."""
    reason: Annotated[str, Meta(max_length=MAX_REASON_CHARS)]
    generation: Count
    at: datetime


class ModelState(Record, frozen=True, kw_only=True):
    """All that is remembered of one model."""

    name: Name
    active: Candidate | None = None
    good: Candidate | None = None
    """Last known good: a confirmed version beside the active one."""
    marker: Marker | None = None
    strikes: Annotated[tuple[Strikes, ...], Meta(max_length=MAX_REJECTIONS)] = ()
    rejections: Annotated[tuple[Rejection, ...], Meta(max_length=MAX_REJECTIONS)] = ()

    def rejection(self, digest: str, agent_version: str) -> Rejection | None:
        for one in self.rejections:
            if one.digest == digest and one.agent_version == agent_version:
                return one
        return None

    def strikes_of(self, digest: str) -> Strikes:
        return next((s for s in self.strikes if s.digest == digest), Strikes(digest=digest))

    def with_strikes(self, strikes: Strikes) -> "ModelState":
        others = tuple(s for s in self.strikes if s.digest != strikes.digest)
        return replace(self, strikes=(*others, strikes)[-MAX_REJECTIONS:])

    def without_strikes(self, digest: str) -> "ModelState":
        return replace(self, strikes=tuple(s for s in self.strikes if s.digest != digest))

    def with_rejection(self, rejection: Rejection) -> "ModelState":
        kept = self.without_rejections(rejection.digest).rejections
        return replace(self, rejections=(*kept, rejection)[-MAX_REJECTIONS:])

    def without_rejections(self, digest: str) -> "ModelState":
        return replace(self, rejections=tuple(r for r in self.rejections if r.digest != digest))

    def candidates(self, agent_version: str) -> tuple[Candidate, ...]:
        """What may be loaded at boot, best first."""
        both = [c for c in (self.active, self.good) if c is not None]
        found = {c.key: c for c in reversed(both)}
        return tuple(
            found[key]
            for key in dict.fromkeys(c.key for c in both)
            if self.rejection(key.digest, agent_version) is None
        )


class InstallState(Record, frozen=True, kw_only=True):
    models: Annotated[tuple[ModelState, ...], Meta(max_length=MAX_MODELS)] = ()

    def get(self, name: str) -> ModelState:
        return next((m for m in self.models if m.name == name), ModelState(name=name))

    def put(self, model: ModelState) -> "InstallState":
        """With this model's state in place of the former one.

        Raises:
            Exhausted: the device holds `MAX_MODELS` others.
        """
        others = tuple(m for m in self.models if m.name != model.name)
        if len(others) >= MAX_MODELS:
            raise Exhausted(f"{model.name} is too many: this device holds {MAX_MODELS} models")
        return InstallState(models=tuple(sorted((*others, model), key=lambda m: m.name)))

    def drop(self, name: str) -> "InstallState":
        return InstallState(models=tuple(m for m in self.models if m.name != name))


class StateFile:
    """The file; every `save` is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> InstallState:
        """What was saved last; an empty state where nothing was.

        Raises:
            Corrupt: the file is damaged, which no crash of the agent does.
        """
        if not self._path.exists():
            return InstallState()
        return decode_json(self._path.read_bytes(), InstallState, str(self._path))

    def save(self, state: InstallState) -> None:
        write_durably(self._path, canonical_json(state))

    def set_aside(self) -> Path:
        """Moves a damaged file away, for whoever wants to know what happened to it."""
        aside = self._path.with_suffix(".damaged")
        self._path.rename(aside)
        return aside
