"""One HTTP/2 connection and its calls, within their bounds. Sole importer of `ngh2`.

No I/O but through the transport that it is given; for the loop's thread alone. Sources: RFC 9113
(HTTP/2) and gRPC's specification (`doc/PROTOCOL-HTTP2.md` of grpc/grpc).
"""

import logging
from contextlib import suppress
from enum import Enum
from typing import Any, Protocol

import ngh2

from fogline.errors import Exhausted, FoglineError, Unavailable
from fogline_edge.serving.calls import Peer
from fogline_edge.serving.front import grpc
from fogline_edge.serving.front.call import Http2Call
from fogline_edge.serving.front.conduct import FLOOD, Conduct
from fogline_edge.serving.front.config import FrontConfig
from fogline_edge.serving.front.holdings import Holdings
from fogline_edge.serving.front.poll import Poll
from fogline_edge.serving.front.requests import FRAME_BYTES, Requests
from fogline_edge.serving.front.responses import SMALL_BYTES, Responses

_LOG = logging.getLogger(__name__)

WRITE_BYTES = 256 * 1024
"""What is handed to the transport at once."""
HARD = 4
"""How many times `max_header_bytes` end the connection, and not the call alone."""
DRAIN_PING = b"leaving\0"
ALIVE_PING = b"alive?\0\0"


class Transport(Protocol):
    """What is asked of an asyncio transport."""

    def write(self, data: bytes) -> None:
        """Sends, or keeps what the socket does not take."""

    def close(self) -> None:
        """Closes when everything is sent."""

    def abort(self) -> None:
        """Closes."""

    def get_write_buffer_size(self) -> int:
        """Bytes that the socket has not taken."""


class State(Enum):
    """How far a connection is from its end."""

    OPEN = "open"
    NOTICED = "noticed"
    """The peer was told that it will end; calls that cross the notice are served."""
    LEAVING = "leaving"
    """No new calls; it ends with the last one."""
    CLOSED = "closed"


def engine_of(config: FrontConfig) -> ngh2.Configuration:
    """nghttp2's own bounds; shared by all connections."""
    return ngh2.Configuration(
        auto_window_update=False,
        max_inbound_header_list_size=HARD * config.max_header_bytes,
        max_inbound_header_count=HARD * config.max_header_bytes // 64,
        stream_reset_rate_limit=(4 * config.max_streams, config.max_streams),
        max_outbound_ack=256,
    )


def _settings(config: FrontConfig) -> dict[int, int]:
    return {
        ngh2.Setting.MAX_CONCURRENT_STREAMS: config.max_streams,
        ngh2.Setting.INITIAL_WINDOW_SIZE: config.stream_window_bytes,
        ngh2.Setting.MAX_FRAME_SIZE: FRAME_BYTES,
        ngh2.Setting.MAX_HEADER_LIST_SIZE: config.max_header_bytes,
    }


