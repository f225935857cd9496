"""What time does to a connection: handshakes, requests and responses that do not come on, silence.

Looked at every `PERIOD_S`, all connections together; a timer for each of their waits would cost
more than they do.
"""

from typing import Protocol

from fogline.errors import DeadlineExceeded
from fogline_edge.serving.front.call import Http2Call, Mark
from fogline_edge.serving.front.config import FrontConfig
from fogline_edge.serving.front.http2 import Connection, State

PERIOD_S = 1.0
NOTICE_S = 1.0
"""How long a peer may take to answer that it has heard of the end."""
CLOSE_S = 2.0
"""How long the last bytes may take to leave."""
PROGRESS_BYTES = 4096
"""Less than this in `stalled_timeout_s` is no progress, unless it is all."""
RATE_BYTES = 64 * 1024
"""A request may take a second more for each of these."""


class Wire(Protocol):
    """What is asked of the transport."""

    def abort(self) -> None:
        """Closes."""

    def get_write_buffer_size(self) -> int:
        """Bytes that the socket has not taken."""


class Upkeep:
    """Of one connection; for the loop's thread."""

    def __init__(self, connection: Connection, wire: Wire, now: float) -> None:
        self._connection = connection
        self._wire = wire
        self._config: FrontConfig = connection.poll.config
        self._since = now
        self._state = connection.state
        self._state_since = now
        self._reads = 0
        self._heard = now
        """When something was last read."""
        self._asked = 0.0
        self._looked = now
        self._mark: Mark | None = None

    def look(self, now: float) -> None:
        """Ends what has taken too long."""
        connection = self._connection
        connection.conduct.passed(now - self._looked)
        self._looked = now
        if connection.state is not self._state:
            self._state, self._state_since = connection.state, now
        if self._has_closed(now):
            return
        if not connection.is_greeted and now - self._since > self._config.handshake_timeout_s:
            connection.expel(b"handshake_timeout")
            return
        for call in list(connection.calls.values()):
            self._look_at_request(call, now)
            self._look_at_response(call, now)
        self._look_at_silence(now)
        self._look_at_socket(now)

    def _has_closed(self, now: float) -> bool:
        if self._state is State.CLOSED:
            if now - self._state_since > CLOSE_S:
                self._wire.abort()
            return True
        if self._state is State.NOTICED and now - self._state_since > NOTICE_S:
            self._connection.leave()
        return False

    def _look_at_request(self, call: Http2Call, now: float) -> None:
        if call.has_request or call.has_ended:
            return
        came, since = 0, call.since
        if call.body is not None:
            under_way, since = call.body.under_way_bytes, call.body.since
            if under_way is None and call.body.streams:
                return  # a stream may rest between its messages
            came = under_way or 0
        if now - since > self._config.request_timeout_s + came / RATE_BYTES:
            call.fail(
                DeadlineExceeded(f"the request was not whole in time; {came} bytes of it came")
            )

    def _look_at_response(self, call: Http2Call, now: float) -> None:
        unsent = self._connection.unsent_bytes(call)
        if not unsent:
            call.mark = None
        elif call.mark is None:
            call.mark = (call.given_bytes - unsent, now)
        elif now - call.mark[1] > self._config.stalled_timeout_s:
            sent = call.given_bytes - unsent
            if sent < call.mark[0] + PROGRESS_BYTES:
                self._connection.cancel(call)
            call.mark = (sent, now)

    def _look_at_silence(self, now: float) -> None:
        connection, config = self._connection, self._config
        if connection.reads != self._reads:
            self._reads, self._heard = connection.reads, now
            connection.is_asked = False
        elif connection.is_asked:
            if now - self._asked > config.keepalive_timeout_s:
                connection.expel(b"keepalive_timeout")
        elif connection.calls:
            if now - self._heard > config.keepalive_s:
                self._asked = now
                connection.ask()
        elif now - self._heard > config.idle_timeout_s:
            connection.notice()

    def _look_at_socket(self, now: float) -> None:
        if not self._connection.is_paused:
            self._mark = None
            return
        unsent = self._wire.get_write_buffer_size()
        if self._mark is None or unsent < self._mark[0]:
            # Nothing is added to a paused socket, so that less is progress.
            self._mark = (unsent, now)
        elif now - self._mark[1] > self._config.stalled_timeout_s:
            self._connection.expel(b"stalled")
            self._wire.abort()
