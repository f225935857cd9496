"""Threads for the branches of pipelines, a bounded number for all pipelines of a process."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Branches:
    """Takes work only while a thread is free, so nothing ever waits in line here.

    Whoever is refused does the work itself, in turn: a pipeline never waits for a thread that
    another pipeline holds.

    Args:
        threads: How many branches run at once beside their callers' own threads; 0 for none.
    """

    def __init__(self, threads: int) -> None:
        self._free = threading.Semaphore(threads)
        self._threads = ThreadPoolExecutor(max(threads, 1), thread_name_prefix="pipeline")

    def offer(self, work: Callable[[], None]) -> bool:
        """Runs `work`, which must not raise, on a thread that is free now; False if none is."""
        if not self._free.acquire(blocking=False):
            return False
        try:
            self._threads.submit(self._run, work)
        except RuntimeError:  # closed
            self._free.release()
            return False
        return True

    def close(self) -> None:
        """Takes no more work, and waits for what runs."""
        self._threads.shutdown()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._free.release()
