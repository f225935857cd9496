"""What the registry knows of a model and its versions."""

from datetime import datetime
from enum import StrEnum

from fogline.ids import ModelRef
from fogline.records import Record


class State(StrEnum):
    """Where a version stands; moves are in `registry.MOVES`."""

    PENDING = "pending"
    """Uploaded and proven, but no signed metadata names it yet."""
    PUBLISHED = "published"
    """Signed: devices may install it."""


class Version(Record, frozen=True, kw_only=True):
    model: str
    number: int
    """1, 2, 3 ... per model, without gaps, never reused."""
    manifest: str
    """SHA-256 of the manifest: the version's digest."""
    size_bytes: int
    """Of all files that the manifest lists."""
    state: State
    pushed_by: str
    created_at: datetime
    published_at: datetime | None = None
    verified: bool
    """Whether the bundle says how its answers compare with the original model's."""

    @property
    def ref(self) -> ModelRef:
        return ModelRef(self.model, version=self.number)


class Alias(Record, frozen=True, kw_only=True):
    model: str
    name: str
    number: int
    moved_at: datetime


class Model(Record, frozen=True, kw_only=True):
    name: str
    created_at: datetime
    versions: int
    """How many there are, so also the newest one's number."""
    aliases: dict[str, int]
