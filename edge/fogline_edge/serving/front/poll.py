"""What the connections of one event loop share: what one poll made ready, and the bounds on all.

All calls that became ready in one poll of the loop are handed over together, and each connection
is written to once. What other threads end is taken in one go too. Everything but `later` and
`thread` is for the loop's thread alone.
"""

import logging
from collections import deque
from collections.abc import Callable
from math import inf
from threading import get_ident
from typing import Any, Protocol

from fogline.errors import DeadlineExceeded, FoglineError, internal_error
from fogline_edge.serving.calls import Call, OnReady
from fogline_edge.serving.front.config import FrontConfig
from fogline_edge.serving.front.deadlines import Deadlines

_LOG = logging.getLogger(__name__)

MAX_TAKES = 256
"""Messages of streams that are handed over in a row, before calls and writes have their turn."""


class Receiver(Protocol):
    """A call with a message, or the end of its stream, for the `take` that waits."""

    def give(self) -> None:
        """Calls the `take`."""

    def fail(self, error: FoglineError) -> None:
        """Ends the call."""


class Writer(Protocol):
    """A connection with something to send."""

    writes_late: bool
    """Whether the loop writes only when its turn ends."""

    def pump(self) -> None:
        """Sends what can be sent."""

    def give_up(self) -> None:
        """After a fault of ours."""


class Timer(Protocol):
    """What will happen at a time."""

    def cancel(self) -> None:
        """It will not."""


class Loop(Protocol):
    """What is asked of an asyncio event loop."""

    def time(self) -> float:
        """Seconds that never go back."""

    def call_soon(self, callback: Callable[[], object]) -> object:
        """Runs `callback` before the next poll."""

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Runs `callback` at a time."""

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> object:
        """As `call_soon`, from another thread; wakes the loop."""


class Poll:
    """Collects, hands over, and has everything written."""

    def __init__(
        self,
        loop: Loop,
        on_ready: OnReady,
        on_written: Callable[[], None],
        config: FrontConfig,
    ) -> None:
        self.config = config
        self.ready: list[Any] = []
        """Calls that became ready in this poll."""
        self.takes: deque[Receiver] = deque()
        self.deadlines: Deadlines[Any] = Deadlines()
        self.calls = 0
        """Open calls of all connections; until a response is sent, not only made."""
        self.held_bytes = 0
        self.received_calls = 0
        self.refused_calls = 0
        self.faulted_connections = 0
        self.has_dropped = False
        """Whether a call of `ready` may have ended before it was handed over."""
        self.now = loop.time()
        """When this poll began, in seconds of the loop's clock."""
        self._loop = loop
        self._on_ready = on_ready
        self._on_written = on_written
        self.thread = 0
        """Identifier of the loop's thread."""
        self._dirty: list[Writer] = []
        self._later: deque[Callable[[], None]] = deque()
        self._is_scheduled = False
        self._is_woken = False
        self._armed = inf
        """When the next deadline is looked at."""
        self._timer: Timer | None = None
        """The only one: an earlier deadline takes its place."""

    def run_here(self) -> None:
        """Says that the calling thread is the loop's."""
        self.thread = get_ident()

    def later(self, action: Callable[[], None]) -> None:
        """Runs `action` in the loop's thread; from any thread, one wake-up for many."""
        self._later.append(action)
        if not self._is_woken:
            self._is_woken = True
            try:
                self._loop.call_soon_threadsafe(self._take_later)
            except RuntimeError:  # the loop is closed, and every call has ended with it
                self._later.clear()

    def _take_later(self) -> None:
        self._is_woken = False  # first: what is appended from here on wakes the loop again
        flushes, self._is_scheduled = not self._is_scheduled, True
        self.now = self._loop.time()
        later = self._later
        for _ in range(len(later)):
            try:
                later.popleft()()
            except Exception:  # a fault of ours must not keep what waits behind it
                _LOG.exception("what another thread left failed")
        if flushes:
            self.flush()

    def begin(self) -> None:
        """Notes that something happened in this poll; `flush` follows before the next one."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self.now = self._loop.time()
            self._loop.call_soon(self.flush)

    def write_soon(self, writer: Writer) -> None:
        self._dirty.append(writer)
        self.begin()

    def flush(self) -> None:
        """Hands over, then writes."""
        self._is_scheduled = False
        has_given = bool(self.takes) and self._give()
        calls: list[Call] = self.ready
        hands_over = has_given or bool(calls)
        if hands_over:
            self.ready = []
            if self.has_dropped:
                self.has_dropped = False
                calls = [call for call in calls if not call.is_cancelled()]
            self._hand_over(calls)
        dirty, self._dirty = self._dirty, []
        for writer in dirty:
            try:
                writer.pump()
            except Exception:  # a fault of ours ends this connection alone
                _LOG.exception("a connection failed")
                writer.give_up()
        if hands_over:
            if any(writer.writes_late for writer in dirty):
                self._loop.call_soon(self.tell_written)
            else:
                self.tell_written()
        if self.takes:
            self.begin()
        next_at = self.deadlines.next_at()
        if next_at is not None and next_at < self._armed:
            if self._timer is not None:
                self._timer.cancel()
            self._armed = next_at
            self._timer = self._loop.call_at(next_at, self._expire)

    def tell_written(self) -> None:
        """Says that what `on_ready` answered is on its way."""
        try:
            self._on_written()
        except Exception:  # the loop must outlive a fault of ours
            _LOG.exception("what follows answers failed")

    def _expire(self) -> None:
        self._armed, self._timer = inf, None
        self.begin()  # it flushes, and so looks for the next one
        for call in self.deadlines.pop(self.now):
            call.fail(DeadlineExceeded("the deadline passed before the answer was there"))

    def _give(self) -> bool:
        """Calls the `take`s that wait; they may ask for more at once."""
        for _ in range(MAX_TAKES):
            if not self.takes:
                break
            call = self.takes.popleft()
            try:
                call.give()
            except Exception as e:  # a fault of ours ends this call alone
                _LOG.exception("taking a message failed")
                call.fail(internal_error(e))
        return True

    def _hand_over(self, calls: list[Call]) -> None:
        try:
            self._on_ready(calls)
        except Exception as e:  # the loop must outlive a fault of ours; the peers see no traceback
            _LOG.exception("calls failed")
            for call in calls:
                call.fail(internal_error(e))
