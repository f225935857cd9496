"""Every bound of a server, with its unit."""

import os
from typing import Annotated

from msgspec import Meta

from fogline.records import Record

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


def _cores() -> int:
    return len(os.sched_getaffinity(0))


class ServingConfig(Record, frozen=True, kw_only=True):
    """What a server holds at most; at each bound the caller gets RESOURCE_EXHAUSTED."""

    max_message_bytes: Annotated[int, Meta(ge=1024, le=2**31 - 1)] = 64 * 1024 * 1024
    """Longest request or response message."""
    max_calls: Count = 128
    """Calls that are open at once, of all kinds."""
    max_watches: Count = 16
    """Calls of `Health/Watch` among them."""
    max_running: Count = _cores()
    """Runs of one model at once."""
    max_queued: Count = 96
    """Requests of one model that wait for a run."""
    max_models: Count = 64
    """Versions in memory, of all models."""
    run_timeout_s: Seconds = 60.0
    """Longest wait and run together of one request; a caller's own deadline can be shorter."""
    load_memory_bytes: Annotated[int, Meta(ge=1)] = 4 * 2**30
    """Memory of the child in which a model file is proved, some 70 MB of Python's own included."""
    load_timeout_s: Seconds = 120.0
    """How long that may take."""
    drain_s: Seconds = 30.0
    """How long open calls may take to end when the server or a version stops."""
