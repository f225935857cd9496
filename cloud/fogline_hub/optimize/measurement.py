"""What is known of one variant."""

from typing import Annotated, Literal

from msgspec import Meta

from fogline.records import Record
from fogline_hub.optimize.quality import Quality

Evidence = Literal["", "exact", "proven", "unproven"]
"""`exact`: the same answers on every row, as it is made to give. `proven`: the bound is within the
allowance. `unproven`: what was seen is within it, but too few rows were. Empty: neither."""


class Timing(Record, frozen=True, kw_only=True):
    """Latency of one row, in microseconds."""

    p10: float
    p50: float
    p90: float
    runs: int
    threads: Annotated[int, Meta(ge=1)] = 1


class Measurement(Record, frozen=True, kw_only=True):
    """One variant as it was measured."""

    name: str
    precision: str
    size_bytes: int
    """Of the model and its external data."""
    sha256: str = ""
    """Of the model file; what devices report is matched by it."""
    transfer_bytes: int = 0
    """Of the same, deflated."""
    external: tuple[str, ...] = ()
    """Names of files beside the model."""
    prepack: bool = True
    """The plan that it was measured with."""
    is_stackable: bool = True
    timing: Timing | None = None
    """At one thread; None for one that was turned away before it was timed."""
    timing_threads: Timing | None = None
    """At the profile's threads, where these are more than one."""
    estimate_us: float | None = None
    """Of the latency on the profile's device, which is not there."""
    observed_us: float | None = None
    """Latency that live devices of this kind report; it decides where it is known."""
    peak_memory_bytes: int = 0
    quality: Quality | None = None
    loss_bound: float | None = None
    """Upper bound of what is lost, at the search's error rate."""
    evidence: Evidence = ""
    golden_difference: float = 0.0
    """Largest difference from a golden answer."""
    note: str = ""
    """What its maker says, such as which nodes were left in float."""
    seconds: float = 0.0
    """That making and asking it took."""
    is_cached: bool = False
    is_kept: bool = False
    is_pareto: bool = False
    reason: str = ""
    """Why it was kept or turned away."""

    @property
    def is_measured(self) -> bool:
        return self.timing is not None and self.quality is not None
