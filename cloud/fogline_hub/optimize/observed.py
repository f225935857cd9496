"""What live devices report of variants: their own measurements decide, where they are known.

A device qualifies each version before it serves it, and measures the latency of one row
(`ModelPlan.one_row_us`). The catalogue does not keep these figures yet, so they are handed over as
a file of records (`--observed`).
"""

import statistics
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from fogline.records import Record
from fogline_hub.optimize.measurement import Measurement


class Observation(Record, frozen=True, kw_only=True):
    """One device's qualification of one variant."""

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    """Of the variant's model file."""
    profile: Annotated[str, Meta(min_length=1, max_length=64)]
    """Name of the device's profile."""
    latency_us: Annotated[float, Meta(gt=0)]
    """Median of one row."""
    peak_memory_bytes: Annotated[int, Meta(ge=0)] = 0
    """0: not reported."""
    threads: Annotated[int, Meta(ge=1)] = 1


Observations = Annotated[tuple[Observation, ...], Meta(max_length=100_000)]


def with_observed(
    one: Measurement, profile: str, observations: Sequence[Observation]
) -> Measurement:
    """The measurement with the median of what devices of that profile report of its file.

    Memory is taken as the most that any reports: a budget holds on each of them.
    """
    own = [o for o in observations if o.profile == profile and o.sha256 == one.sha256]
    if not own or not one.sha256:
        return one
    memory = max(o.peak_memory_bytes for o in own)
    return msgspec.structs.replace(
        one,
        observed_us=statistics.median(o.latency_us for o in own),
        peak_memory_bytes=memory or one.peak_memory_bytes,
    )
