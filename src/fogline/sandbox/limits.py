"""What a child may use. Memory is resident memory of its whole tree, polled, not address space.

Importing onnxruntime takes 45 MB of memory and 187 MB of address space, so `RLIMIT_AS` would have
to be set where it no longer limits anything. So would `RLIMIT_DATA`: allocators reserve a GiB at
once, and Arrow waits for ever for a thread whose stack was refused.
"""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record

_Positive = Annotated[int, Meta(ge=1)]
_Seconds = Annotated[float, Meta(gt=0)]


class Limits(Record, frozen=True, kw_only=True):
    """Bounds of one child and all that it starts; `None` means no bound of that kind."""

    memory_bytes: _Positive | None = None
    """Resident memory of the child and its descendants, summed; above it all are killed."""
    timeout_s: _Seconds | None = None
    """Wall time from the start; after it all are killed."""
    cpu_s: _Positive | None = None
    """Processor seconds of each process (`RLIMIT_CPU`)."""
    open_files: _Positive | None = 1024
    """`RLIMIT_NOFILE`, lowered to the hard limit where that is less."""
    file_bytes: _Positive | None = None
    """Longest file that each process can write (`RLIMIT_FSIZE`)."""
    threads: _Positive | None = None
    """Threads of the child and its descendants together; above it all are killed."""
    disk_bytes: _Positive | None = None
    """Disk that the scratch folder of a room takes (`room.Room`); above it all are killed. Files
    that the folder no longer shows are bounded by what has to stay free (`scratch.Scratch`)."""
    disk_entries: _Positive = 10_000
    """Files and folders in it, where `disk_bytes` is set."""
    stdout_bytes: _Positive = 4 * 1024 * 1024
    """What is kept of stdout, from its start; the rest is read and dropped."""
    stderr_bytes: _Positive = 64 * 1024
    """What is kept of stderr, from its end."""
    poll_s: _Seconds = 0.02
    """Time between two looks at the memory, where it is bounded; an overshoot lasts at most so
    long. A high-water mark that the kernel keeps catches a peak between two looks."""
    oom_score_adj: Annotated[int, Meta(ge=-1000, le=1000)] | None = 1000
    """1000 makes the kernel kill the child first when the machine's memory runs out; `None` leaves
    the parent's value, which is right for a child that is as important as its parent."""
    network: bool = True
    """False asks for a network namespace without interfaces. `Outcome.isolation` says whether the
    machine granted it."""
