"""A retraining, and the data that it was made from."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from msgspec import Meta

from fogline.desired import Digest
from fogline.records import Record
from fogline_hub.retrain.judge import Judgement
from fogline_hub.retrain.states import Event, State

Count = Annotated[int, Meta(ge=0)]


class DatasetFacts(Record, frozen=True, kw_only=True):
    """What was asked of the lake and what came; stands as `dataset.json` beside the rows."""

    model: str
    columns: tuple[str, ...]
    """Inputs, in the order of the model's schema."""
    since_us: int
    """Event times: first training row, first held-out row, end of the held-out ones."""
    holdout_us: int
    until_us: int
    train_rows: Count
    holdout_rows: Count
    repeated: Count
    """Rows left out: that stand twice, that lack an input, whose actual is no known label."""
    incomplete: Count
    unknown_labels: Count
    beyond_bound: Count
    """The oldest training rows and newest held-out ones beyond the bound on rows."""
    constant: str
    """The most frequent label among the training rows, by weight."""
    lake_versions: dict[str, int]
    """Versions of the Delta tables at least as new as those that were read."""
    train_sha256: Digest
    holdout_sha256: Digest


class Retraining(Record, frozen=True, kw_only=True):
    """One attempt to replace a champion."""

    id: int
    model: str
    champion: int
    """The version to beat."""
    alarm: int | None
    """What set it off; None when a person did."""
    asked_by: str
    state: State
    reason: str
    """Why it stands where it stands, or how it ended."""
    change_us: int
    ended_us: int
    dataset: DatasetFacts | None
    judgement: Judgement | None
    challenger: int | None
    rollout: int | None
    created_at: datetime
    changed_at: datetime

    @property
    def subject(self) -> str:
        """As the audit log names it."""
        return f"retraining {self.id} of {self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step of a retraining came to; fields that are None leave what is known."""

    event: Event
    reason: str = ""
    dataset: DatasetFacts | None = None
    judgement: Judgement | None = None
    challenger: int | None = None
    rollout: int | None = None
