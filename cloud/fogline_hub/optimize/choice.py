"""Which variants earn their place: a pure decision over what was measured."""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record
from fogline_hub.optimize.quality import Quality


class Earning(Record, frozen=True, kw_only=True):
    """What a variant has to bring, against the base."""

    max_loss: Annotated[float, Meta(ge=0, le=1)] = 0.005
    """Of quality, and share of held-out rows whose label may change."""
    smaller: Annotated[float, Meta(gt=0, le=1)] = 0.95
    """At most this share of the base's bytes counts as smaller."""
    faster: Annotated[float, Meta(gt=0, le=1)] = 0.9
    """At most this share of the base's median latency counts as faster."""
    slower: Annotated[float, Meta(ge=1)] = 1.25
    """More than this share of the base's latency is too slow for a variant that is only smaller."""
    larger: Annotated[float, Meta(ge=1)] = 1.05
    """More than this share of the base's bytes is too large for one that is only faster."""


class Timing(Record, frozen=True, kw_only=True):
    """Latency of one row at one thread, in microseconds."""

    p10: float
    p50: float
    p90: float
    runs: int


class Measurement(Record, frozen=True, kw_only=True):
    """One variant as it was measured."""

    name: str
    precision: str
    size_bytes: int
    timing: Timing | None = None
    """None for one that was turned away before it was timed."""
    peak_memory_bytes: int = 0
    quality: Quality | None = None
    golden_difference: float = 0.0
    """Largest difference from a golden answer."""
    is_kept: bool = False
    reason: str = ""
    """Why it was kept or turned away."""


def screen(size_bytes: int, base_bytes: int, earning: Earning) -> str:
    """Why a file is not worth measuring; empty if it is."""
    if size_bytes > earning.larger * base_bytes:
        return f"larger: {size_bytes / base_bytes:.2f} of the bytes"
    return ""


def verdict(base: Measurement, one: Measurement, earning: Earning) -> tuple[bool, str]:
    """Whether a measured variant earns its place beside the base, and why."""
    quality = one.quality
    if base.timing is None or one.timing is None or quality is None:
        return False, one.reason or "not measured"
    if quality.loss is not None and quality.loss > earning.max_loss:
        return False, f"loses {quality.loss:.4f} of {quality.metric}"
    if quality.label_flips > earning.max_loss * quality.rows:
        return False, f"flips {quality.label_flips} of {quality.rows} labels"
    size = one.size_bytes / base.size_bytes
    latency = one.timing.p50 / base.timing.p50
    # Faster has to be more than noise: the slow end of one before the fast end of the other.
    is_faster = latency <= earning.faster and one.timing.p50 < base.timing.p10
    told = f"{size:.2f} of the bytes, {latency:.2f} of the latency"
    if size <= earning.smaller and latency <= earning.slower:
        return True, f"smaller: {told}"
    if is_faster and size <= earning.larger:
        return True, f"faster: {told}"
    return False, f"neither small nor fast enough: {told}"
