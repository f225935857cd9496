"""What the alarm service says: alarms with their evidence, and how each version is followed."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from fogline.records import Record

Count = Annotated[int, Meta(ge=0)]


class Evidence(Record, frozen=True, kw_only=True):
    """Why an alarm was raised."""

    e_value: float
    """Against "accuracy has not fallen"; the alarm is raised above `threshold`."""
    threshold: float
    guarantee: str
    """In words, with the stated rate of false alarms."""
    reference_error_bound: float
    """Upper confidence bound of the error rate at training time."""
    rows: Count
    """Labelled rows since the estimated change, and the errors among them."""
    errors: Count


class Alarm(Record, frozen=True, kw_only=True):
    """Accuracy of a version has verifiably fallen."""

    id: int
    model: str
    version: int
    opened_at: datetime
    raised_us: int
    """Event time at which it was raised: the end of the block that decided."""
    change_us: int
    """Event time at which the fall began, as estimated."""
    evidence: Evidence
    resolved_at: datetime | None = None
    resolution: str = ""


class BlockAccuracy(Record, frozen=True, kw_only=True):
    """Labelled rows of a closed block, and the errors among them."""

    start_us: int
    rows: Count
    errors: Count


class AccuracyStatus(Record, frozen=True, kw_only=True):
    """How a version is followed."""

    version: int
    why_not: str = ""
    """Why its accuracy is not followed; empty where it is."""
    e_value: float | None = None
    threshold: float | None = None
    guarantee: str = ""
    blocks_until_us: int
    """Blocks that end by this event time are closed."""
    late_rows: Count
    """Rows of traffic that came after their window was judged."""
    late_labelled: Count
    """Labelled rows that came after their block was closed, and so count for nothing."""
    refused: Count
    """Summaries that do not fit the version's reference."""
