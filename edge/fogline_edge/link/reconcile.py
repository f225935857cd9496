"""The thread that makes what runs here what should: level-triggered, idempotent, one at a time.

Each round looks at the whole desired state, so an order that was missed, doubled or overtaken
changes nothing. What fails for now is tried again with back-off; what the device rejected is not.
One model that fails, in whatever way, holds no other up.
"""

import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
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
        self._succeeds("tick", self._tick)
        if state is None:
            return
        due = self._due(state)
        self._waiting = {key: w for key, w in self._waiting.items() if key in due}
        for key, attempt in due.items():
            if self._stopping.is_set() or self._desired() is not state:
                return  # newer orders: begin again with them
            self._try(key, attempt)

    def _due(self, state: DesiredState) -> Mapping[tuple[str, str], Callable[[], bool]]:
        """What is to be done for this state, by model and digest, removals first."""
        wanted = {(m.name, m.manifest): partial(self._install, m, state) for m in state.models}
        names = {name for name, _ in wanted}
        left = [name for name in self._installer.names() if name not in names]
        return {(name, ""): partial(self._remove, name) for name in left} | wanted

    def _try(self, key: tuple[str, str], attempt: Callable[[], bool]) -> None:
        waiting = self._waiting.setdefault(key, _Waiting())
        if self._clock.monotonic() < waiting.until:
            return
        if self._succeeds(key[0], attempt):
            del self._waiting[key]
            return
        waiting.until = self._clock.monotonic() + RETRY.full(waiting.failures, self._random)
        waiting.failures += 1

    def _succeeds(self, what: str, attempt: Callable[[], bool]) -> bool:
        try:
            return attempt()
        except FoglineError as e:
            _log.error("reconcile failed", extra={"what": what, "reason": str(e)})
        except Exception:  # a task boundary: the other models do not wait for this one
            _log.exception("reconcile failed", extra={"what": what})
        return False

    def _install(self, model: DesiredModel, state: DesiredState) -> bool:
        return self._installer.install(model, state.generation, retry=state.retry)

    def _remove(self, name: str) -> bool:
        self._installer.remove(name)
        return True

    def _tick(self) -> bool:
        self._installer.tick()
        return True

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
