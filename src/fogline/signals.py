"""Waiting for SIGTERM or SIGINT without missing it.

An `Event` that a signal handler sets is not enough: Python runs handlers in the main thread alone,
and a signal that comes just before that thread sleeps, or that the system gives to another thread,
does not wake it. The interpreter's C handler therefore writes the signal's number to a socket that
the main thread reads (`signal.set_wakeup_fd`).
"""

import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """Tells that the process was asked to stop."""

    def __init__(self, reader: socket.socket) -> None:
        self._reader = reader
        self._number: int | None = None

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Waits for the first signal and returns its number, or None after `timeout_s` seconds."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._number is None:
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._reader], [], [], left_s)[0]:
                return None
            stopping = [n for n in self._reader.recv(64) if n in STOPPING]
            self._number = stopping[0] if stopping else None
        return self._number


@contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Takes SIGTERM and SIGINT over, in the main thread, until the block ends.

    The first one is told by `StopSignal.wait`; a second one ends the process at once.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def take(*_: object) -> None:
        for number in STOPPING:
            signal.signal(number, signal.SIG_DFL)

    before_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, take) for number in STOPPING}
    try:
        yield StopSignal(reader)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        reader.close()
        writer.close()
