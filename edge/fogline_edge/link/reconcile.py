"""The thread that makes what runs here what should: level-triggered, idempotent, one at a time.

Each round looks at the whole desired state, so an order that was missed, doubled or overtaken
changes nothing. What fails for now is tried again with back-off; what the device rejected is not.
"""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fogline.backoff import Backoff, Random
from fogline.clock import Clock, SystemClock
from fogline.desired import DesiredModel, DesiredState
from fogline.errors import FoglineError

RETRY = Backoff(base_s=1.0, cap_s=600.0)
"""Between two tries of a version that could not be had or tried: 1, 2, 4 ... 600 seconds."""

_log = logging.getLogger(__name__)


class Installs(Protocol):
    """What reconciling needs of an installer."""

    def install(self, model: DesiredModel, generation: int, *, retry: bool) -> bool:
        """Brings one version to serve; False where it should be tried again later."""

    def remove(self, name: str) -> None: ...

    def names(self) -> tuple[str, ...]:
        """Models that the device holds."""

    def tick(self) -> None:
        """To be called about every second."""


@dataclass(slots=True)
class _Waiting:
    failures: int = 0
    until: float = 0.0


class Reconciler:
    """Runs from `start` to `stop`; `wake` after each change of the desired state."""

    def __init__(
        self,
        desired: Callable[[], DesiredState | None],
        installer: Installs,
        *,
        clock: Clock | None = None,
        rng: Random = random.random,
        tick_s: float = 1.0,
    ) -> None:
        self._desired = desired
        self._installer = installer
        self._clock = clock or SystemClock()
        self._random = rng
        self._tick_s = tick_s
        self._waiting: dict[tuple[str, str], _Waiting] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconcile", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ends the thread; an install that is under way ends with its process."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def round(self) -> None:
        """One look at everything."""
        state = self._desired()
        self._installer.tick()
        if state is None:
            return
        wanted = {m.name for m in state.models}
        for name in self._installer.names():
            if name not in wanted:
                self._installer.remove(name)
        for model in state.models:
            if self._stopping.is_set() or self._desired() is not state:
                return  # newer orders: begin again with them
            self._bring(model, state)

    def _bring(self, model: DesiredModel, state: DesiredState) -> None:
        key = (model.name, model.manifest)
        waiting = self._waiting.setdefault(key, _Waiting())
        now = self._clock.monotonic()
        if now < waiting.until:
            return
        if self._installer.install(model, state.generation, retry=state.retry):
            del self._waiting[key]
            return
        waiting.until = self._clock.monotonic() + RETRY.full(waiting.failures, self._random)
        waiting.failures += 1

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self.round()
            except FoglineError as e:
                _log.error("reconcile failed", extra={"reason": str(e)})
            except Exception:  # a task boundary: the next round may succeed
                _log.exception("reconcile failed")
            self._wake.wait(self._tick_s)
