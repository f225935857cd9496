"""What each version has done: counts, times and stack sizes, exact, since the process started.

Times are nanoseconds, as the protocol's statistics extension has them: a request's queue time goes
from its arrival (so reading it is part of it) to where its stack is put together, and the time of a
stack counts for each request in it.
"""

import threading
from bisect import bisect_left
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from fogline.wire.status import status_of
from fogline_edge.serving.jobs import Ran

LATENCY_BOUNDS_US = (
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000,
    100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000,
)  # fmt: skip
"""Upper edges of the latency buckets, microseconds; one more bucket is above them."""


@dataclass(slots=True)
class Duration:
    """How often, and how long in all."""

    count: int = 0
    ns: int = 0

    def add(self, count: int, seconds: float) -> None:
        self.count += count
        self.ns += int(seconds * 1e9)


@dataclass(slots=True)
class StackCounts:
    """Runs of one stack size."""

    runs: int = 0
    ns: int = 0


@dataclass(slots=True)
class VersionStatistics:
    """Of one version; given away as copies."""

    name: str
    version: int
    rows: int = 0
    """Answered well."""
    runs: int = 0
    """Of the model: fewer than requests where they were stacked."""
    last_ms: int = 0
    """When the last request came, Unix milliseconds."""
    success: Duration = field(default_factory=Duration)
    failure: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    join: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)
    encode: Duration = field(default_factory=Duration)
    stacks: dict[int, StackCounts] = field(default_factory=dict)
    """By rows of a run, up to `MAX_STACK_SIZES` of them."""
    failures: dict[str, int] = field(default_factory=dict)
    """By gRPC status."""
    latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_US) + 1))
    """Answered requests by the time that they took, in `LATENCY_BOUNDS_US`."""


MAX_STACK_SIZES = 256
"""Different sizes that are counted apart; more of them are counted in the runs alone."""
MAX_VERSIONS = 1024
"""Versions that are counted; the oldest are forgotten beyond it."""


class Statistics:
    """Of all versions that have been asked. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: dict[tuple[str, int], VersionStatistics] = {}

    def record(self, ran: Ran, encoded: float, now_ms: int, failures: int = 0) -> None:
        """Takes note of a run whose answers have been written.

        Args:
            ran: The run.
            encoded: When its answers were written, monotonic seconds.
            now_ms: Now, Unix milliseconds.
            failures: How many of its requests got an error in place of an answer all the same.
        """
        served = ran.jobs[0].served
        jobs = ran.jobs
        with self._lock:
            found = self._of(served.name, served.version)
            found.last_ms = now_ms
            if ran.error is not None:
                status = status_of(ran.error).name
                found.failures[status] = found.failures.get(status, 0) + len(jobs)
                found.failure.add(len(jobs), sum([encoded - job.arrived for job in jobs]))
                return
            self._record_run(found, ran, encoded, failures)

    def refuse(self, name: str, version: int, status: str, now_ms: int) -> None:
        """Counts a request that was turned away before it could wait."""
        with self._lock:
            found = self._of(name, version)
            found.last_ms = now_ms
            found.failures[status] = found.failures.get(status, 0) + 1
            found.failure.count += 1

    def snapshot(self, name: str = "") -> Sequence[VersionStatistics]:
        """Copies, by name and version; of one model alone if it is named."""
        with self._lock:
            return [
                deepcopy(found)
                for key, found in sorted(self._versions.items())
                if not name or key[0] == name
            ]

    def _record_run(
        self, found: VersionStatistics, ran: Ran, encoded: float, failures: int
    ) -> None:
        jobs = ran.jobs
        count = len(jobs) - failures
        run_s = ran.ended - ran.joined
        rows = sum([job.request.rows for job in jobs])
        arrived = [job.arrived for job in jobs]
        queued_s = ran.started * len(jobs) - sum(arrived)
        found.rows += rows
        found.runs += 1
        found.success.add(count, encoded * len(jobs) - sum(arrived))
        found.queue.add(count, queued_s)
        found.infer.add(count, run_s * count)
        found.encode.add(count, (encoded - ran.ended) * count)
        found.join.add(count, (ran.joined - ran.started) * count)
        if failures:
            found.failure.count += failures
            found.failures["RESOURCE_EXHAUSTED"] = (
                found.failures.get("RESOURCE_EXHAUSTED", 0) + failures
            )
        stack = found.stacks.get(rows)
        if stack is None and len(found.stacks) < MAX_STACK_SIZES:
            stack = found.stacks[rows] = StackCounts()
        if stack is not None:
            stack.runs += 1
            stack.ns += int(run_s * 1e9)
        latency = found.latency
        for at in arrived:
            latency[bisect_left(LATENCY_BOUNDS_US, (encoded - at) * 1e6)] += 1

    def _of(self, name: str, version: int) -> VersionStatistics:
        found = self._versions.get((name, version))
        if found is None:
            while len(self._versions) >= MAX_VERSIONS:
                del self._versions[next(iter(self._versions))]
            found = self._versions[name, version] = VersionStatistics(name, version)
        return found
