"""The desired-state document: what one device should run, as the hub's word and the agent's order.

Canonical JSON of `DesiredState` is what travels; its SHA-256 is its digest. A device refuses a
lower generation than the one it holds, so a document is never reordered into the past.
"""

from typing import Annotated, Literal

from msgspec import Meta

from fogline.records import Record

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""SHA-256 as 64 lower-case hexadecimal digits."""
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]
Positive = Annotated[int, Meta(ge=1)]

MAX_INLINE_BYTES = 32 * 1024
"""A longer document is sent by URL, in bytes."""


class CapturePolicy(Record, frozen=True, kw_only=True):
    """What of a model's traffic comes home. Every bound has its unit in its name."""

    sample_rate: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """Base inclusion probability of a row."""
    strategy: Literal["uniform", "uncertain"] = "uniform"
    """`uncertain` raises the probability of rows that the model is unsure about, never above 1."""
    max_rows_per_hour: Positive = 36_000
    """Above it the base rate falls before the draw, so that every probability stays true."""
    window_s: Positive = 3600
    """Length of a summary window in event time, seconds."""
    flush_interval_s: Annotated[float, Meta(gt=0, le=3600)] = 10.0
    """Longest time that a partial summary or sample waits before it is in the outbox; what a crash
    can lose, and counts."""


class DesiredModel(Record, frozen=True, kw_only=True):
    """One model version that should serve."""

    name: Name
    version: Positive
    manifest: Digest
    """SHA-256 of the version's manifest; must be what the signed metadata says of `target`."""
    target: str
    """TUF target path of the manifest: `models/NAME/VERSION/manifest.json`."""
    capture: CapturePolicy = CapturePolicy()
    visible: bool = True
    """Whether clients are answered for it by its name; a component of pipelines need not be."""


class DesiredState(Record, frozen=True, kw_only=True):
    """All that one device should run; an empty `models` means serve nothing."""

    generation: Annotated[int, Meta(ge=1)]
    models: tuple[DesiredModel, ...] = ()
    retry: bool = False
    """Clears the device's memory of rejected digests, so that they are tried once more."""


def target_path(name: str, version: int) -> str:
    """TUF target path of a version's manifest."""
    return f"models/{name}/{version}/manifest.json"
