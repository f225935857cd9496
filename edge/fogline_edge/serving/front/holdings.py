"""What one connection holds for its calls: bytes against their bounds, and its peer's windows.

Memory is bounded by counting what has come and what waits to be sent. Windows alone could not do
it: a peer may open them as wide as it likes for responses, and requests of many streams that wait
for each other would fill a connection's window and stop it for good. So what comes gives its window
back at once, except where a call does not take its messages.
"""

from typing import Protocol

from fogline.errors import Exhausted
from fogline_edge.serving.front.body import Body
from fogline_edge.serving.front.poll import Poll

INBOX_BYTES = 64 * 1024
INBOX_MESSAGES = 64
"""Untaken messages of a call from which on its peer's window is not given back."""


class Session(Protocol):
    """What is asked of HTTP/2."""

    def acknowledge_received_data(self, amount: int, stream_id: int) -> None:
        """Gives a window back."""

    def set_local_window_size(self, window_size: int) -> None:
        """Sets the connection's window."""


class Holdings:
    """Of one connection; for the loop's thread."""

    def __init__(self, poll: Poll, session: Session) -> None:
        self._poll = poll
        self._config = poll.config
        self._session = session
        self._request_bytes = 0
        self._unsent_bytes = 0
        self._kept_bytes = 0
        """What calls do not take; lent to the connection's window, so that others can go on."""
        self._window_bytes = self._config.connection_window_bytes
        self._is_open = True
        session.set_local_window_size(self._window_bytes)

    def count(self, body: Body) -> None:
        """Counts what a call has received. Raises `Exhausted` when that is too much."""
        more = body.held_bytes - body.counted
        body.counted += more
        self._request_bytes += more
        self._poll.held_bytes += more
        if more > 0 and (error := self.refusal_of(0)):
            raise error

    def count_unsent(self, unsent: int) -> None:
        """Notes how many bytes of responses wait for the peer or its socket."""
        self._poll.held_bytes += unsent - self._unsent_bytes
        self._unsent_bytes = unsent

    @property
    def has_unsent(self) -> bool:
        return self._unsent_bytes > 0

    def refusal_of(self, more: int) -> Exhausted | None:
        """The error to give when there is no room for so many bytes more.

        Not raised here: an error that was caught and kept holds its frames in a cycle, and with
        them the message, until the next garbage collection.
        """
        config = self._config
        own = self._request_bytes + self._unsent_bytes + more
        every = self._poll.held_bytes + more
        if own <= config.max_connection_bytes and every <= config.max_held_bytes:
            return None
        self._poll.refused_calls += 1
        return Exhausted(
            f"the connection would hold {own} of {config.max_connection_bytes} bytes, the "
            f"server {every} of {config.max_held_bytes}; try later"
        )

    def give_back(self, stream_id: int, body: Body, size: int) -> None:
        """Lets the peer send as many bytes more, once the call takes what there is."""
        if _is_full(body):
            body.kept += size
            self._kept_bytes += size
            self._lend()
        elif size and self._is_open:
            self._session.acknowledge_received_data(size, stream_id)

    def taken(self, stream_id: int, body: Body) -> None:
        """After a message was taken, or all were given up."""
        self.count(body)
        if body.kept and not _is_full(body):
            size, body.kept = body.kept, 0
            self._kept_bytes -= size
            self.give_back(stream_id, body, size)
            self._lend()

    def close(self) -> None:
        """The connection has ended: nothing waits to be sent, and no windows are left."""
        self._is_open = False
        self.count_unsent(0)

    def _lend(self) -> None:
        window = self._config.connection_window_bytes + self._kept_bytes
        if self._is_open and abs(window - self._window_bytes) > INBOX_BYTES:
            self._window_bytes = window
            self._session.set_local_window_size(window)


def _is_full(body: Body) -> bool:
    return body.whole_bytes > INBOX_BYTES or len(body.messages) > INBOX_MESSAGES
