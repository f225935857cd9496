"""Responses of calls, written as gRPC has them, within the bounds on what waits to be sent."""

from collections.abc import Sequence
from typing import Protocol

from fogline.errors import Exhausted, FoglineError
from fogline_edge.serving.front import grpc
from fogline_edge.serving.front.call import Http2Call
from fogline_edge.serving.front.config import FrontConfig
from fogline_edge.serving.front.holdings import Holdings

SMALL_BYTES = 16 * 1024
"""Messages up to it are not counted, for the number of calls bounds them, and are copied."""
GZIP_BYTES = range(1024, 1024 * 1024)
"""Shorter responses gain nothing by compression; longer ones would hold the loop up."""

Pairs = Sequence[tuple[bytes, bytes]]


class Session(Protocol):
    """What is asked of HTTP/2."""

    def send_response(self, stream_id: int, headers: Pairs, *, end_stream: bool = False) -> None:
        """Sends headers."""

    def send_data(self, stream_id: int, data: bytes) -> None:
        """Sends, when the peer's window allows it."""

    def send_trailers(self, stream_id: int, headers: Pairs) -> None:
        """Ends the stream after its data."""

    def queued_body_size(self, stream_id: int | None = None) -> int:
        """Bytes that wait for the peer's window; of all streams without one."""


class Responses:
    """Of one connection; raises what the session raises when the stream is gone."""

    def __init__(self, session: Session, holdings: Holdings, config: FrontConfig) -> None:
        self._session = session
        self._holdings = holdings
        self._config = config

    def end(self, call: Http2Call, response: bytes | None, error: FoglineError | None) -> None:
        """The last response, or none, and the status."""
        session, stream_id = self._session, call.stream_id
        if error is None and response is not None and len(response) > SMALL_BYTES:
            error = self._holdings.refusal_of(len(response))
        if error is not None:
            trailers = grpc.trailers_of(error)
            if not call.has_headers:
                session.send_response(stream_id, (*grpc.RESPONSE, *trailers), end_stream=True)
                return
        else:
            trailers = grpc.OK_TRAILERS
            if not call.has_headers:
                session.send_response(
                    stream_id, grpc.RESPONSE_GZIP if call.gzips else grpc.RESPONSE
                )
            if response is not None:
                self._send_message(call, response)
        session.send_trailers(stream_id, trailers)

    def send(self, call: Http2Call, response: bytes) -> None:
        """One of many. Raises `Exhausted` when too many wait."""
        unsent = self._session.queued_body_size(call.stream_id)
        if unsent > self._config.max_unsent_bytes:
            raise Exhausted(f"{unsent} bytes of responses wait for the peer to read them")
        if error := self._holdings.refusal_of(len(response)):
            raise error
        if not call.has_headers:
            call.has_headers = True
            self._session.send_response(
                call.stream_id, grpc.RESPONSE_GZIP if call.gzips else grpc.RESPONSE
            )
        self._send_message(call, response)

    def refuse(self, call: Http2Call, status: bytes) -> None:
        """Answers what is not gRPC by HTTP alone, as gRPC's specification wants."""
        self._session.send_response(call.stream_id, ((b":status", status),), end_stream=True)

    def unsent_bytes(self, call: Http2Call) -> int:
        """What waits for the peer's window."""
        return self._session.queued_body_size(call.stream_id)

    def is_writable(self, call: Http2Call) -> bool:
        return self.unsent_bytes(call) <= self._config.max_unsent_bytes // 16

    def _send_message(self, call: Http2Call, message: bytes) -> None:
        session, stream_id, size = self._session, call.stream_id, len(message)
        if call.gzips and size in GZIP_BYTES:
            message = grpc.compress(message)
            session.send_data(stream_id, grpc.prefix(message, compressed=True) + message)
        elif size <= SMALL_BYTES:
            session.send_data(stream_id, grpc.prefix(message) + message)
        else:  # without a copy
            session.send_data(stream_id, grpc.prefix(message))
            session.send_data(stream_id, message)
            self._holdings.count_unsent(session.queued_body_size())
        call.given_bytes += grpc.PREFIX_BYTES + len(message)
