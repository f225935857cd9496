"""The thread that moves rollouts on and sends what they order."""

import logging
import threading

from fogline.clock import Clock
from fogline.errors import FoglineError
from fogline_hub.catalogue import Catalogue
from fogline_hub.registry import Registry
from fogline_hub.rollouts import rollouts
from fogline_hub.rollouts.link import FleetLink

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
        """One look at everything: a step of each rollout, then the documents that are due."""
        with self._catalogue.reading() as connection:
            pending = rollouts.unfinished(connection)
        for rollout in pending:
            while self._step(rollout):
                pass
        self._link.send()

    def _step(self, rollout: int) -> bool:
        with self._catalogue.transaction() as connection:
            current = rollouts.show(connection, rollout)
            version = self._registry.version(connection, current.model, current.number)
            return rollouts.step(connection, rollout, version, now=self._clock.now())

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
