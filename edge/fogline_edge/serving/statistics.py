"""What each version has done: counts, times and stack sizes, exact, since the process started.

Times are nanoseconds, as the protocol's statistics extension has them: a request's queue time goes
from its arrival (so reading it is part of it) to where its stack is put together, and the time of a
stack counts for each request in it.
"""

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fogline.clock import Clock
from fogline.errors import FoglineError
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
    unshadowed: int = 0
    """Requests that another version in the shadow should have got too, and did not."""


MAX_STACK_SIZES = 256
"""Different sizes that are counted apart; more of them are counted in the runs alone."""
MAX_VERSIONS = 1024
"""Versions that are counted; the oldest are forgotten beyond it."""


class _Tally:
    """Of one version, as it grows; seconds, because adding floats is cheaper than rounding them."""

    __slots__ = (
        "answered", "encode_s", "failed", "failed_s", "failures", "infer_s", "join_s", "last",
        "latency", "queue_s", "rows", "runs", "stacks", "success_s", "unshadowed",
    )  # fmt: skip

    def __init__(self) -> None:
        self.rows = self.runs = self.answered = self.failed = self.unshadowed = 0
        self.last = 0.0
        self.success_s = self.failed_s = 0.0
        self.queue_s = self.join_s = self.infer_s = self.encode_s = 0.0
        self.stacks: dict[int, list[float]] = {}
        """By rows of a run: how many runs, and their seconds."""
        self.failures: dict[str, int] = {}
        self.latency = [0] * (len(LATENCY_BOUNDS_US) + 1)

    def stack(self, rows: int, run_s: float) -> None:
        stack = self.stacks.get(rows)
        if stack is not None:
            stack[0] += 1
            stack[1] += run_s
        elif len(self.stacks) < MAX_STACK_SIZES:
            self.stacks[rows] = [1, run_s]

    def fail(self, status: str, count: int) -> None:
        self.failed += count
        self.failures[status] = self.failures.get(status, 0) + count


class Statistics:
    """Of all versions that have been asked. Safe to use from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tallies: dict[tuple[str, int], _Tally] = {}

    def record(
        self,
        ran: Ran,
        rows: int,
        latency_us: Sequence[int],
        encoded: float,
        failed: Mapping[int, FoglineError],
    ) -> None:
        """Takes note of a run whose answers have been written.

        Args:
            ran: The run.
            rows: Of its requests together.
            latency_us: From each request's arrival to its answer, microseconds.
            encoded: When the answers were written, monotonic seconds.
            failed: What requests of a run that went well got all the same, by their place in it.
        """
        jobs = ran.jobs
        served = jobs[0].served
        count = len(jobs)
        arrived = jobs[0].arrived if count == 1 else sum([job.arrived for job in jobs])
        with self._lock:
            tally = self._tallies.get((served.name, served.version))
            if tally is None:
                tally = self._of(served.name, served.version)
            tally.last = encoded
            if ran.error is not None:
                tally.fail(status_of(ran.error).name, count)
                tally.failed_s += encoded * count - arrived
                return
            run_s = ran.ended - ran.joined
            answered = rows
            if failed:
                for place, error in failed.items():
                    tally.fail(status_of(error).name, 1)
                    tally.failed_s += encoded - jobs[place].arrived
                    answered -= jobs[place].request.rows
                    arrived -= jobs[place].arrived
                count -= len(failed)
                latency_us = [us for i, us in enumerate(latency_us) if i not in failed]
            tally.answered += count
            tally.rows += answered
            tally.runs += 1
            tally.success_s += encoded * count - arrived
            tally.queue_s += ran.started * count - arrived
            tally.join_s += (ran.joined - ran.started) * count
            tally.infer_s += run_s * count
            tally.encode_s += (encoded - ran.ended) * count
            tally.stack(rows, run_s)
            latency = tally.latency
            for took_us in latency_us:
                latency[bisect_left(LATENCY_BOUNDS_US, took_us)] += 1

    def record_step(
        self, name: str, version: int, rows: int, took_s: float, error: FoglineError | None
    ) -> None:
        """Takes note of a run that a pipeline's step made of a model; nothing of it waited."""
        with self._lock:
            tally = self._of(name, version)
            tally.last = self._clock.monotonic()
            if error is not None:
                tally.fail(status_of(error).name, 1)
                tally.failed_s += took_s
                return
            tally.answered += 1
            tally.rows += rows
            tally.runs += 1
            tally.success_s += took_s
            tally.infer_s += took_s
            tally.stack(rows, took_s)
            tally.latency[bisect_left(LATENCY_BOUNDS_US, took_s * 1e6)] += 1

    def refuse(self, name: str, version: int, status: str) -> None:
        """Counts a request that was turned away before it could wait."""
        with self._lock:
            tally = self._of(name, version)
            tally.last = self._clock.monotonic()
            tally.fail(status, 1)

    def leave_unshadowed(self, name: str, version: int, requests: int) -> None:
        """Counts answered requests that were left out of shadow traffic."""
        with self._lock:
            self._of(name, version).unshadowed += requests

    def snapshot(self, name: str = "") -> Sequence[VersionStatistics]:
        """What there is now, by name and version; of one model alone if it is named."""
        now_ms = self._clock.now().timestamp() * 1e3 - self._clock.monotonic() * 1e3
        with self._lock:
            return [
                _told(key, tally, now_ms)
                for key, tally in sorted(self._tallies.items())
                if not name or key[0] == name
            ]

    def _of(self, name: str, version: int) -> _Tally:
        found = self._tallies.get((name, version))
        if found is None:
            while len(self._tallies) >= MAX_VERSIONS:
                del self._tallies[next(iter(self._tallies))]
            found = self._tallies[name, version] = _Tally()
        return found


def _told(key: tuple[str, int], tally: _Tally, began_ms: float) -> VersionStatistics:
    count = tally.answered
    return VersionStatistics(
        name=key[0],
        version=key[1],
        rows=tally.rows,
        runs=tally.runs,
        last_ms=int(began_ms + tally.last * 1e3),
        success=Duration(count, int(tally.success_s * 1e9)),
        failure=Duration(tally.failed, int(tally.failed_s * 1e9)),
        queue=Duration(count, int(tally.queue_s * 1e9)),
        join=Duration(count, int(tally.join_s * 1e9)),
        infer=Duration(count, int(tally.infer_s * 1e9)),
        encode=Duration(count, int(tally.encode_s * 1e9)),
        stacks={n: StackCounts(int(runs), int(s * 1e9)) for n, (runs, s) in tally.stacks.items()},
        failures=dict(tally.failures),
        latency=list(tally.latency),
        unshadowed=tally.unshadowed,
    )
