"""Ending a run from outside: by hand, or at a deadline.

onnxruntime looks at `RunOptions.terminate` between two nodes, also inside `Loop`, `If` and `Scan`;
a single node that takes long runs to its end first.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import onnxruntime

from fogline.clock import Clock, SystemClock
from fogline.errors import DeadlineExceeded, Unavailable

FATAL_ONLY = 4
"""onnxruntime's log level that hides its error lines, which hold tensor values."""


class Cause(Enum):
    """Why a run should end."""

    CANCELLED = "cancelled"
    LATE = "late"


class Interrupt:
    """One run's stop button; pressing it before, during or after the run is harmless."""

    __slots__ = ("_cause", "options")

    def __init__(self) -> None:
        self.options = onnxruntime.RunOptions()
        self.options.log_severity_level = FATAL_ONLY
        self._cause: Cause | None = None

    @property
    def is_triggered(self) -> bool:
        return self._cause is not None

    def trigger(self, cause: Cause = Cause.CANCELLED) -> None:
        """Asks the run to end; the first cause stays."""
        if self._cause is None:
            self._cause = cause
            self.options.terminate = True

    def check(self, model: str) -> None:
        """Raises what the cause stands for, if there is one.

        Raises:
            DeadlineExceeded: the watchdog was first.
            Unavailable: the caller gave up.
        """
        if self._cause is Cause.LATE:
            raise DeadlineExceeded(f"{model}: the run did not end before its deadline")
        if self._cause is Cause.CANCELLED:
            raise Unavailable(f"{model}: the run was cancelled")


class Watchdog:
    """Triggers interrupts at their deadlines, from one thread that is started when first needed.

    `watch` wakes the thread only for a deadline before the one that it sleeps towards, so runs with
    like time limits cost two dict operations each.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._deadlines: dict[Interrupt, float] = {}
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def watch(self, interrupt: Interrupt, timeout_s: float) -> Iterator[None]:
        """Triggers `interrupt` if the block takes longer than `timeout_s` seconds."""
        if timeout_s <= 0:
            interrupt.trigger(Cause.LATE)
        deadline = self._clock.monotonic() + timeout_s
        with self._changed:
            self._deadlines[interrupt] = deadline
            if deadline < self._wakes_at:
                self._wakes_at = deadline
                self._wake()
        try:
            yield
        finally:
            with self._changed:
                del self._deadlines[interrupt]

    def close(self) -> None:
        """Ends the thread; runs that are watched lose their deadline."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._guard, name="run-watchdog", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _guard(self) -> None:
        with self._changed:
            while not self._closed:
                now = self._clock.monotonic()
                for interrupt, deadline in self._deadlines.items():
                    if deadline <= now:
                        interrupt.trigger(Cause.LATE)
                waiting = (d for i, d in self._deadlines.items() if not i.is_triggered)
                self._wakes_at = min(waiting, default=math.inf)
                idle = self._wakes_at == math.inf
                self._changed.wait(None if idle else max(self._wakes_at - now, 0.001))
