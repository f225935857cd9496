"""Shadow traffic: a share of a version's requests is also put to another version, unanswered.

Requests wait for none of it: one thread runs it when the pool has a place to spare, and what finds
no room to wait is left out and counted. What the two versions said goes to `listener`, on that
thread.
"""

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from sys import getsizeof

from fogline.clock import Clock
from fogline.errors import FoglineError
from fogline.runtime.interrupt import Interrupt
from fogline.tensors import Array
from fogline_edge.serving.config import ShadowConfig
from fogline_edge.serving.jobs import Ran
from fogline_edge.serving.models import Entry, Models, NotLoaded, ServedModel
from fogline_edge.serving.statistics import Statistics

_LOG = logging.getLogger(__name__)

_LOOK_S = 0.005
"""Between two looks for a place that is free."""


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


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A run that is to be shadowed, without the requests that it came from."""

    champion: ServedModel
    version: int
    rows: tuple[int, ...]
    wanted: Sequence[str] | None
    inputs: Mapping[str, Array]
    answered: Mapping[str, Array]
    size_bytes: int


class Shadows:
    """Off until a version of `models` has a shadow and somebody listens.

    Args:
        models: Where versions and their shadows are.
        listener: Told what both said.
        statistics: Counts what is left out, with the version that answered.
        has_room: Whether the pool has a place to spare.
        clock: Time.
        config: The bounds.
        generator: Draws the share.
    """

    def __init__(
        self,
        models: Models,
        listener: Callable[[Shadowed], None] | None,
        statistics: Statistics,
        *,
        has_room: Callable[[], bool],
        clock: Clock,
        config: ShadowConfig,
        generator: random.Random | None = None,
    ) -> None:
        self._models = models
        self._listener = listener
        self._statistics = statistics
        self._has_room = has_room
        self._clock = clock
        self._config = config
        self._random = generator or random.Random()  # noqa: S311 - a share, not a secret
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._thread: threading.Thread | None = None
        self._run: Interrupt | None = None
        """Ends the run that goes on."""
        self._load_at = 0.0
        """When a version may be loaded again, monotonic seconds."""
        self._closing = False

    def follow(self, ran: Ran) -> None:
        """Sees to it that the shadow of what answered gets its share of this; returns at once."""
        if self._listener is None or ran.error is not None:
            return
        first = ran.jobs[0]
        shadow = self._models.shadow_of(first.served)
        if shadow is None or self._random.random() >= shadow.share:
            return
        one = _Waiting(
            first.served,
            shadow.version,
            tuple([job.request.rows for job in ran.jobs]),
            first.request.outputs,
            ran.inputs,
            ran.outputs,
            _size_bytes(ran.inputs) + _size_bytes(ran.outputs),
        )
        with self._changed:
            if not self._closing and not self._push(one):
                self._leave_out(one)

    def close(self) -> None:
        """Ends the thread and the run that goes on; what waits is let go."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            run = self._run
            self._changed.notify_all()
        if run is not None:
            run.trigger()
        if self._thread is not None:
            self._thread.join(self._config.run_timeout_s)

    # -------------------------------------------------------- under the lock

    def _push(self, one: _Waiting) -> bool:
        config = self._config
        if len(self._waiting) >= config.max_waiting:
            return False
        if self._waiting_bytes + one.size_bytes > config.max_bytes:
            return False
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process may have no more threads
                return False
            self._thread = thread
        self._waiting.append(one)
        self._waiting_bytes += one.size_bytes
        self._changed.notify_all()
        return True

    def _leave_out(self, one: _Waiting) -> None:
        champion = one.champion
        self._statistics.leave_unshadowed(champion.name, champion.version, len(one.rows))

    # ------------------------------------------------------------ the thread

    def _work(self) -> None:
        while (one := self._next()) is not None:
            try:
                self._shadow(one)
            except FoglineError as e:  # the version has left meanwhile
                self._leave_out(one)
                _LOG.info("not shadowed", extra={"reason": str(e)})
            except Exception:  # a task boundary: the listener's fault is not the next one's
                _LOG.exception("not shadowed")
            with self._changed:
                self._waiting_bytes -= one.size_bytes

    def _next(self) -> _Waiting | None:
        """The next one, when there is a place to run it; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            while not self._closing and not self._has_room():
                self._changed.wait(_LOOK_S)
            if self._closing:
                return None
            self._run = Interrupt()
            return self._waiting.popleft()

    def _shadow(self, one: _Waiting) -> None:
        champion = one.champion
        entry = self._acquire(champion.name, one.version)
        outputs: Mapping[str, Array] = {}
        error: FoglineError | None = None
        try:
            outputs = entry.served.runner.run(
                one.inputs, one.wanted, self._config.run_timeout_s, self._run
            )
        except FoglineError as e:
            error = e
        finally:
            entry.release(1, 1 if error else 0)  # acquired once, for the whole stack
        if self._listener is not None and not self._closing:
            self._listener(
                Shadowed(
                    champion=champion,
                    challenger=entry.served,
                    rows=one.rows,
                    inputs=one.inputs,
                    answered=one.answered,
                    shadowed=outputs,
                    error=error,
                )
            )

    def _acquire(self, name: str, version: int) -> Entry:
        """The challenger; loaded anew if it has left memory, but not again and again.

        Raises:
            NotFound: it has left for good.
            NotLoaded: it is not in memory, and no load is due or none came in time.
        """
        try:
            return self._models.acquire(name, str(version))
        except NotLoaded:
            now = self._clock.monotonic()
            if now < self._load_at:
                raise
            self._load_at = now + self._config.load_interval_s
        told: list[FoglineError | None] = []

        def tell(error: FoglineError | None) -> None:
            with self._changed:
                told.append(error)
                self._changed.notify_all()

        self._models.demand(name, str(version), tell)
        with self._changed:
            self._changed.wait_for(lambda: told or self._closing, self._config.load_interval_s)
        if told and told[0] is not None:
            raise told[0]
        return self._models.acquire(name, str(version))


def _size_bytes(arrays: Mapping[str, Array]) -> int:
    size = sum([array.nbytes for array in arrays.values()])
    for array in arrays.values():
        if array.dtype.char == "O":
            size += sum(map(getsizeof, array.reshape(-1).tolist()))
    return size
