"""May requests be run together? Proved on different rows, never assumed.

Each row of a stack is compared with its own answer alone, at every size up to the largest that is
used, under the session's own options: equal where `|difference| <= 1e-6 + 1e-5 |y|`; whole numbers
and text are the same, and so is the place of the largest score of each row, pixel or token. A stack
that does not gain is not used, and one that takes too long neither.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from fogline.bundle import Tolerance
from fogline.errors import FoglineError, Unsupported
from fogline.records import Record
from fogline.runtime.golden import element_errors
from fogline.runtime.measure import Effort, fastest_us
from fogline.runtime.plan import MAX_STACK
from fogline.runtime.rehearsal import Rows, Source
from fogline.runtime.rows import Keeping, RowVerdict
from fogline.tensors import Array

if TYPE_CHECKING:
    from fogline.runtime.session import Session

EQUAL = Tolerance(absolute=1e-6, relative=1e-5)
"""How far a row's answer in a stack may be from its answer alone."""
MIN_GAIN = 1.1
"""A row in a stack must take less than its time alone divided by this."""
_WORSE = 1.1
"""A larger stack whose rows take longer than this times the best so far is not tried."""
_LOOK_TO = 8
"""Sizes up to this are tried even where smaller ones do not gain."""
_PROBE = Effort(warm_runs=1, runs=15, budget_s=0.02)


class StackReport(Record, frozen=True, kw_only=True):
    """What was found out about running requests together."""

    max_rows: Annotated[int, Meta(ge=1, le=MAX_STACK)] = 1
    """Most rows together; 1: never."""
    reason: Annotated[str, Meta(max_length=1024)] = ""
    """Why not at all, or not more; empty where the size asked for was reached."""
    graph: Literal["kept", "unknown", "mixed"] = "unknown"
    """Whether the graph alone says that rows stay apart (`fogline.runtime.rows`)."""
    rows: Source = "none"
    """Where the rows that were tried came from."""
    worst: Annotated[float, Meta(ge=0)] = 0.0
    """Largest difference between a row alone and in a stack, in units of what is allowed."""
    gain: Annotated[float, Meta(ge=0)] = 1.0
    """Time of a row alone over its time in a stack of `max_rows`."""


@dataclass(slots=True)
class _Alone:
    """Each row's own answer."""

    session: "Session"
    rows: Rows
    deadline_s: float
    answers: list[dict[str, Array]] = field(default_factory=list)

    def answer(self, row: int) -> dict[str, Array]:
        while len(self.answers) <= row:
            one = self.rows.take(len(self.answers), 1)
            self.answers.append(self.session.run(one, deadline_s=self.deadline_s))
        return self.answers[row]

    def expected(self, start: int, count: int) -> dict[str, Array]:
        """Answers to the rows of `rows.take(start, count)`, as a stack of them should be.

        Raises:
            Unsupported: they cannot be put together: scalars, or of different shapes.
        """
        each = [self.answer((start + i) % self.rows.count) for i in range(count)]
        try:
            return {n: np.concatenate([a[n] for a in each]) for n in each[0]}
        except ValueError:
            raise Unsupported("answers to single rows differ in shape, or have no rows") from None


def prove_stacking(
    session: "Session",
    rows: Rows | None,
    *,
    verdict: RowVerdict,
    max_us: float,
    others: Sequence[Rows] = (),
    effort: Effort | None = None,
    deadline_s: float = 30.0,
    timer: Callable[[], float] = time.perf_counter,
) -> StackReport:
    """How many rows of different requests may be run together.

    Args:
        session: The model, opened as it will be run.
        rows: Different rows; None where none could be had.
        verdict: What the graph says.
        max_us: Longest that a whole stack may take, microseconds.
        others: Rows of other forms that the model may be given; stacks hold rows of one form.
        effort: `max_stack` and `stack_s` bound the size and the time.
        deadline_s: For one run.
        timer: Seconds that never go back.

    A stack that fails is a reason against stacking, not against the model.
    """
    bounds = effort or Effort()
    known = StackReport(graph=verdict.keeping.value, rows="none" if rows is None else rows.source)
    if verdict.keeping is Keeping.MIXED:
        return _no(known, f"rows do not stay apart: {verdict.why}")
    if rows is None or not rows.is_batch:
        return _no(known, "there are no rows to try it with")
    if not rows.differ:
        return _no(known, "all rows that it could be tried with are equal")
    if bounds.max_stack < 2 or not bounds.stack_s:
        return _no(known, "stacking was not tried")
    until = timer() + bounds.stack_s
    try:
        best, times = _largest(session, rows, max_us, bounds.max_stack)
        if best < 2:
            return _no(known, _no_gain(times, max_us))
        report = _proved(known, _Alone(session, rows, deadline_s), best, times, until, timer)
        return _held_to_others(report, [_Alone(session, o, deadline_s) for o in others])
    except FoglineError as e:
        return _no(known, f"rows cannot be run together: {e}")


