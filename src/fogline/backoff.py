"""How long to wait before the next try: exponential, capped, with jitter from an injected source.

Pure: it neither waits nor reads a clock. Jitter keeps a thousand devices that lost the same broker
from coming back in step (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015).
"""

from collections.abc import Callable
from dataclasses import dataclass

Random = Callable[[], float]
"""Gives a number in [0, 1) at each call; `random.Random(seed).random` is one."""

_MAX_DOUBLINGS = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays of `base_s` doubling up to `cap_s`, in seconds."""

    base_s: float
    cap_s: float

    def ceiling(self, attempt: int) -> float:
        """The longest delay after the `attempt`-th failure in a row; the first is 0.

        >>> [Backoff(base_s=1.0, cap_s=10.0).ceiling(n) for n in range(6)]
        [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
        """
        return min(self.cap_s, self.base_s * 2.0 ** min(attempt, _MAX_DOUBLINGS))

    def full(self, attempt: int, random: Random) -> float:
        """Anywhere below the ceiling: spreads reconnects as evenly as can be."""
        return random() * self.ceiling(attempt)

    def late(self, attempt: int, random: Random) -> float:
        """Between the ceiling and half as much again: for a wait that must not end early."""
        return min(self.cap_s, self.ceiling(attempt) * (1.0 + random() / 2.0))
