"""Which metrics there are; pure: counts in, families out.

Names follow Prometheus's conventions: base units and their suffix, `_total` for what only grows.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from fogline import __version__
from fogline_edge.serving.calls import FrontCounts
from fogline_edge.serving.exposition import Family, Histogram, expose
from fogline_edge.serving.process import ProcessCounts
from fogline_edge.serving.residency import ResidencyCounts
from fogline_edge.serving.served import ModelCounts, ServedModel
from fogline_edge.serving.statistics import LATENCY_BOUNDS_US, VersionStatistics
from fogline_edge.serving.stepwise import StepCounts
from fogline_edge.serving.versions import VersionStatus

STACK_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper edges of the buckets of stack sizes, rows."""

Labels = dict[str, str]

_OUTBOX = re.compile(r"outbox_(\w+)_(pending|appended|acknowledged|dropped)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All counts at one moment."""

    versions: Sequence[VersionStatistics]
    """What versions have done since the process began, in memory or not."""
    loaded: Sequence[ModelCounts]
    index: Sequence[VersionStatus]
    steps: Sequence[tuple[ServedModel, StepCounts]] = ()
    """Of pipelines."""
    residency: ResidencyCounts
    front: FrontCounts
    process: ProcessCounts
    agent: Mapping[str, int] = field(default_factory=dict)
    """Counters of an agent, by their names in its reports."""


def render(snapshot: Snapshot) -> str:
    """The text of everything."""
    return expose(families(snapshot))


def families(snapshot: Snapshot) -> Iterator[Family]:
    yield Family("fogline_build_info", "gauge", "The build.", [({"version": __version__}, 1)])
    yield from _of_requests(snapshot.versions)
    yield from _of_times(snapshot.versions)
    yield from _of_models(snapshot)
    yield from _of_steps(snapshot.steps)
    yield from _of_residency(snapshot.residency)
    yield from _of_front(snapshot.front)
    yield from _of_process(snapshot.process)
    yield from _of_agent(snapshot.agent)


def _of_requests(versions: Sequence[VersionStatistics]) -> Iterator[Family]:
    yield Family(
        "fogline_requests_total",
        "counter",
        "Requests that have ended, by gRPC status.",
        [
            ({**_labels(v), "code": code}, count)
            for v in versions
            for code, count in (("OK", v.success.count), *sorted(v.failures.items()))
        ],
    )
    yield _counter("fogline_rows_total", "Rows answered.", versions, lambda v: v.rows)
    yield _counter(
        "fogline_runs_total",
        "Runs of the model; fewer than requests where those were stacked.",
        versions,
        lambda v: v.runs,
    )
    yield _counter(
        "fogline_unshadowed_requests_total",
        "Requests that a version in the shadow should have got too, and did not.",
        versions,
        lambda v: v.unshadowed,
    )
    yield Family(
        "fogline_stack_rows",
        "histogram",
        "Rows that were run together.",
        [(_labels(v), _stacks(v)) for v in versions],
    )


def _of_times(versions: Sequence[VersionStatistics]) -> Iterator[Family]:
    yield Family(
        "fogline_request_duration_seconds",
        "histogram",
        "From a request's arrival to its answer.",
        [(_labels(v), _durations(v)) for v in versions],
    )
    for part, text in (
        ("queue", "From arrival to the beginning of a run."),
        ("join", "Putting inputs together."),
        ("infer", "In the model."),
        ("encode", "Writing answers."),
    ):
        yield _counter(
            f"fogline_{part}_seconds_total",
            f"{text} Summed over answered requests.",
            versions,
            partial(_seconds, part),
        )


def _of_models(snapshot: Snapshot) -> Iterator[Family]:
    yield Family(
        "fogline_model_ready",
        "gauge",
        "Whether a request for the version would be answered, if need be after a load.",
        [
            ({"model": row.name, "version": str(row.version)}, int(row.state == "READY"))
            for row in snapshot.index
        ],
    )
    loaded = [
        ({"model": c.served.name, "version": str(c.served.version)}, c) for c in snapshot.loaded
    ]
    yield Family("fogline_models_loaded", "gauge", "Versions in memory.", [({}, len(loaded))])
    yield Family(
        "fogline_requests_in_flight",
        "gauge",
        "Requests that wait or run.",
        [(labels, c.in_flight) for labels, c in loaded],
    )
    yield Family(
        "fogline_model_memory_bytes",
        "gauge",
        "Memory of a version, as measured before it was loaded.",
        [
            ({**labels, "kind": kind}, size)
            for labels, c in loaded
            if (need := c.served.plan.memory) is not None
            for kind, size in (("anonymous", need.anonymous_bytes), ("file", need.file_bytes))
        ],
    )


def _of_steps(steps: Sequence[tuple[ServedModel, StepCounts]]) -> Iterator[Family]:
    for name, text in (
        ("runs", "Runs of a pipeline's step."),
        ("failures", "Runs of a pipeline's step that failed."),
        ("rows", "Rows that a pipeline's step ran on."),
        ("offered_rows", "Rows that came to a pipeline's step."),
    ):
        samples = [(_step_labels(of, s), int(getattr(s, name))) for of, s in steps]
        yield Family(f"fogline_step_{name}_total", "counter", text, samples)
    seconds = [(_step_labels(of, s), s.run_us / 1e6) for of, s in steps]
    yield Family("fogline_step_seconds_total", "counter", "In a pipeline's step.", seconds)


def _step_labels(of: ServedModel, step: StepCounts) -> Labels:
    version = str(of.version)
    return {"model": of.name, "version": version, "step": step.name, "component": step.component}


def _of_residency(counts: ResidencyCounts) -> Iterator[Family]:
    for name, text, value in (
        ("held", "Anonymous memory of the models in memory, as accounted.", counts.held_bytes),
        ("budget", "What they may hold; 0: no budget.", counts.budget_bytes),
    ):
        yield Family(f"fogline_models_{name}_bytes", "gauge", text, [({}, value)])
    for name, text, value in (
        ("loads", "Loads of versions.", counts.loads),
        ("load_failures", "Loads that failed.", counts.failed_loads),
        ("evictions", "Versions that left memory to make room.", counts.evictions),
    ):
        yield Family(f"fogline_model_{name}_total", "counter", text, [({}, value)])


def _of_front(front: FrontCounts) -> Iterator[Family]:
    for name, text, value in (
        ("connections", "Open connections.", front.connections),
        ("calls", "Open calls, of all kinds.", front.calls),
        ("held_bytes", "Of requests and responses under way.", front.held_bytes),
    ):
        yield Family(f"fogline_{name}", "gauge", text, [({}, value)])
    for name, text, value in (
        ("connections_accepted", "Connections since the start.", front.accepted_connections),
        ("connections_refused", "Beyond the bound.", front.refused_connections),
        (
            "connections_faulted",
            "Closed because the peer broke the protocol, flooded or held still.",
            front.faulted_connections,
        ),
        ("calls_received", "Calls since the start, of all kinds.", front.received_calls),
        ("calls_refused", "Beyond a bound on calls or bytes.", front.refused_calls),
    ):
        yield Family(f"fogline_{name}_total", "counter", text, [({}, value)])


def _of_process(process: ProcessCounts) -> Iterator[Family]:
    """By the names that Prometheus's own client libraries give them, where there is one."""
    yield Family(
        "process_cpu_seconds_total", "counter", "User and system time.", [({}, process.cpu_s)]
    )
    for name, text, value in (
        ("process_resident_memory_bytes", "Resident memory.", process.resident_bytes),
        ("process_virtual_memory_bytes", "Virtual memory.", process.virtual_bytes),
        (
            "fogline_process_anonymous_memory_bytes",
            "Resident memory that the kernel cannot take back.",
            process.anonymous_bytes,
        ),
        ("fogline_process_threads", "Threads.", process.threads),
        ("process_open_fds", "Open file descriptors.", process.open_files),
        ("process_max_fds", "Most of them that may be open.", process.max_files),
        ("process_start_time_seconds", "Unix time of the start.", process.started_s),
    ):
        yield Family(name, "gauge", text, [({}, value)])


def _of_agent(counters: Mapping[str, int]) -> Iterator[Family]:
    """Those of the outbox by stream, and what the link has sent; requests are told above."""
    streams: dict[str, list[tuple[Labels, int]]] = {}
    for name, value in counters.items():
        found = _OUTBOX.fullmatch(name)
        if found is not None:
            streams.setdefault(found[2], []).append(({"stream": found[1]}, value))
        elif name not in ("requests", "failures"):
            text = f"{name.replace('_', ' ').capitalize()} since the agent started."
            yield Family(f"fogline_agent_{name}_total", "counter", text, [({}, value)])
    pending = streams.pop("pending", [])
    yield Family("fogline_outbox_pending", "gauge", "Rows that the hub has not stored.", pending)
    for what, samples in streams.items():
        text = f"Rows {what} since the outbox was made."
        yield Family(f"fogline_outbox_{what}_total", "counter", text, samples)


def _labels(version: VersionStatistics) -> Labels:
    return {"model": version.name, "version": str(version.version)}


def _seconds(part: str, version: VersionStatistics) -> float:
    return float(getattr(version, part).ns) / 1e9


def _counter(
    name: str,
    text: str,
    versions: Sequence[VersionStatistics],
    value: Callable[[VersionStatistics], float],
) -> Family:
    return Family(name, "counter", text, [(_labels(v), value(v)) for v in versions])


def _durations(version: VersionStatistics) -> Histogram:
    edges = [us / 1e6 for us in LATENCY_BOUNDS_US]
    return Histogram(edges, version.latency, version.success.ns / 1e9)


def _stacks(version: VersionStatistics) -> Histogram:
    counts = [0] * (len(STACK_BOUNDS) + 1)
    rows = 0
    for size, stack in version.stacks.items():
        counts[bisect_left(STACK_BOUNDS, size)] += stack.runs
        rows += size * stack.runs
    return Histogram(STACK_BOUNDS, counts, rows)
