"""A thread that does one thing after the other."""

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

_LOG = logging.getLogger(__name__)

Task = Callable[[], None]


class Worker:
    """Started by the first task. How many tasks wait is for those to bound who post them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._tasks: deque[tuple[Task, Task | None]] = deque()
        self._later: list[tuple[float, int, Task]] = []
        """A heap: when, which came first, what."""
        self._posted = 0
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def post(self, task: Task, dropped: Task | None = None) -> bool:
        """Has `task` done after all that was posted before; False once the worker is closed.

        `dropped` is called instead where the worker is closed before the task's turn comes.
        """
        with self._changed:
            if self._is_closed:
                return False
            self._tasks.append((task, dropped))
            self._wake()
        return True

    def post_later(self, delay_s: float, task: Task) -> None:
        """Has `task` done in so many seconds; never where the worker is closed by then."""
        with self._changed:
            if not self._is_closed:
                self._posted += 1
                heapq.heappush(self._later, (time.monotonic() + delay_s, self._posted, task))
                self._wake()

    def close(self, timeout_s: float) -> None:
        """Ends after the task that goes on; what waits is not done any more."""
        with self._changed:
            self._is_closed = True
            waiting = list(self._tasks)
            self._tasks.clear()
            self._later.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
        for _, dropped in waiting:
            if dropped is not None:
                self._do(dropped)

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._changed.notify()

    def _run(self) -> None:
        while (task := self._next()) is not None:
            self._do(task)
            del task  # what it held must not stay until the next one comes

    def _next(self) -> Task | None:
        """Waits for the next task; None when the worker is closed."""
        with self._changed:
            while not self._is_closed:
                now = time.monotonic()
                if self._later and self._later[0][0] <= now:
                    return heapq.heappop(self._later)[2]
                if self._tasks:
                    return self._tasks.popleft()[0]
                self._changed.wait(self._later[0][0] - now if self._later else None)
        return None

    def _do(self, task: Task) -> None:
        try:
            task()
        except Exception:  # a task boundary: the next has nothing to do with it
            _LOG.exception("task failed", extra={"worker": self._name})
