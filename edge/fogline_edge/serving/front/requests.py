"""Requests of calls: admitted by their headers, put together from their data.

The common request is one message in one frame. Everything else goes through a `Body`.
"""

from collections.abc import Mapping
from typing import Protocol

from fogline.errors import Exhausted, FoglineError
from fogline.wire.services import METHODS
from fogline_edge.serving.front import grpc
from fogline_edge.serving.front.body import Body
from fogline_edge.serving.front.call import Http2Call, Owner
from fogline_edge.serving.front.conduct import Conduct
from fogline_edge.serving.front.holdings import Holdings

FRAME_BYTES = 16 * 1024
"""Longest frame that a peer may send, HTTP/2's own default; what is shorter is not counted."""

_ROUTES: Mapping[bytes, tuple[str, bool]] = {
    path.encode(): (path, method.streams_requests) for path, method in METHODS.items()
}


class Session(Protocol):
    """What is asked of HTTP/2."""

    def acknowledge_received_data(self, amount: int, stream_id: int) -> None:
        """Gives a window back."""


class Receiver(Owner, Protocol):
    """The connection."""

    calls: dict[int, Http2Call]
    conduct: Conduct

    def refuse(self, call: Http2Call, status: bytes) -> None:
        """Answers what is not gRPC at all."""

    def charge(self) -> None:
        """Counts a frame that carries no call's data."""


class Requests:
    """Of one connection; for the loop's thread."""

    def __init__(self, owner: Receiver, session: Session, holdings: Holdings) -> None:
        self._owner = owner
        self._calls = owner.calls
        self._poll = owner.poll
        self._config = owner.poll.config
        self._session = session
        self._holdings = holdings
        self._fast_bytes = min(FRAME_BYTES, grpc.PREFIX_BYTES + self._config.max_message_bytes)

    def on_headers(self, stream_id: int, headers: grpc.Headers, ends: bool) -> None:
        poll = self._poll
        fields = dict(headers)
        path = fields.get(b":path", b"")  # CONNECT has none
        method, streams = _ROUTES.get(path) or (path.decode("latin-1"), True)
        call = Http2Call(self._owner, stream_id, method, headers, poll.now)
        call.has_request = ends
        self._calls[stream_id] = call
        poll.calls += 1
        poll.received_calls += 1
        self._owner.conduct.idle_bytes = 0
        if (
            fields.get(b"content-type") != b"application/grpc" or fields[b":method"] != b"POST"
        ) and (status := grpc.refusal_of(fields)):
            self._owner.refuse(call, status)
            return
        try:
            self._admit(call, fields, streams)
        except FoglineError as e:
            self._owner.end(call, None, e)

    def _admit(self, call: Http2Call, fields: Mapping[bytes, bytes], streams: bool) -> None:
        poll = self._poll
        if poll.calls > self._config.max_calls:
            poll.refused_calls += 1
            raise Exhausted(f"{self._config.max_calls} calls are open already; try later")
        if len(b"".join(fields.values())) > self._config.max_header_bytes:
            raise Exhausted(f"the call's headers are longer than {self._config.max_header_bytes}")
        if b"grpc-encoding" in fields:
            call.is_gzip = grpc.is_gzip(fields[b"grpc-encoding"])
            # As gRPC's Go servers: whoever compresses, and takes it, is answered alike.
            call.gzips = call.is_gzip and grpc.accepts_gzip(fields.get(b"grpc-accept-encoding"))
        if b"grpc-timeout" in fields:
            call.deadline_s = grpc.timeout_of(fields[b"grpc-timeout"])
            if call.deadline_s is not None:
                call.deadline_step = poll.deadlines.add(call, poll.now + call.deadline_s)
        if streams:
            self._open_body(call, streams=True)
            poll.ready.append(call)
        elif call.has_request:
            self._open_body(call, streams=False).end()

    def on_data(self, stream_id: int, data: bytes, ends: bool) -> None:
        size = len(data)
        call = self._calls.get(stream_id)
        if call is None or call.has_ended:
            self._owner.charge()  # it takes a while until a peer learns that its call has ended
            if size:
                self._session.acknowledge_received_data(size, stream_id)
            return
        if (
            ends
            and call.body is None
            and grpc.PREFIX_BYTES <= size <= self._fast_bytes
            and not data[0]
            and int.from_bytes(data[1 : grpc.PREFIX_BYTES], "big") == size - grpc.PREFIX_BYTES
        ):
            # One message in one frame: so small that the number of calls bounds them all.
            self._session.acknowledge_received_data(size, stream_id)
            call.message = data[grpc.PREFIX_BYTES :]
            call.has_request = True
            self._poll.ready.append(call)
            return
        if size:
            self._owner.conduct.idle_bytes = 0
        elif not ends:
            self._owner.charge()
        self._on_part(call, data, ends)

    def _on_part(self, call: Http2Call, data: bytes, ends: bool) -> None:
        body = call.body or self._open_body(call, streams=False)
        call.has_request = ends
        try:
            if data:
                body.add(data, self._poll.now)
                self._holdings.count(body)
            if ends:
                body.end()
        except FoglineError as e:
            self._owner.end(call, None, e)
        self._holdings.give_back(call.stream_id, body, len(data))
        if call.has_ended:
            return
        if body.streams:
            call.offer()
        elif ends:
            call.message = body.messages[0]
            self._poll.ready.append(call)

    def _open_body(self, call: Http2Call, *, streams: bool) -> Body:
        limit = self._config.limit_of(call.method)
        call.body = Body(
            call.method,
            streams=streams,
            is_gzip=call.is_gzip,
            limit=limit,
            inflated=min(self._config.max_inflated_bytes, limit),
            now=self._poll.now,
        )
        return call.body

    def on_trailers(self, stream_id: int) -> None:
        """Ends a request; gRPC's clients send none, but HTTP allows them."""
        call = self._calls.get(stream_id)
        if call is not None and not call.has_ended:
            self._on_part(call, b"", ends=True)
