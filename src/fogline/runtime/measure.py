"""What running a model takes here: time of a run, memory of this process, bytes of the files."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from fogline.records import Record
from fogline.runtime.plan import MAX_STACK
from fogline.tensors import Array

if TYPE_CHECKING:
    from fogline.runtime.session import Session

_Count = Annotated[int, Meta(ge=0)]
_Amount = Annotated[float, Meta(ge=0)]


class Effort(Record, frozen=True, kw_only=True):
    """How long to measure; the first bound reached ends it, after at least one run."""

    warm_runs: _Count = 3
    runs: Annotated[int, Meta(ge=1)] = 200
    budget_s: Annotated[float, Meta(gt=0)] = 0.2
    """Seconds for warming, and again for measuring."""
    max_stack: Annotated[int, Meta(ge=1, le=MAX_STACK)] = 256
    """Most rows that are tried together; 1: no stacking is tried."""
    stack_s: _Amount = 2.0
    """Seconds for proving stacks of one plan; what is proved by then counts."""


class Latency(Record, frozen=True, kw_only=True):
    """Times of runs of one batch size, in microseconds."""

    rows: _Count
    runs: Annotated[int, Meta(ge=1)]
    us_p50: _Amount
    us_p90: _Amount


def measure_latency(
    session: "Session",
    arrays: Mapping[str, Array],
    *,
    rows: int,
    effort: Effort | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Runs the model on `arrays` again and again, warmed.

    Args:
        session: The model.
        arrays: Its inputs.
        rows: How many rows they are, for the record.
        effort: How long.
        timer: Seconds that never go back.

    Raises:
        FoglineError: a run failed, as `Session.run` says.
    """
    bounds = effort or Effort()
    _timed(session, arrays, bounds.warm_runs, bounds.budget_s, timer)
    taken = sorted(_timed(session, arrays, bounds.runs, bounds.budget_s, timer))
    p50, p90 = (taken[int(part * (len(taken) - 1))] * 1e6 for part in (0.5, 0.9))
    return Latency(rows=rows, runs=len(taken), us_p50=p50, us_p90=p90)


def fastest_us(session: "Session", arrays: Mapping[str, Array], effort: Effort) -> float:
    """The least time of a run, microseconds: the one that others on the machine disturbed least.

    For comparisons; what to expect is `measure_latency`'s median. Raises as `Session.run`.
    """
    _timed(session, arrays, effort.warm_runs, effort.budget_s, time.perf_counter)
    return min(_timed(session, arrays, effort.runs, effort.budget_s, time.perf_counter)) * 1e6


def model_size_bytes(model: Path, external_data: Iterable[Path] = ()) -> int:
    """Bytes of a model file and its external data."""
    return sum(path.stat().st_size for path in (model, *external_data))


def _timed(
    session: "Session",
    arrays: Mapping[str, Array],
    runs: int,
    budget_s: float,
    timer: Callable[[], float],
) -> list[float]:
    taken: list[float] = []
    began = timer()
    while len(taken) < runs and (not taken or timer() - began < budget_s):
        before = timer()
        session.run(arrays)
        taken.append(timer() - before)
    return taken