class Connection:
    """The calls of one peer."""

    def __init__(
        self, poll: Poll, peer: Peer, transport: Transport, engine: ngh2.Configuration
    ) -> None:
        self.poll = poll
        self.peer = peer
        self.writes_late = peer.transport == "tls"
        self.calls: dict[int, Http2Call] = {}
        """By stream, until the last byte of the response is on its way."""
        self.state = State.OPEN
        self.is_greeted = False
        """Whether the peer's first SETTINGS came."""
        self.is_paused = False
        """Whether the socket takes no more."""
        self.is_asked = False
        """Whether a PING of `ask` waits for its answer."""
        self.reads = 0
        self.conduct = Conduct(poll.config)
        self._config = poll.config
        self._transport = transport
        self._session = ngh2.Connection(ngh2.Role.SERVER, engine)
        self._session.initiate_connection(_settings(self._config))
        self._holdings = Holdings(poll, self._session)
        self._responses = Responses(self._session, self._holdings, self._config)
        self._requests = Requests(self, self._session, self._holdings)
        self._is_dirty = False
        self._answers = 0
        """Responses made since the last write."""
        self._has_left = False
        """Whether the peer has said that it makes no more calls."""
        self._owes_ping = False
        """Whether the notice is to be followed by a PING, whose answer says that it was heard."""
        self._early: list[int] = []
        """Streams that were answered before their request was whole."""
        self._blocked: set[Http2Call] = set()
        """Calls of which someone waits until they are writable."""
        self._write_soon()

    def has_closed(self) -> bool:
        return self.state is State.CLOSED

    # What comes in

    def receive(self, data: bytes) -> None:
        """Takes bytes of the peer."""
        if self.has_closed():
            return
        self.reads += 1
        is_flood = self.conduct.came(len(data))
        try:
            self._session.receive_data(data)
            self._handle(self._session.events())
        except ngh2.NGH2Error as e:
            self._break(e)
        if is_flood:
            self.expel(FLOOD)
        if self.has_closed():
            self.lost()  # also what came behind the fault
        elif not self._is_dirty:
            self._write_soon()

    def _handle(self, events: list[Any]) -> None:
        on_headers, on_data = self._requests.on_headers, self._requests.on_data
        for event in events:
            kind = type(event)
            if kind is ngh2.DataReceived:
                on_data(event.stream_id, event.data, event.end_stream)
            elif kind is ngh2.RequestReceived:
                on_headers(event.stream_id, event.headers, event.end_stream)
            elif kind is ngh2.StreamClosed:
                call = self.calls.pop(event.stream_id, None)
                if call is not None:
                    self.poll.calls -= 1
                    if not call.has_ended:
                        self._drop(call)
            else:
                self._on_control(event)

    def taken(self, call: Http2Call) -> None:
        if call.body is not None:
            self._holdings.taken(call.stream_id, call.body)
            self._write_soon()

    def hold(self, call: Http2Call, more: int) -> None:
        if call.has_ended or call.body is None:
            return
        call.body.lent_bytes += more
        try:
            self._holdings.count(call.body)
        except Exhausted as e:
            self.end(call, None, e)

    def _on_control(self, event: ngh2.Event) -> None:
        self.charge()
        match event:
            case ngh2.TrailersReceived(stream_id, _):
                self._requests.on_trailers(stream_id)
            case ngh2.ConnectionClosed():
                self._end()
            case ngh2.SettingsReceived():
                self.is_greeted = True
            case ngh2.PingReceived():
                if fault := self.conduct.ping(self.poll.now):
                    self.expel(fault)
            case ngh2.PingAcknowledged(opaque):
                self.is_asked = self.is_asked and opaque != ALIVE_PING
                if opaque == DRAIN_PING:
                    self.leave()
            case ngh2.GoAwayReceived():
                self._has_left = True
            case _:
                pass  # WINDOW_UPDATE, RST_STREAM (its StreamClosed follows) ...

    def charge(self) -> None:
        """Counts a frame that carries no call's data."""
        if fault := self.conduct.charge():
            self.expel(fault)

    # What goes out

    def end(self, call: Http2Call, response: bytes | None, error: FoglineError | None) -> None:
        if call.has_ended:
            return
        call.has_ended = True
        try:
            if (
                error is None
                and response is not None
                and len(response) <= SMALL_BYTES
                and not call.has_headers
                and not call.gzips
            ):
                session, stream_id = self._session, call.stream_id
                session.send_response(stream_id, grpc.RESPONSE)
                session.send_data(stream_id, b"\0" + len(response).to_bytes(4, "big") + response)
                session.send_trailers(stream_id, grpc.OK_TRAILERS)
            else:
                self._responses.end(call, response, error)
        except ngh2.NGH2Error:
            pass  # the peer has reset the stream: nobody waits
        self._answers += 1
        if not call.has_request:
            self._early.append(call.stream_id)
        if call.callbacks or call.body is not None or call.deadline_step or call.writers:
            self._settle(call)
        if not self._is_dirty:
            self._write_soon()

    def _drop(self, call: Http2Call) -> None:
        """Ends a call whose stream is gone."""
        call.has_ended = self.poll.has_dropped = True
        self._settle(call)

    def _settle(self, call: Http2Call) -> None:
        """After a call's end: gives back what it holds, and tells who waits for it."""
        if call.deadline_step:
            self.poll.deadlines.remove(call, call.deadline_step)
        if call.body is not None:
            call.body.clear()
            self._holdings.taken(call.stream_id, call.body)
        if call.callbacks or call.writers:
            call.run_callbacks()

    def refuse(self, call: Http2Call, status: bytes) -> None:
        """Answers what is not gRPC at all."""
        call.has_ended = True
        with suppress(ngh2.NGH2Error):  # the peer has reset the stream already
            self._responses.refuse(call, status)
        if not call.has_request:
            self._early.append(call.stream_id)

    def send(self, call: Http2Call, response: bytes) -> None:
        if call.has_ended:
            return
        try:
            self._responses.send(call, response)
            self._answers += 1
        except Exhausted as e:
            self.end(call, None, e)
        except ngh2.NGH2Error:
            pass  # the peer has reset the stream; its StreamClosed will end the call
        self._write_soon()

    def unsent_bytes(self, call: Http2Call) -> int:
        """What waits for the peer's window."""
        return self._responses.unsent_bytes(call)

    def cancel(self, call: Http2Call) -> None:
        """Gives a response up."""
        with suppress(ngh2.NGH2Error):
            self._session.reset_stream(call.stream_id, ngh2.ErrorCode.CANCEL)
            self._write_soon()

    def is_writable(self, call: Http2Call) -> bool:
        return not self.is_paused and self._responses.is_writable(call)

    def watch_writable(self, call: Http2Call) -> None:
        if call.has_ended or call.is_writable():
            call.wake_writers()
        else:
            self._blocked.add(call)

    def _write_soon(self) -> None:
        if not self._is_dirty:
            self._is_dirty = True
            self.poll.write_soon(self)

    def pump(self) -> None:
        """Sends what can be sent."""
        self._is_dirty = False
        if self.has_closed():
            return
        session = self._session
        try:
            self.conduct.sent(self._write(), answers=self._answers)
            self._answers = 0
            self._handle(session.events())
            if self._early:
                self._reset_early()
            self._count_unsent()
            if self._blocked:
                self._wake_blocked()
            if self._owes_ping and not self.is_paused:
                # Only now: nghttp2 would send it before the notice.
                self._owes_ping = False
                session.ping(DRAIN_PING)
                self._write_soon()
            if not session.want_read and not session.want_write and not self.is_paused:
                self._end()
        except ngh2.NGH2Error as e:
            self._break(e)

    def give_up(self) -> None:
        """After a fault of ours."""
        self._blame("a fault of ours")

    def _write(self) -> int:
        """Returns the bytes that were handed to the transport."""
        sent = 0
        while not self.is_paused:
            data = self._session.data_to_send(WRITE_BYTES)
            if data:
                sent += len(data)
                self._transport.write(data)
            if len(data) < WRITE_BYTES:
                break
        return sent

    def _reset_early(self) -> None:
        """Tells peers to stop sending what nobody reads, once they have their answer."""
        waiting, self._early = self._early, []
        for stream_id in waiting:
            if stream_id not in self.calls:
                continue
            if self._session.queued_body_size(stream_id):
                self._early.append(stream_id)
            else:
                self._session.reset_stream(stream_id, ngh2.ErrorCode.NO_ERROR)
                self._write_soon()

    def _count_unsent(self) -> None:
        queued = self._session.queued_body_size()
        if queued or self.is_paused or self._holdings.has_unsent:
            self._holdings.count_unsent(queued + self._transport.get_write_buffer_size())

    def _wake_blocked(self) -> None:
        blocked, self._blocked = self._blocked, set()
        for call in blocked:
            self.watch_writable(call)

    def pause(self) -> None:
        """The socket takes no more."""
        self.is_paused = True

    def resume(self) -> None:
        """The socket takes more."""
        self.is_paused = False
        self._write_soon()

    # Its end

    # nghttp2 takes nothing more once it has found the peer's fault and tells it so.

    def notice(self) -> None:
        """Begins the end: the peer is told."""
        if self.state is State.OPEN:
            self.state = State.NOTICED
            with suppress(ngh2.NGH2Error):
                self._session.send_shutdown_notice()
                self._owes_ping = True
            self._write_soon()

    def leave(self) -> None:
        """Takes no new calls, and closes after the last one."""
        if self.state is State.NOTICED:
            self.state = State.LEAVING
            with suppress(ngh2.NGH2Error):
                self._session.send_goaway()
            self._write_soon()

    def ask(self) -> None:
        """Asks the peer whether it lives."""
        self.is_asked = True
        with suppress(ngh2.NGH2Error):
            self._session.ping(ALIVE_PING)
        self._write_soon()

    def expel(self, why: bytes) -> None:
        """Closes at once, and tells the peer why."""
        if self.has_closed():
            return
        with suppress(ngh2.NGH2Error):  # it may be too late to tell
            self._session.send_goaway(ngh2.ErrorCode.ENHANCE_YOUR_CALM, debug_data=why)
            if not self.is_paused:
                self._transport.write(self._session.data_to_send(WRITE_BYTES))
        self._blame(why.decode())

    def _end(self) -> None:
        """Nothing is left to be read or sent."""
        if self._has_left or self.state in (State.LEAVING, State.CLOSED):
            self._close()
        else:  # nghttp2 has told the peer its fault, and reads no more
            self._blame("the peer broke the protocol")

    def _break(self, error: ngh2.NGH2Error) -> None:
        """The peer broke the protocol."""
        if not self.has_closed():
            self._blame(str(error))

    def _blame(self, why: str) -> None:
        _LOG.info("connection closed", extra={"why": why, "peer": self.peer.transport})
        self.poll.faulted_connections += 1
        self._close()

    def stop(self) -> None:
        """Ends every call, then the connection."""
        for call in list(self.calls.values()):
            self.end(call, None, Unavailable("the server is stopping"))
        self.pump()
        self._close()

    def _close(self) -> None:
        if not self.has_closed():
            self.state = State.CLOSED
            self._transport.close()
            self.lost()

    def lost(self) -> None:
        """Ends every call: the connection is gone."""
        self.state = State.CLOSED
        calls = list(self.calls.values())
        self.calls.clear()
        self.poll.calls -= len(calls)
        self._holdings.close()
        for call in calls:
            if not call.has_ended:
                self._drop(call)
        self._blocked.clear()
