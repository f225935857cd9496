"""Callers that wait for loads, one flight a version, and loads that failed of late."""

import logging
import threading
from dataclasses import dataclass

from fogline.backoff import Backoff
from fogline.clock import Clock
from fogline.errors import Exhausted, FoglineError, Unavailable
from fogline_edge.serving.residency.source import Key, Then

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Failure:
    error: FoglineError
    attempts: int
    until_s: float


class Flights:
    """Safe to use from any thread. Callbacks run outside its lock."""

    def __init__(
        self, *, clock: Clock, backoff: Backoff, max_waiting: int, max_waiting_each: int
    ) -> None:
        self._clock = clock
        self._backoff = backoff
        self._max_waiting = max_waiting
        self._max_waiting_each = max_waiting_each
        self._lock = threading.Lock()
        self._flights: dict[Key, list[Then]] = {}
        self._failures: dict[Key, _Failure] = {}
        self._waiting = 0

    def board(self, key: Key, then: Then) -> bool:
        """Waits for the version's load; whether the caller is to begin it, as the first.

        Where it cannot wait, `then` is told so at once: too many wait, or the load failed a short
        time ago.
        """
        with self._lock:
            error = self._refusal(key)
            is_first = False
            if error is None:
                self._waiting += 1
                is_first = key not in self._flights
                self._flights.setdefault(key, []).append(then)
        if error is not None:
            then(error)
        return is_first

    def land(self, key: Key, error: FoglineError | None) -> None:
        """Ends the flight of a version, and tells all that waited."""
        with self._lock:
            waiting = self._flights.pop(key, [])
            self._waiting -= len(waiting)
            if error is None:
                self._failures.pop(key, None)
        for then in waiting:
            try:
                then(error)
            except Exception:  # those that wait beside it must be told all the same
                _LOG.exception("callback failed", extra={"model": f"{key[0]}@{key[1]}"})

    def fail(self, key: Key, error: FoglineError) -> None:
        """As `land`, and remembers the error: the load is not tried again for a while."""
        with self._lock:
            former = self._failures.get(key)
            attempts = former.attempts if former is not None else 0
            until_s = self._clock.monotonic() + self._backoff.ceiling(attempts)
            self._failures[key] = _Failure(error, attempts + 1, until_s)
        self.land(key, error)

    def forgive(self, key: Key) -> None:
        """Forgets that a load failed: there is something new to load."""
        with self._lock:
            self._failures.pop(key, None)

    def close(self) -> None:
        """Tells all that wait that nothing comes any more."""
        with self._lock:
            keys = list(self._flights)
        for key in keys:
            self.land(key, Unavailable(f"model {key[0]}@{key[1]}: the server is stopping"))

    def _refusal(self, key: Key) -> FoglineError | None:
        failure = self._failures.get(key)
        if failure is not None:
            left = failure.until_s - self._clock.monotonic()
            if left > 0:
                return type(failure.error)(f"{failure.error} (tried again in {left:.0f} s)")
        label = f"model {key[0]}@{key[1]} is not in memory, and"
        if self._waiting >= self._max_waiting:
            return Exhausted(
                f"{label} {self._max_waiting} requests wait for loads already; try later"
            )
        if len(self._flights.get(key, ())) >= self._max_waiting_each:
            return Exhausted(
                f"{label} {self._max_waiting_each} requests wait for its load already; try later"
            )
        return None
