"""From a plan that a model holds under to a better one: stacks, then one other thing at a time.

All of it is a gain that may be missed: whatever goes wrong here is no reason against the model.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from fogline.errors import FoglineError
from fogline.runtime.golden import check_golden
from fogline.runtime.memory import Growth, held, spare_bytes
from fogline.runtime.plan import ModelPlan
from fogline.runtime.session import Session
from fogline.runtime.settle import alternatives, is_better
from fogline.runtime.trial import Rehearsal, Subject, Trial, compare, measure_stacked


@dataclass(frozen=True, slots=True)
class Opened:
    """A session, and what memory grew by since before it was opened."""

    session: Session
    growth: Growth
    trial: Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Within what other plans are looked for."""

    subject: Subject
    rehearsal: Rehearsal
    open: Callable[[ModelPlan], tuple[Session, Growth]]
    size_bytes: int
    """Of the model's files."""
    memory_bytes: int
    """What the process may hold."""
    until: float
    """Monotonic seconds after which no other plan is begun with."""
    others: bool
    """Whether anything but stacks is tried."""


def better_trials(first: Opened, search: Search) -> Iterator[Trial]:
    """The first plan with its stacks, then each plan that is better than the one before.

    Raises:
        FoglineError: a run failed that did not before.
    """
    subject, rehearsal = search.subject, search.rehearsal
    trial = measure_stacked(first.session, first.trial, subject, rehearsal, first.growth)
    yield trial
    if not search.others:
        return
    best = Opened(first.session, first.growth, trial)
    free = min(search.memory_bytes - held().total, spare_bytes())
    for change in alternatives(trial.plan, search.size_bytes, free):
        if time.monotonic() >= search.until:
            return
        other = _try_other(replace(best.trial.plan, **change), best, search)
        if other is not None:
            best.session.close()
            best = other
            yield best.trial


def _try_other(plan: ModelPlan, best: Opened, search: Search) -> Opened | None:
    """The model under another plan, if that is better and it holds; both are open meanwhile."""
    rows, subject = search.rehearsal.rows, search.subject
    if rows is None:
        return None
    try:
        session, growth = search.open(plan)
        if check_golden(session, subject.cases, deadline_s=subject.run_s).mismatch:
            return None
        growth.pause()
        ratio = compare(best.session, session, plan, rows)
        plan = replace(plan, memory=growth.need(), one_row_us=plan.one_row_us * ratio.one_row)
        if not is_better(plan, best.trial.plan, ratio):
            return None
        alone = Trial(plan=plan, stack=best.trial.stack)
        trial = measure_stacked(session, alone, subject, search.rehearsal, growth)
    except FoglineError:  # it does not run under this plan
        return None
    return Opened(session, growth, trial)
