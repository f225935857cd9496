"""Where answered requests wait for the capture thread; the only part that a request waits for."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from fogline_edge.capture.config import CaptureConfig
from fogline_edge.capture.counter import ServedCounter
from fogline_edge.serving.observer import Observation


@dataclass(frozen=True, slots=True)
class Drained:
    """What was waiting, and what found no room since the last time."""

    observations: Sequence[Observation]
    missed_requests: int
    missed_rows: int


class ObservationBuffer:
    """Bounded in requests and bytes. Safe for use by several threads."""

    def __init__(self, config: CaptureConfig, counter: ServedCounter) -> None:
        self._config = config
        self._counter = counter
        self._lock = threading.Lock()
        self._waiting: deque[Observation] = deque()
        self._bytes = self._requests = 0
        self._missed_requests = self._missed_rows = 0

    def put(self, batch: Sequence[Observation]) -> bool:
        """Takes what there is room for; returns whether it is time to drain."""
        config = self._config
        with self._lock:
            for observation in batch:
                size = _size(observation)
                requests = len(observation.rows)
                rows = 0 if observation.error else sum(observation.rows)
                if rows:
                    self._counter.add_rows(rows)
                if (
                    self._requests + requests > config.max_buffer_requests
                    or self._bytes + size > config.max_buffer_bytes
                ):
                    self._missed_requests += requests
                    self._missed_rows += rows
                else:
                    self._waiting.append(observation)
                    self._requests += requests
                    self._bytes += size
            return (
                2 * self._requests >= config.max_buffer_requests
                or 2 * self._bytes >= config.max_buffer_bytes
            )

    def take(self) -> Drained:
        with self._lock:
            drained = Drained(self._waiting, self._missed_requests, self._missed_rows)
            self._waiting = deque()
            self._bytes = self._requests = 0
            self._missed_requests = self._missed_rows = 0
            return drained


def _size(observation: Observation) -> int:
    size = 0
    for arrays in (observation.inputs, observation.outputs):
        for array in arrays.values():
            size += array.nbytes
            if array.dtype == object:
                size += sum(map(len, array.reshape(-1).tolist()))
    return size
