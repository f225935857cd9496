"""Shadow traffic: a share of a version's requests is also put to another version, unanswered.

Requests wait for none of it: what the one thread behind this cannot keep up with is left out and
counted. What the two versions said goes to `listener`, on that thread.
"""

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fogline.errors import FoglineError
from fogline.tensors import Array
from fogline_edge.serving.jobs import Ran
from fogline_edge.serving.models import Models, ServedModel

_LOG = logging.getLogger(__name__)

MAX_WAITING = 64
"""Runs that wait to be shadowed."""
RUN_TIMEOUT_S = 10.0
"""Longest run of the version in the shadow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadowed:
    """One stack of requests as two versions answered it.

    Attributes:
        champion: What answered.
        challenger: What would have.
        rows: Of each request.
        inputs: Of both, stacked.
        answered: The champion's outputs.
        shadowed: The challenger's; empty with an `error`.
        error: Why the challenger failed.
    """

    champion: ServedModel
    challenger: ServedModel
    rows: tuple[int, ...]
    inputs: Mapping[str, Array]
    answered: Mapping[str, Array]
    shadowed: Mapping[str, Array]
    error: FoglineError | None


class Shadows:
    """Off until a version of `models` has a shadow and somebody listens."""

    def __init__(
        self,
        models: Models,
        listener: Callable[[Shadowed], None] | None = None,
        generator: random.Random | None = None,
    ) -> None:
        self._models = models
        self._listener = listener
        self._random = generator or random.Random()  # noqa: S311 - a share, not a secret
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Ran, int]] = deque()
        self._thread: threading.Thread | None = None
        self._closing = False
        self.left_out = 0
        """Requests that should have been shadowed while too many waited."""

    def follow(self, ran: Ran) -> None:
        """Sees to it that the shadow of what answered gets its share of this; returns at once."""
        if self._listener is None or ran.error is not None:
            return
        shadow = self._models.shadow_of(ran.jobs[0].served)
        if shadow is None or self._random.random() >= shadow.share:
            return
        with self._changed:
            if self._closing:
                return
            if len(self._waiting) >= MAX_WAITING:
                self.left_out += len(ran.jobs)
                return
            self._waiting.append((ran, shadow.version))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Ends the thread; what waits is let go."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(RUN_TIMEOUT_S)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                ran, version = self._waiting.popleft()
            try:
                self._shadow(ran, version)
            except FoglineError as e:  # the version has left meanwhile
                _LOG.info("not shadowed", extra={"reason": str(e)})
            except Exception:  # a task boundary: the listener's fault is not the next one's
                _LOG.exception("not shadowed")

    def _shadow(self, ran: Ran, version: int) -> None:
        champion = ran.jobs[0].served
        entry = self._models.acquire(champion.name, str(version))
        outputs: Mapping[str, Array] = {}
        error: FoglineError | None = None
        try:
            wanted = ran.jobs[0].request.outputs
            outputs = entry.served.runner.run(ran.inputs, wanted, RUN_TIMEOUT_S)
        except FoglineError as e:
            error = e
        finally:
            entry.release(1, 1 if error else 0)  # acquired once, for the whole stack
        if self._listener is not None:
            self._listener(
                Shadowed(
                    champion=champion,
                    challenger=entry.served,
                    rows=tuple(job.request.rows for job in ran.jobs),
                    inputs=ran.inputs,
                    answered=ran.outputs,
                    shadowed=outputs,
                    error=error,
                )
            )
