"""Runs that many threads want, of which one at a time is enough, and a late one serves all.

Reading the catalogue's logins and handing them to the broker must not interleave between threads,
or an older list could win. Whoever waited while a run began *after* it asked needs none of its own.
"""

import threading
from collections.abc import Callable


class Turns:
    def __init__(self) -> None:
        self._one = threading.Lock()
        self._count = threading.Lock()
        self._begun = 0
        self._done = 0
        """Number of the newest run that ended well."""

    def run(self, action: Callable[[], None]) -> None:
        """Returns once `action` has run, begun after this call; raises what its own run raises."""
        with self._count:
            asked_after = self._begun
        with self._one:
            if self._done > asked_after:
                return
            with self._count:
                self._begun += 1
                mine = self._begun
            action()
            self._done = mine
