"""The connections of an event loop: accepted, greeted, bounded, looked after."""

import asyncio
import errno
import logging
import socket
import ssl
from typing import cast

from fogline_edge.serving.calls import FrontCounts, Peer
from fogline_edge.serving.front import tls
from fogline_edge.serving.front.http2 import WRITE_BYTES, Connection, engine_of
from fogline_edge.serving.front.poll import Poll
from fogline_edge.serving.front.sockets import Bound, credentials_of
from fogline_edge.serving.front.upkeep import PERIOD_S, Upkeep

Context = tls.Renewed[ssl.SSLContext] | None
"""Of a listener with TLS."""

_LOG = logging.getLogger(__name__)

ACCEPTS = 64
"""Connections that are accepted in a row, before those that are open have their turn."""
PAUSE_S = 0.2
"""How long nothing is accepted after the system had no descriptor left."""
_SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TCP = Peer(transport="tcp")


class Wire(asyncio.Protocol):
    """Between a transport and its connection."""

    def __init__(self, connections: "Connections", peer: Peer) -> None:
        self._connections = connections
        self._peer = peer
        self._connection: Connection | None = None
        self._transport: asyncio.Transport | None = None
        self.upkeep: Upkeep | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """After TLS's handshake, where there is TLS."""
        wire = self._transport = cast("asyncio.Transport", transport)
        encrypted: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if encrypted is not None:
            if encrypted.selected_alpn_protocol() != tls.PROTOCOL:
                self._connections.refuse(wire)  # it speaks something else
                return
            self._peer = Peer(transport="tls", subject=tls.subject_of(encrypted))
        # With no buffer allowed both loops write at once, and pause when the socket takes no more;
        # otherwise uvloop writes when this turn of the loop ends. TLS would never resume.
        wire.set_write_buffer_limits(high=WRITE_BYTES if encrypted is not None else 0)
        self._connection = self._connections.made(self, self._peer, wire)
        self.upkeep = Upkeep(self._connection, wire, self._connection.poll.now)

    @property
    def connection(self) -> Connection | None:
        return self._connection

    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.receive(data)

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.pause()

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        if self._connection is not None:
            self._connection.lost()
        self._connections.lost(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Connections:
    """Of all listeners of a front; all but `counts` in the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, poll: Poll) -> None:
        self._loop = loop
        self._poll = poll
        self._engine = engine_of(poll.config)
        self._listeners: list[tuple[Bound, Context]] = []
        self._wires: set[Wire] = set()
        self._greetings: set[asyncio.Task[None]] = set()
        self._accepted = 0
        self._refused = 0
        self._is_closing = False

    def __len__(self) -> int:
        """Those that are being greeted too."""
        return len(self._wires)

    def listen(self, bound: Bound, context: Context) -> None:
        """Before `begin`."""
        self._listeners.append((bound, context))

    def begin(self) -> None:
        """Accepts from now on."""
        self._poll.run_here()
        for listener in self._listeners:
            self._watch(*listener)
        self._loop.call_later(PERIOD_S, self._look)

    def _watch(self, bound: Bound, context: Context) -> None:
        if not self._is_closing:
            self._loop.add_reader(bound.socket, self._accept, bound, context)

    def _accept(self, bound: Bound, context: Context, at_most: int = ACCEPTS) -> None:
        for _ in range(at_most):
            try:
                accepted, _address = bound.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as e:
                if e.errno not in _SHORT_OF:
                    raise
                _LOG.warning("no connection can be accepted", extra={"why": e.strerror})
                self._loop.remove_reader(bound.socket)
                self._loop.call_later(PAUSE_S, self._watch, bound, context)
                return
            if len(self) >= self._poll.config.max_connections:
                self._refused += 1
                accepted.close()
                continue
            self._accepted += 1
            accepted.setblocking(False)
            wire = Wire(self, _peer_of(accepted))
            self._wires.add(wire)
            secure = context.current(self._loop.time()) if context is not None else None
            task = self._loop.create_task(self._greet(wire, accepted, secure))
            self._greetings.add(task)
            task.add_done_callback(self._greetings.discard)

    async def _greet(
        self, wire: Wire, accepted: socket.socket, context: ssl.SSLContext | None
    ) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: wire,
                accepted,
                ssl=context,
                ssl_handshake_timeout=self._poll.config.handshake_timeout_s if context else None,
            )
        except (OSError, asyncio.CancelledError) as e:  # of TLS too: SSLError is an OSError
            _LOG.info("no connection", extra={"why": str(e) or type(e).__name__})
            self._poll.faulted_connections += 1
            self._wires.discard(wire)

    def made(self, wire: Wire, peer: Peer, transport: asyncio.Transport) -> Connection:
        self._wires.add(wire)  # again, if it was given up in between
        self._poll.begin()
        connection = Connection(self._poll, peer, transport, self._engine)
        if self._is_closing:
            connection.notice()
        return connection

    def refuse(self, transport: asyncio.Transport) -> None:
        self._poll.faulted_connections += 1
        transport.abort()

    def lost(self, wire: Wire) -> None:
        self._wires.discard(wire)

    def _look(self) -> None:
        self._loop.call_later(PERIOD_S, self._look)
        now = self._loop.time()
        self._poll.begin()
        for wire in list(self._wires):
            if wire.upkeep is not None:
                wire.upkeep.look(now)

    def close_listeners(self) -> None:
        """Accepts who has knocked already, then nobody, and tells everybody of the end."""
        for bound, context in self._listeners:
            # As many as the system keeps (it keeps one more), or they would be reset.
            self._accept(bound, context, self._poll.config.backlog + 1)
        self._is_closing = True
        for bound, _ in self._listeners:
            self._loop.remove_reader(bound.socket)
            bound.close()
        for connection in self._connections():
            connection.notice()

    def leave(self) -> None:
        """Takes no new calls, from whom has not answered that it has heard either."""
        for connection in self._connections():
            connection.leave()

    def stop(self) -> None:
        """Ends all calls."""
        for task in self._greetings:
            task.cancel()
        for connection in self._connections():
            connection.stop()

    def abort(self) -> None:
        """After the loop has stopped."""
        self._poll.tell_written()  # what it was to be told next
        for wire in list(self._wires):
            wire.abort()
            if wire.connection is not None:
                wire.connection.lost()

    def _connections(self) -> list[Connection]:
        return [wire.connection for wire in self._wires if wire.connection is not None]

    def counts(self) -> FrontCounts:
        poll = self._poll
        return FrontCounts(
            connections=len(self._wires),
            calls=poll.calls,
            held_bytes=poll.held_bytes,
            accepted_connections=self._accepted,
            refused_connections=self._refused,
            faulted_connections=poll.faulted_connections,
            received_calls=poll.received_calls,
            refused_calls=poll.refused_calls,
        )


def _peer_of(accepted: socket.socket) -> Peer:
    if accepted.family != socket.AF_UNIX:
        return _TCP
    uid, pid = credentials_of(accepted)
    return Peer(transport="unix", uid=uid, pid=pid)
