"""Time as a value that is passed in: domain code never asks the operating system for it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time, and waiting."""

    def now(self) -> datetime:
        """Aware UTC wall time."""

    def monotonic(self) -> float:
        """Seconds that never go back."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands still until `advance`; for tests and simulations."""

    def __init__(self, start: datetime = datetime(2000, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Sets the wall clock ahead, or back, as an administrator or a time server does."""
        self._now += timedelta(seconds=seconds)


def wait_until(
    is_done: Callable[[], bool],
    *,
    timeout_s: float,
    poll_s: float = 0.02,
    clock: Clock | None = None,
) -> bool:
    """Polls `is_done` until it holds; returns whether it did within `timeout_s` seconds."""
    timer = clock or SystemClock()
    deadline = timer.monotonic() + timeout_s
    while not is_done():
        if timer.monotonic() >= deadline:
            return False
        time.sleep(poll_s)
    return True
