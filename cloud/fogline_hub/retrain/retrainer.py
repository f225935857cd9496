"""Moves every retraining on: one step at a time, each recorded before the next begins.

All state is in the catalogue and in `jobs/<id>`; a process that is killed repeats the step that it
was in. Errors of what is retrained end it; errors of the hub's surroundings are tried again.
"""

import logging
from pathlib import Path

from fogline.clock import Clock
from fogline.errors import (
    Conflict,
    Corrupt,
    DeadlineExceeded,
    Exhausted,
    FoglineError,
    InvalidInput,
    Unavailable,
)
from fogline.failpoints import reach
from fogline_hub.automation import CHAMPION, Automation
from fogline_hub.catalogue import Catalogue, sql
from fogline_hub.monitor.alarms import Alarm
from fogline_hub.monitor.alarms import store as alarms
from fogline_hub.registry import Registry
from fogline_hub.retrain import store
from fogline_hub.retrain.dataset import Waiting
from fogline_hub.retrain.folder import JobFolder, prune
from fogline_hub.retrain.records import Retraining, Step
from fogline_hub.retrain.rule import is_due
from fogline_hub.retrain.states import ENDED, Event, State
from fogline_hub.retrain.steps import Steps

MAX_TRIES = 30
"""Times that a step is tried again where its surroundings failed, before it ends."""

_log = logging.getLogger(__name__)


class Retrainer:
    """All retrainings of a hub; one thread calls `tick`."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        registry: Registry,
        steps: Steps,
        jobs: Path,
        kept_jobs: int,
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._registry = registry
        self._steps = steps
        self._jobs = jobs
        self._clock = clock
        self._kept_jobs = kept_jobs
        self._tries: dict[tuple[int, State], int] = {}

    def tick(self) -> bool:
        """Starts what is due, and takes one step of each that is under way.

        Returns:
            Whether any started or moved.
        """
        has_started = self.start_due()
        with self._catalogue.reading() as connection:
            found = store.unended(connection)
        moved = [self._step(one) for one in found]
        return has_started or any(moved)

    def start_due(self) -> bool:
        """Starts a retraining for each open alarm on a champion whose policy asks for one."""
        with self._catalogue.reading() as connection:
            automations = store.automations(connection)
            due = [n for n, a in automations.items() if self._due(connection, n, a) is not None]
        for name in due:
            self._start(name, automations[name])
        return bool(due)

    def _due(self, connection: sql.Connection, name: str, automation: Automation) -> Alarm | None:
        champion = self._registry.model(connection, name).aliases.get(CHAMPION)
        if champion is None or automation.retrain is None:
            return None
        alarm = alarms.open_alarm_of(connection, name, champion)
        last = next(iter(store.listing(connection, name, limit=1)), None)
        watermark_us = alarms.watermark_us(connection, name)
        if alarm is None or not is_due(
            last=last, watermark_us=watermark_us, retrain=automation.retrain
        ):
            return None
        return alarm

    def _start(self, name: str, automation: Automation) -> None:
        """Looks once more, in the transaction that starts it: a person may have been quicker."""
        with self._catalogue.transaction() as connection:
            alarm = self._due(connection, name, automation)
            if alarm is not None:
                store.create(
                    connection,
                    model=name,
                    champion=alarm.version,
                    alarm=alarm.id,
                    change_us=alarm.change_us,
                    asked_by=store.ACTOR,
                    now=self._clock.now(),
                )

    def _step(self, retraining: Retraining) -> bool:
        step = self._try(retraining)
        if isinstance(step, Waiting):
            if step.reason != retraining.reason:
                with self._catalogue.transaction() as connection:
                    store.note(connection, retraining.id, step.reason)
            return False
        reach("retrain.before_advance")
        self._advance(retraining, step)
        return True

    def _try(self, retraining: Retraining) -> Step | Waiting:
        key = retraining.id, retraining.state
        try:
            step = self._run(retraining)
        except (DeadlineExceeded, Exhausted, InvalidInput, Corrupt) as e:
            return Step(event=Event.FAIL, reason=str(e))
        except (Unavailable, Conflict) as e:
            reason = str(e)
        except FoglineError as e:
            return Step(event=Event.FAIL, reason=str(e))
        except Exception as e:  # a task boundary: one retraining must not end the others
            _log.exception("retraining", extra={"retraining": retraining.id})
            reason = f"the hub failed at this step ({type(e).__name__}); its log says why"
        else:
            self._tries.pop(key, None)
            return step
        self._tries[key] = self._tries.get(key, 0) + 1
        if self._tries[key] >= MAX_TRIES:
            return Step(event=Event.FAIL, reason=f"given up after {MAX_TRIES} tries: {reason}")
        return Waiting(reason=f"will be tried again: {reason}")

    def _run(self, retraining: Retraining) -> Step | Waiting:
        with self._catalogue.reading() as connection:
            automation = store.automation(connection, retraining.model)
        if automation is None or automation.retrain is None:
            return Step(
                event=Event.FAIL, reason="the model's automation says nothing of retraining"
            )
        folder = JobFolder(self._jobs / str(retraining.id))
        return self._steps.run(retraining, automation, automation.retrain, folder)

    def _advance(self, retraining: Retraining, step: Step) -> None:
        now = self._clock.now()
        with self._catalogue.transaction() as connection:
            watermark_us = alarms.watermark_us(connection, retraining.model)
            after = store.advance(connection, retraining, step, ended_us=watermark_us, now=now)
            if after.state is State.PROMOTED:
                self._promote(connection, after)
            running = frozenset(one.id for one in store.unended(connection))
        if after.state in ENDED:
            prune(self._jobs, running, self._kept_jobs)
        level = logging.INFO if step.event is Event.DONE else logging.WARNING
        extra = {"retraining": after.id, "model": after.model, "state": after.state.value}
        _log.log(level, "retraining", extra={**extra, "reason": after.reason})

    def _promote(self, connection: sql.Connection, retraining: Retraining) -> None:
        """The challenger takes the champion's name, and the alarms of those before it end."""
        if retraining.challenger is None:
            raise Conflict(f"{retraining.subject} has no challenger")
        self._registry.set_alias(
            connection, retraining.model, CHAMPION, retraining.challenger, actor=store.ACTOR
        )
        alarms.resolve(connection, retraining.model, retraining.challenger, now=self._clock.now())
