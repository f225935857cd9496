"""What models may hold of a machine's memory, and what happens at that bound."""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record
from fogline_edge.serving.processors import affinity

Bytes = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Percent = Annotated[float, Meta(gt=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]


class PressureConfig(Record, frozen=True, kw_only=True):
    """When the machine is short of memory, and what is then given back."""

    interval_s: Seconds = 1.0
    """Between two readings."""
    stall_us: Annotated[int, Meta(ge=1000, le=2_000_000)] = 150_000
    """Standstill within two seconds at which the kernel is asked to call, microseconds."""
    tight_some: Percent = 10.0
    """Per cent of ten seconds in which some tasks stood still: idle models begin to leave."""
    critical_full: Percent = 5.0
    """Per cent of ten seconds in which all did: all idle models leave."""
    tight_room: Share = 0.06
    """Free share of the machine's, or the control group's, memory at which idle models leave."""
    critical_room: Share = 0.03
    """... at which all of them leave."""
    keep: Share = 0.75
    """What models may hold at most after a tight reading, of what they held."""
    calm_s: Seconds = 30.0
    """How long it must have been calm until models may hold more again."""


class ResidencyConfig(Record, frozen=True, kw_only=True):
    """Bounds on the models in memory; at each a caller is told which, with the numbers."""

    model_memory_bytes: Bytes = 0
    """Anonymous memory of all models together, while one is loaded too; 0: no budget."""
    reserve: Share = 0.06
    """Share of the budget that no load uses, for what nobody measured."""
    runs_at_once: Count = affinity()
    """Runs that go on together: as much is kept for each as the hungriest version takes, in memory
    or on its way in, if that is more than the reserve; or what runs were seen to take together, if
    that is more still."""
    max_loaded: Count = 64
    """Versions in memory at once."""
    max_waiting: Count = 1024
    """Callers that wait for loads; one more is refused."""
    max_waiting_each: Count = 256
    """Of these, callers that wait for one version, so that one that loads slowly leaves places."""
    pinned: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    """`NAME` or `NAME@VERSION` of what never leaves memory to make room."""
    make_room_s: Seconds = 10.0
    """How long a load waits for running requests of versions that are to make room; other loads
    go on meanwhile."""
    retry_base_s: Seconds = 1.0
    """Until a load that failed is tried again; doubles up to `retry_cap_s`."""
    retry_cap_s: Seconds = 300.0
    pressure: PressureConfig = PressureConfig()
