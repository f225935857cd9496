"""The thread that moves rollouts on and sends what they order."""

import logging
import threading

from fogline.clock import Clock
from fogline.errors import FoglineError, InvalidInput
from fogline_hub.catalogue import Catalogue
from fogline_hub.registry import Registry
from fogline_hub.rollouts import rollouts
from fogline_hub.rollouts.hearing import Hearing
from fogline_hub.rollouts.link import FleetLink
from fogline_hub.rollouts.records import show

TICK_S = 1.0
"""Longest time between two looks; reports wake the controller earlier."""

_log = logging.getLogger(__name__)


class Controller:
    """Steps every unfinished rollout; all state is in the catalogue, so a restart loses nothing."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        registry: Registry,
        link: FleetLink,
        clock: Clock,
        changed: threading.Event | None = None,
    ) -> None:
        """Wires it; `changed` is set by whoever wants it to look now."""
        self._catalogue = catalogue
        self._registry = registry
        self._link = link
        self._clock = clock
        self._hearing = Hearing(clock)
        self._wake = changed or threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def tick(self) -> None:
        """One look at everything: the steps of each rollout, then the documents that are due.

        A rollout that fails holds up no other; one whose step can never be done is stopped.
        """
        hearing_s = self._hearing.look(is_connected=self._link.is_connected)
        with self._catalogue.reading() as connection:
            pending = rollouts.unfinished(connection)
        for rollout in pending:
            try:
                self._steps(rollout, hearing_s)
            except FoglineError as e:
                _log.warning("rollout", extra={"rollout": rollout, "reason": str(e)})
        self._link.send()

    def _steps(self, rollout: int, hearing_s: float) -> None:
        try:
            while self._step(rollout, hearing_s):
                pass
        except InvalidInput as e:  # the database's faults may pass; this one will not
            with self._catalogue.transaction() as connection:
                rollouts.stop(connection, rollout, str(e), now=self._clock.now())

    def _step(self, rollout: int, hearing_s: float) -> bool:
        with self._catalogue.transaction() as connection:
            current = show(connection, rollout)
            version = self._registry.version(connection, current.model, current.number)
            return rollouts.step(
                connection, rollout, version, now=self._clock.now(), hearing_s=hearing_s
            )

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self.tick()
            except FoglineError as e:
                _log.warning("controller", extra={"reason": str(e)})
            except Exception:  # a task boundary: the next look may succeed
                _log.exception("controller")
            self._wake.wait(TICK_S)
            self._wake.clear()
