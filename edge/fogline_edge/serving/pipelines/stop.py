"""The end of a whole run: one trigger reaches every step that runs, and what waits for a load."""

import threading
from collections.abc import Callable

from fogline.runtime.interrupt import Interrupt


class Stop:
    """Passes the end of a run on to all that goes on in it.

    It stands where an `Interrupt` expects the options of a single run: it is told of a trigger by
    `terminate` being set. The first step that fails ends its siblings here, and not by the caller's
    interrupt, which may be that of other runs as well.
    """

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt
        self._lock = threading.Lock()
        self._ends: dict[int, Callable[[], None]] = {}
        self._next = 0
        self._is_set = False
        interrupt.attach(self)

    @property
    def terminate(self) -> bool:
        """Whether the run should end."""
        return self._is_set

    @terminate.setter
    def terminate(self, _: bool) -> None:
        with self._lock:
            self._is_set = True
            ends = list(self._ends.values())
        for end in ends:
            end()

    def begin(self, end: Callable[[], None]) -> int:
        """Calls `end` when the run should end, at once if it should now; until `over`."""
        with self._lock:
            self._next += 1
            key = self._next
            self._ends[key] = end
            is_set = self._is_set
        if is_set:
            end()
        return key

    def over(self, key: int) -> None:
        """Forgets what `begin` was given."""
        with self._lock:
            del self._ends[key]

    def close(self) -> None:
        """The run has ended."""
        self._interrupt.detach(self)

    def check(self, label: str) -> None:
        """Raises `DeadlineExceeded` or `Unavailable` if the caller's time is up or it gave up."""
        self._interrupt.check(label)
