"""How fast the years go by. Pure, but for the one clock that all stations' threads wait on.

Fifty years in a minute leave a hub that thinks for ten seconds eight years behind, which no hub in
the world is: in life months pass while one is trained and rolled out. So the replay goes slower
while the hub has work at hand, and it never runs further ahead of what the hub has stored than
`max_lag_days`. It never stands still.
"""

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Bounds of the replay's clock, in days of event time and seconds of ours."""

    full: float
    """Days a second, at most."""
    working: float
    """Days a second while the hub retrains or rolls out."""
    max_lag_days: float
    """Days that the hub may be behind; then as slow as `working`."""
    max_skew_days: int
    """Days that one station may be ahead of another."""

    def speed(self, *, lag_days: float, is_working: bool) -> float:
        """Days a second.

        >>> pace = Pace(full=500, working=20, max_lag_days=365, max_skew_days=9)
        >>> pace.speed(lag_days=10, is_working=False), pace.speed(lag_days=10, is_working=True)
        (500, 20)
        >>> pace.speed(lag_days=400, is_working=False)
        20
        """
        return self.working if is_working or lag_days > self.max_lag_days else self.full


class ReplayClock:
    """Today: days before it may be asked about. Moves for all stations together."""

    def __init__(self, first_day: int, days: int, stations: int, max_skew_days: int) -> None:
        self._today = float(first_day)
        self._end = days
        self._max_skew_days = max_skew_days
        self._done = [first_day] * stations
        self._is_stopped = False
        self._moved = threading.Condition()

    @property
    def today(self) -> int:
        with self._moved:
            return int(self._today)

    @property
    def is_stopped(self) -> bool:
        with self._moved:
            return self._is_stopped

    def advance(self, days: float) -> None:
        """Moves on, no further than `max_skew_days` beyond the slowest station."""
        with self._moved:
            bound = min(self._done) + self._max_skew_days
            self._today = max(self._today, min(self._today + days, bound, self._end))
            self._moved.notify_all()

    def wait_for(self, day: int) -> bool:
        """Waits until `day` has come; False when the replay was stopped."""
        with self._moved:
            self._moved.wait_for(lambda: self._is_stopped or day < int(self._today))
            return not self._is_stopped

    def done(self, station: int, day: int) -> None:
        """A station has got its answer for `day`, and for all its days before."""
        with self._moved:
            self._done[station] = day + 1

    def stop(self) -> None:
        with self._moved:
            self._is_stopped = True
            self._moved.notify_all()