def _largest(
    session: "Session", rows: Rows, max_us: float, max_stack: int
) -> tuple[int, dict[int, float]]:
    """The largest size that gains, and the time of a stack of each size tried, microseconds."""
    times = {1: fastest_us(session, rows.take(0, 1), _PROBE)}
    best, best_us = 1, times[1] / MIN_GAIN
    size = 2
    while size <= max_stack:
        found = times[size] = fastest_us(session, rows.take(0, size), _PROBE)
        if found > max_us or (found / size > best_us * _WORSE and size >= _LOOK_TO):
            break
        if found / size <= best_us * (1 if best == 1 else _WORSE):
            best, best_us = size, min(best_us, found / size)
        size = max_stack if size < max_stack < 2 * size else 2 * size
    return best, times


def _no_gain(times: Mapping[int, float], max_us: float) -> str:
    size = max(times)
    if times[size] > max_us:
        return f"{size} rows take {times[size]:.0f} us together, at most {max_us:.0f} us may pass"
    return (
        f"no gain: {size} rows take {times[size]:.0f} us together, {size * times[1]:.0f} us alone"
    )


def _proved(
    known: StackReport,
    alone: _Alone,
    best: int,
    times: Mapping[int, float],
    until: float,
    timer: Callable[[], float],
) -> StackReport:
    """Runs stacks of every size from 2 to `best`, each with other rows than the one before."""
    worst, proved, start = 0.0, 1, 0
    for size in range(2, best + 1):
        given = alone.rows.take(start, size)
        expected = alone.expected(start, size)
        found = alone.session.run(given, deadline_s=alone.deadline_s)
        error, why = _compare(found, expected)
        worst = max(worst, error)
        if why:
            return _no(known, f"a row's answer is another among {size} rows: {why}")
        proved, start = size, start + size
        if timer() >= until:
            break
    used = max((s for s in times if s <= proved), default=1)
    gain = times[1] * used / times[used]
    if used < 2 or gain < MIN_GAIN:
        return _no(known, f"only {proved} rows were proved in time, which do not gain")
    reason = "" if proved == best else f"{best} rows gain, {proved} were proved in time"
    return replace(known, max_rows=proved, worst=worst, gain=gain, reason=reason)


def _held_to_others(report: StackReport, others: Sequence[_Alone]) -> StackReport:
    """The smallest stacks and the largest, of rows of each other form that the model takes."""
    for alone in others if report.max_rows > 1 else ():
        try:
            alone.answer(0)
        except FoglineError:  # not a form of its
            continue
        for size in sorted({2, min(3, report.max_rows), report.max_rows}):
            found = alone.session.run(alone.rows.take(1, size), deadline_s=alone.deadline_s)
            _, why = _compare(found, alone.expected(1, size))
            if why:
                form = {n: list(a.shape[1:]) for n, a in alone.rows.arrays.items()}
                return _no(
                    replace(report, max_rows=1, gain=1.0),
                    f"a row's answer is another among {size} rows of {form}: {why}",
                )
    return report


def _compare(found: Mapping[str, Array], expected: Mapping[str, Array]) -> tuple[float, str]:
    """Largest error in units of what is allowed, and what does not pass."""
    worst = 0.0
    for name, wanted in expected.items():
        answer = found[name]
        if answer.shape != wanted.shape or answer.dtype != wanted.dtype:
            return (
                worst,
                f"output {name[:80]!r} is {list(answer.shape)}, alone {list(wanted.shape)}",
            )
        error = float(element_errors(answer, wanted, EQUAL).max(initial=0.0))
        if error > 1:
            return worst, f"output {name[:80]!r} is further off than rounding explains"
        worst = max(worst, error)
        if _flips(answer, wanted):
            return worst, f"output {name[:80]!r} has its largest score elsewhere"
    return worst, ""


def _flips(found: Array, wanted: Array) -> bool:
    """Whether what is read as a label may be another one.

    Classes are the last dimension of tables and of tokens, and the second one of images.
    """
    if wanted.dtype.kind != "f" or not wanted.size:
        return False
    axes = {1, wanted.ndim - 1} if wanted.ndim > 1 else ()
    return any(bool(np.any(found.argmax(axis=a) != wanted.argmax(axis=a))) for a in axes)


def _no(known: StackReport, reason: str) -> StackReport:
    return replace(known, reason=reason[:1024])
