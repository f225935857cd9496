"""Ending a run from outside: by hand, or at a deadline.

onnxruntime looks at `RunOptions.terminate` between two nodes, also inside `Loop`, `If` and `Scan`;
a single node that takes long runs to its end first.
"""

import math
import threading
import time
from enum import Enum
from itertools import count
from typing import Any

from fogline.clock import Clock
from fogline.errors import DeadlineExceeded, Exhausted, Unavailable


class Cause(Enum):
    """Why a run should end."""

    CANCELLED = "cancelled"
    LATE = "late"


class Interrupt:
    """A stop button of one run, or of several that belong together.

    Pressing it before, during or after a run is harmless.
    """

    __slots__ = ("_attached", "_cause")

    def __init__(self) -> None:
        self._cause: Cause | None = None
        self._attached: list[Any] = []

    @property
    def is_triggered(self) -> bool:
        return self._cause is not None

    def trigger(self, cause: Cause = Cause.CANCELLED) -> None:
        """Asks the run to end; the first cause stays."""
        if self._cause is None:
            self._cause = cause
            for options in tuple(self._attached):
                options.terminate = True

    def attach(self, options: Any) -> None:
        """Makes a trigger end the run of `options`, an onnxruntime `RunOptions` of it alone.

        `trigger` writes its cause before it reads what is attached, and this attaches before it
        reads the cause: whichever comes second sees the other.
        """
        self._attached.append(options)
        if self._cause is not None:
            options.terminate = True

    def detach(self, options: Any) -> None:
        """The run has ended."""
        self._attached.remove(options)

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

    `begin` wakes the thread only for a deadline before the one that it sleeps towards, so runs with
    like time limits cost two dict operations each, and no lock.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._monotonic = time.monotonic if clock is None else clock.monotonic
        self._numbers = count()
        self._changed = threading.Condition()
        self._watched: dict[int, tuple[float, Interrupt]] = {}
        """Changed by single dict operations, which are atomic; whoever pops an entry owns it."""
        self._wakes_at = math.inf
        """No entry is earlier, but for those whose `begin` waits for the lock to say so."""
        self._thread: threading.Thread | None = None
        self._closed = False

    def begin(self, interrupt: Interrupt, timeout_s: float) -> int:
        """Triggers `interrupt` after `timeout_s` seconds, unless `end` comes first.

        Raises:
            Exhausted: no thread can be started that would.
        """
        if timeout_s <= 0:
            interrupt.trigger(Cause.LATE)
        number = next(self._numbers)
        deadline = self._monotonic() + timeout_s
        self._watched[number] = (deadline, interrupt)
        if deadline < self._wakes_at:
            with self._changed:
                if deadline < self._wakes_at:
                    self._wake(number)
                    self._wakes_at = deadline
        return number

    def end(self, number: int) -> bool:
        """Stops watching; False if the interrupt was triggered, or is being triggered now."""
        return self._watched.pop(number, None) is not None

    def close(self) -> None:
        """Ends the thread; runs that are watched lose their deadline."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _wake(self, number: int) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._guard, name="run-watchdog", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process may have no more threads
                del self._watched[number]
                raise Exhausted("the machine lets no thread be started that ends runs") from None
            self._thread = thread
        self._changed.notify()

    def _guard(self) -> None:
        with self._changed:
            while not self._closed:
                # From here on every `begin` takes the lock, and so waits until this thread waits:
                # none can slip in between the look at the entries and the sleep.
                asked, self._wakes_at = self._wakes_at, math.inf
                now = self._monotonic()
                # A run that woke this thread has often ended before it looks. It then sleeps on
                # towards that deadline, or each run after it would wake it again.
                earliest = asked if asked > now else math.inf
                for number, (deadline, interrupt) in list(self._watched.items()):
                    if deadline > now:
                        earliest = min(earliest, deadline)
                    elif self._watched.pop(number, None) is not None:
                        interrupt.trigger(Cause.LATE)
                self._wakes_at = earliest
                is_idle = earliest == math.inf
                self._changed.wait(None if is_idle else max(earliest - now, 0.001))
