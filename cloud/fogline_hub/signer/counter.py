"""Numbers that grow for ever, across restarts and clocks that go back, at one flush a minute.

A device refuses a message whose counter is not above the last one on its topic, so a counter that
fell would cut the device off. The next number is max(last + 1, Unix microseconds). What is stored
is not each number but a reservation: no number above it is given out before a higher one is on the
disk. After a crash counting goes on from the reservation, so at most `RESERVE_US` numbers are
skipped. One counter serves all topics: what grows over all of them grows on each.
"""

from pathlib import Path

from fogline.clock import Clock
from fogline.durable import write_durably
from fogline.errors import Corrupt

RESERVE_US = 60_000_000


class Counter:
    """Not thread-safe; its owner holds a lock."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._last = _load(path)
        self._reserved = self._last

    def next(self) -> int:
        """A number above all before.

        Raises:
            OSError: the reservation could not be stored; nothing was given out.
        """
        number = max(self._last + 1, int(self._clock.now().timestamp() * 1e6))
        if number > self._reserved:
            reserved = number + RESERVE_US
            write_durably(self._path, str(reserved).encode())
            self._reserved = reserved
        self._last = number
        return number


def _load(path: Path) -> int:
    if not path.exists():
        return 0
    data = path.read_bytes()
    if not data.isdigit() or len(data) > 19:
        raise Corrupt(f"{path} holds no counter; remove it if the clock of this machine is right")
    return int(data)
