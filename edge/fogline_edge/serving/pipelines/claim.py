"""A run's wait for a version that is not in memory."""

import threading
from collections.abc import Callable

from fogline.errors import FoglineError
from fogline_edge.serving.models import Entry


class Claim:
    """Takes the version in the moment in which it is there, before another may make it leave.

    Args:
        acquire: Takes it; may raise where it has left again.
    """

    def __init__(self, acquire: Callable[[], Entry]) -> None:
        self._acquire = acquire
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._is_left = False
        self._entry: Entry | None = None
        self._problem: FoglineError | None = None

    def told(self, problem: FoglineError | None) -> None:
        """What `Models.demand` calls back."""
        entry = None
        if problem is None:
            try:
                entry = self._acquire()
            except FoglineError as e:
                problem = e
        with self._lock:
            unwanted = entry if self._is_left else None
            if not self._is_left:
                self._entry, self._problem = entry, problem
        self._woken.set()
        if unwanted is not None:
            unwanted.release(failures=1)

    def wake(self) -> None:
        """Ends the wait, whatever comes of it."""
        self._woken.set()

    def wait(self) -> tuple[Entry | None, FoglineError | None]:
        """The version, or why there is none, or neither where `wake` came first."""
        self._woken.wait()
        with self._lock:
            self._is_left = True
            return self._entry, self._problem
