"""A thread that does one thing after the other."""

import logging
import threading
from collections import deque
from collections.abc import Callable

_LOG = logging.getLogger(__name__)

Task = Callable[[], None]


class Worker:
    """Started by the first task. How many tasks wait is for those to bound who post them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._tasks: deque[Task] = deque()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def post(self, task: Task) -> bool:
        """Has `task` done after all that was posted before; False once the worker is closed."""
        with self._changed:
            if self._is_closed:
                return False
            self._tasks.append(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()
        return True

    def close(self, timeout_s: float) -> None:
        """Ends after the task that goes on; what waits is not done any more."""
        with self._changed:
            self._is_closed = True
            self._tasks.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._tasks or self._is_closed)
                if not self._tasks:
                    return
                task = self._tasks.popleft()
            try:
                task()
            except Exception:  # a task boundary: the next has nothing to do with it
                _LOG.exception("task failed", extra={"worker": self._name})
            task = _done  # what it held must not stay until the next one comes


def _done() -> None:
    pass
