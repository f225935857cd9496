"""Where answered requests wait for the capture thread; the only part that a request waits for."""

import threading
from collections import deque
from collections.abc import Sequence

from fogline_edge.capture.config import CaptureConfig
from fogline_edge.capture.counter import ServedCounter
from fogline_edge.serving.observer import Observation

STACK_BYTES = 600
"""Of an observation of one request: the objects around its arrays."""
REQUEST_BYTES = 240
"""Of each one more: its id, its times."""
OVERDUE = 4
"""Times as much as is counted at once; then the capture thread is woken."""
SHORTEST_WAIT_S = 0.005


class ObservationBuffer:
    """Bounded in requests and bytes. Safe for use by several threads."""

    def __init__(self, config: CaptureConfig, counter: ServedCounter) -> None:
        self._config = config
        self._counter = counter
        self._lock = threading.Lock()
        self._waiting: deque[Observation] = deque()
        self._requests = self._bytes = 0
        self._missed_requests = self._missed_rows = 0
        self._is_overdue = False

    @property
    def fill(self) -> float:
        """How much waits; 1.0 is what is best counted at once."""
        return max(
            self._requests / self._config.drain_requests, self._bytes / self._config.drain_bytes
        )

    def put(self, observation: Observation, array_bytes: int) -> bool:
        """Takes a stack if there is room for it, or counts what it leaves out.

        Returns:
            Whether so much has just come together that it should be counted now.
        """
        config = self._config
        requests = len(observation.rows)
        size = array_bytes + STACK_BYTES + REQUEST_BYTES * (requests - 1)
        rows = 0 if observation.error else sum(observation.rows)
        with self._lock:
            if rows:
                self._counter.add_rows(rows)
            if (
                self._requests + requests > config.max_buffer_requests
                or self._bytes + size > config.max_buffer_bytes
            ):
                self._missed_requests += requests
                self._missed_rows += rows
                return False
            self._waiting.append(observation)
            self._requests += requests
            self._bytes += size
            if self._is_overdue or (
                self._requests < OVERDUE * config.drain_requests
                and self._bytes < OVERDUE * config.drain_bytes
            ):
                return False
            self._is_overdue = True
            return True

    def take(self) -> tuple[Sequence[Observation], int, int]:
        """What waits; requests and rows that found no room since the last time."""
        with self._lock:
            taken = (self._waiting, self._missed_requests, self._missed_rows)
            self._waiting = deque()
            self._requests = self._bytes = 0
            self._missed_requests = self._missed_rows = 0
            self._is_overdue = False
            return taken


def next_wait_s(elapsed_s: float, fill: float, longest_s: float) -> float:
    """Until as much has come together as is best counted at once, if traffic stays as it is.

    So the capture thread comes by itself: to be woken by those who answer requests would cost them
    a change of threads each time, while they hold the interpreter.

    >>> next_wait_s(0.25, 0.0, 0.25), next_wait_s(0.25, 5.0, 0.25), next_wait_s(0.05, 0.5, 0.25)
    (0.25, 0.05, 0.1)
    """
    if fill <= 0:
        return longest_s
    return min(longest_s, max(SHORTEST_WAIT_S, elapsed_s / fill))
