"""Every bound of a server, with its unit."""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record
from fogline_edge.serving.access import AccessConfig
from fogline_edge.serving.front.config import FrontConfig
from fogline_edge.serving.processors import affinity
from fogline_edge.serving.residency.config import ResidencyConfig
from fogline_edge.serving.shared_memory import SharedMemoryConfig

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class ShadowConfig(Record, frozen=True, kw_only=True):
    """What shadow traffic may take; at each bound requests are left out of it."""

    max_waiting: Count = 64
    """Runs that wait to be shadowed."""
    max_bytes: Annotated[int, Meta(ge=1)] = 32 * 2**20
    """Of their tensors."""
    run_timeout_s: Seconds = 10.0
    """Longest run of the version in the shadow."""
    load_interval_s: Seconds = 60.0
    """Between two loads of a version in the shadow that had left memory, which may make others
    leave; as long is waited for one."""


class ServingConfig(Record, frozen=True, kw_only=True):
    """What a server holds at most; at each bound the caller gets RESOURCE_EXHAUSTED."""

    front: FrontConfig = FrontConfig()
    """What listens, and its bounds on connections, calls and messages."""
    access: AccessConfig = AccessConfig()
    """Who may call what."""
    shared_memory: SharedMemoryConfig = SharedMemoryConfig()
    max_watches: Count = 16
    """Calls of `Health/Watch` among them."""
    max_running: Count = affinity()
    """Runs at once, of all models: threads of the pool, and threads of a front that run cheap
    models themselves. The pool never has more than the processors that the process may keep busy,
    by its affinity and its control groups' quotas."""
    processors_interval_s: Seconds = 5.0
    """Between two looks at how many those are."""
    max_queued: Count = 256
    """Requests of one version that wait for a run."""
    loop_run_us: Annotated[float, Meta(ge=0, le=1e6)] = 1000.0
    """Longest run, as measured beforehand, that may happen on the front's own thread, microseconds;
    0: none. While it goes on no other request is read."""
    idle_thread_s: Seconds = 10.0
    """How long a thread of the pool waits for work before it ends."""
    switch_interval_s: Annotated[float, Meta(gt=0, le=1)] = 1e-4
    """After how long a busy thread lets another have the interpreter while the pool has threads:
    with Python's own 5 ms, a busy event loop starves them."""
    residency: ResidencyConfig = ResidencyConfig()
    """Which models are in memory."""
    shadow: ShadowConfig = ShadowConfig()
    """What versions in the shadow may take."""
    run_timeout_s: Seconds = 60.0
    """Longest wait and run together of one request; a caller's own deadline can be shorter."""
    load_memory_bytes: Annotated[int, Meta(ge=1)] = 4 * 2**30
    """Memory of the child in which a model file is proved, some 70 MB of Python's own included."""
    load_timeout_s: Seconds = 120.0
    """How long that may take."""
    drain_s: Seconds = 30.0
    """How long open calls may take to end when the server or a version stops."""
