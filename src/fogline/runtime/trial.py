"""Runs a loaded model to find out what its plan should be: times, stacks, memory."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from fogline.bundle import GoldenCase
from fogline.errors import DeadlineExceeded, FoglineError
from fogline.runtime.measure import Effort, Latency, measure_latency
from fogline.runtime.memory import Growth
from fogline.runtime.plan import ModelPlan
from fogline.runtime.rehearsal import Rows, made_up_rows, other_forms, rows_of_cases, whole_case
from fogline.runtime.rows import Keeping, RowVerdict
from fogline.runtime.session import Session, open_smallest
from fogline.runtime.settle import Ratio, placement_of, stack_limit_us
from fogline.runtime.stacking import StackReport, prove_stacking
from fogline.tensors import Array

MADE_UP_S = 1.0
"""Longest run of made-up inputs; a model that takes longer is not tried."""
_PROBE_ROWS = 8
"""What the time of a further row is taken from, where nothing is stacked."""
_PROBE = Effort(warm_runs=1, runs=5, budget_s=0.02)
_TURNS, _TURNS_S = 40, 0.2
"""Most turns of two sessions, and seconds for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is known of a model before it is run."""

    cases: Sequence[GoldenCase]
    verdict: RowVerdict
    operators: Collection[str]
    is_sized: bool
    """Values of inputs decide sizes inside."""
    effort: Effort
    run_s: float
    """Longest run."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a model may be tried with."""

    rows: Rows | None
    others: tuple[Rows, ...] = ()
    """Of other forms."""
    why: str = ""
    """Why there are none."""
    made: float = field(default_factory=time.monotonic)
    """Monotonic seconds; what had begun to grow by then holds the rows too."""

    @property
    def size_bytes(self) -> int:
        return sum(r.size_bytes for r in (self.rows, *self.others) if r is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One plan, as it was measured."""

    plan: ModelPlan
    """With `placement`, stacks, costs and memory."""
    stack: StackReport


def warm_up() -> None:
    """Measures a model of four nodes, so that what measuring itself takes is there before."""
    session = open_smallest()
    subject = Subject(
        cases=(),
        verdict=RowVerdict(Keeping.KEPT),
        operators=(),
        is_sized=False,
        effort=Effort(warm_runs=1, runs=2, max_stack=8, stack_s=0.01),
        run_s=1.0,
    )
    rehearsal, growth = rehearse(session, subject), Growth()
    alone, _ = measure_alone(session, ModelPlan(), subject, rehearsal, growth)
    measure_stacked(session, alone, subject, rehearsal, growth)


def rehearse(session: Session, subject: Subject) -> Rehearsal:
    """Rows of the golden cases, or made-up ones that the model takes.

    Raises:
        DeadlineExceeded: a row of a golden case takes too long.
    """
    count = subject.effort.max_stack
    if subject.cases:
        first, *others = rows_of_cases(session.inputs, subject.cases, count)
        try:
            session.run(first.one(), deadline_s=subject.run_s)
        except DeadlineExceeded:
            raise
        except FoglineError:  # it takes the case, but no row of it alone
            return Rehearsal(whole_case(subject.cases[0]))
        return Rehearsal(first, tuple(others))
    for rows in made_up_rows(session.inputs, count):
        try:
            session.run(rows.one(), deadline_s=min(subject.run_s, MADE_UP_S))
        except DeadlineExceeded:
            return Rehearsal(None, why=f"made-up inputs took longer than {MADE_UP_S} s")
        except FoglineError:  # it wants others: an index into a small table, a number in a text
            continue
        return Rehearsal(rows, tuple(other_forms(session.inputs, rows)))
    return Rehearsal(None, why="it does not run on made-up inputs")


def measure_alone(
    session: Session, plan: ModelPlan, subject: Subject, rehearsal: Rehearsal, growth: Growth
) -> tuple[Trial, Latency | None]:
    """Measures a session that was opened by `plan` after `growth` began, one request at a time.

    Returns:
        The plan with all that was measured, nothing stacked, and the time of one run; None where
        there was nothing to run it on.

    Raises:
        FoglineError: a run failed that did not before.
    """
    rows = rehearsal.rows
    stack = StackReport(graph=subject.verdict.keeping.value, reason=rehearsal.why or "not tried")
    found = replace(plan, placement="pool", max_stack=1)
    if rows is None:
        return Trial(plan=replace(found, memory=growth.need()), stack=stack), None
    one = measure_latency(session, rows.one(), rows=1, effort=subject.effort)
    placement = placement_of(
        one.us_p50,
        inputs=session.inputs,
        operators=subject.operators,
        is_sized=subject.is_sized,
    )
    growth.pause()  # what is only tried does not count
    found = replace(found, placement=placement, one_row_us=one.us_p50, row_us=one.us_p50)
    return _weighed(session, Trial(plan=found, stack=stack), subject, rehearsal, growth), one


def measure_stacked(
    session: Session, alone: Trial, subject: Subject, rehearsal: Rehearsal, growth: Growth
) -> Trial:
    """Finds out what may be stacked, and what the largest stack and a further row take.

    Raises:
        FoglineError: a run failed that did not before.
    """
    stack = prove_stacking(
        session,
        rehearsal.rows,
        others=rehearsal.others,
        verdict=subject.verdict,
        max_us=stack_limit_us(alone.plan.placement),
        effort=subject.effort,
        deadline_s=subject.run_s,
    )
    row_us = _row_us(session, rehearsal.rows, alone.plan.one_row_us, stack)
    found = replace(alone.plan, max_stack=stack.max_rows, row_us=row_us)
    return _weighed(session, Trial(plan=found, stack=stack), subject, rehearsal, growth)


def _weighed(
    session: Session, trial: Trial, subject: Subject, rehearsal: Rehearsal, growth: Growth
) -> Trial:
    """The trial with the memory of its plan, after a run of the largest stack that it uses."""
    rows = rehearsal.rows
    if rows is not None:
        used = rows.one() if trial.plan.max_stack == 1 else rows.take(0, trial.plan.max_stack)
        growth.run(lambda: session.run(used, deadline_s=subject.run_s))
    beside = rehearsal.size_bytes if growth.began < rehearsal.made else 0
    return Trial(plan=replace(trial.plan, memory=growth.need(beside)), stack=trial.stack)


def compare(first: Session, other: Session, plan: ModelPlan, rows: Rows) -> Ratio:
    """Times two sessions in turns, so that what else the machine does meets both alike.

    `plan` is the first's.
    """
    one = _in_turns(first, other, rows.one())
    if plan.max_stack < 2:
        return Ratio(one_row=one, stacked=one)
    return Ratio(one_row=one, stacked=_in_turns(first, other, rows.take(0, plan.max_stack)))


def _in_turns(first: Session, other: Session, arrays: Mapping[str, Array]) -> float:
    taken: tuple[list[float], list[float]] = ([], [])
    until = time.perf_counter() + _TURNS_S
    while len(taken[1]) < _TURNS and (len(taken[1]) < 4 or time.perf_counter() < until):
        for session, times in zip((first, other), taken, strict=True):
            began = time.perf_counter()
            session.run(arrays)
            times.append(time.perf_counter() - began)
    # The first turn warms both up; the least is what others on the machine disturbed least.
    return min(taken[1][1:]) / min(taken[0][1:])


def _row_us(session: Session, rows: Rows | None, one_row_us: float, stack: StackReport) -> float:
    """Time of each further row of one run."""
    if rows is None or not rows.is_batch:
        return one_row_us
    count, taken = stack.max_rows, stack.max_rows * one_row_us / stack.gain
    if count == 1:
        count = _PROBE_ROWS
        try:
            given = rows.take(0, count)
            taken = measure_latency(session, given, rows=count, effort=_PROBE).us_p50
        except FoglineError:  # it takes one row at a time
            return one_row_us
    return max(0.0, (taken - one_row_us) / (count - 1))
