"""For how long the hub has heard its devices: what it could not hear is no fault of theirs."""

from fogline.clock import Clock

MAX_JUMP_S = 5.0
"""Wall and monotonic clock that part by more between two looks tell of a jump, seconds."""


class Hearing:
    """Restarts with the process, with the broker's connection, and when the wall clock jumps.

    >>> from fogline.clock import ManualClock
    >>> clock = ManualClock()
    >>> hearing = Hearing(clock)
    >>> clock.advance(7)
    >>> hearing.look(is_connected=True)
    7.0
    >>> hearing.look(is_connected=False)
    0.0
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall, self._ticks = clock.now(), clock.monotonic()
        self._since = self._ticks

    def look(self, *, is_connected: bool) -> float:
        """Seconds of unbroken hearing until now; to be called at least every few seconds."""
        wall, ticks = self._clock.now(), self._clock.monotonic()
        jump_s = (wall - self._wall).total_seconds() - (ticks - self._ticks)
        self._wall, self._ticks = wall, ticks
        if not is_connected or abs(jump_s) > MAX_JUMP_S:
            self._since = ticks
        return ticks - self._since
