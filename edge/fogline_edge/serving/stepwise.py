"""What the steps of pipelines have done; light to import, as all who tell of it do."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from fogline_edge.serving.models import Models
from fogline_edge.serving.served import ServedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCounts:
    """One step since its pipeline was loaded."""

    name: str
    component: str
    """`NAME`, or `NAME@VERSION` where the definition pins it."""
    version: str
    """Of the component at the last run; empty before it."""
    runs: int
    """Those that failed included."""
    failures: int
    skipped: int
    """Requests whose rows all went without this step."""
    rows: int
    """That it ran on."""
    offered_rows: int
    """Of the requests that came to it, those that it ran on or not: `rows / offered_rows` is the
    share that went on, in a cascade."""
    run_us: int
    """Time of all runs together, microseconds, those that failed included."""


class StepTally:
    """Counts one step; safe to use from any thread."""

    __slots__ = ("_lock", "component", "failures", "name", "offered", "rows", "run_s", "runs",
                 "skipped", "version")  # fmt: skip

    def __init__(self, name: str, component: str) -> None:
        self._lock = threading.Lock()
        self.name = name
        self.component = component
        self.version = ""
        self.runs = self.failures = self.skipped = self.rows = self.offered = 0
        self.run_s = 0.0

    def ran(self, version: str, rows: int, offered: int, run_s: float, *, failed: bool) -> None:
        with self._lock:
            self.version = version
            self.runs += 1
            self.failures += failed
            self.rows += rows
            self.offered += offered
            self.run_s += run_s

    def skip(self, offered: int) -> None:
        with self._lock:
            self.skipped += 1
            self.offered += offered

    def counts(self) -> StepCounts:
        with self._lock:
            return StepCounts(
                name=self.name,
                component=self.component,
                version=self.version,
                runs=self.runs,
                failures=self.failures,
                skipped=self.skipped,
                rows=self.rows,
                offered_rows=self.offered,
                run_us=round(self.run_s * 1e6),
            )


@runtime_checkable
class Stepwise(Protocol):
    """A runner that consists of steps and counts them: a pipeline's."""

    def steps(self) -> tuple[StepCounts, ...]:
        """All steps in the order of the definition."""


def steps_of(models: Models) -> Iterator[tuple[ServedModel, StepCounts]]:
    """The steps of every pipeline in memory, each with its pipeline."""
    for entry in models.entries():
        runner = entry.served.runner
        if isinstance(runner, Stepwise):
            for step in runner.steps():
                yield entry.served, step
