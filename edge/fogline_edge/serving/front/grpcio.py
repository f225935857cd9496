"""The front on grpcio's server: a thread for each open call, bytes in and bytes out.

Sole importer of `grpc` on the serving side. grpcio itself keeps the bounds on open calls
(`maximum_concurrent_rpcs`), message and metadata sizes and PINGs; it does not tell the user of a
Unix socket's peer, nor what its connections hold.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc

from fogline.addresses import Address
from fogline.clock import SystemClock
from fogline.errors import Conflict, Exhausted, FoglineError, InvalidInput, Unavailable
from fogline.wire.services import METHODS
from fogline.wire.status import status_of
from fogline_edge.serving.calls import (
    Call,
    Endpoint,
    FrontCounts,
    Listener,
    OnReady,
    Peer,
    Tls,
    nothing,
)
from fogline_edge.serving.front.body import Take
from fogline_edge.serving.front.config import FrontConfig
from fogline_edge.serving.front.grpc import check_length, details_of, join_metadata
from fogline_edge.serving.front.sockets import SOCKET_MODE, check_free
from fogline_edge.serving.front.tls import Renewed, context_of

MAX_UNSENT = 64
"""Responses of one streaming call that its peer has not read."""

_CODES = MappingProxyType({code.value[0]: code for code in grpc.StatusCode})
_END = object()


class _UnaryCall:
    """A `Call` with one response; its handler thread waits in `wait`."""

    def __init__(self, method: str, message: bytes, context: Any) -> None:
        self.method = method
        self.message = message
        self._context = context
        self._lock = threading.Lock()
        # A locked lock is the cheapest thing to wait for, and is open before `wait` as a rule.
        self._open = threading.Lock()
        self._open.acquire()
        self._has_ended = False
        self._response: bytes | None = None
        self._error: FoglineError | None = None

    @property
    def peer(self) -> Peer:
        if self._context.peer().startswith("unix"):
            return Peer(transport="unix")
        proof = self._context.auth_context()
        if proof.get("transport_security_type") != [b"ssl"]:
            return Peer(transport="tcp")
        names = proof.get("x509_common_name", ())
        return Peer(transport="tls", subject=names[0].decode(errors="replace") if names else "")

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        return join_metadata(self._context.invocation_metadata())

    @property
    def deadline_s(self) -> float | None:
        left_s: float | None = self._context.time_remaining()
        # grpc-core writes "no deadline" as a moment centuries away.
        return None if left_s is None or left_s > 1e9 else left_s

    def is_cancelled(self) -> bool:
        return self._has_ended or not self._context.is_active()

    def when_ended(self, callback: Callable[[], None]) -> None:
        if not self._context.add_callback(callback):
            callback()

    def is_writable(self) -> bool:
        return True

    def when_writable(self, callback: Callable[[], None]) -> None:
        callback()

    def send(self, response: bytes) -> None:  # noqa: ARG002 - the Protocol's
        self.fail(FoglineError(f"{self.method} gives one response, not a stream"))

    def receive(self, take: Take) -> None:  # noqa: ARG002 - the Protocol's
        self.fail(FoglineError(f"{self.method} takes one request, not a stream"))

    def hold(self, more: int) -> None:
        pass  # this front has no bound on bytes

    def finish(self, response: bytes | None) -> None:
        self._end(response, None)

    def fail(self, error: FoglineError) -> None:
        self._end(None, error)

    def wait(self) -> bytes | None:
        """The response; ends the handler with a status if the call failed or nobody waits."""
        self.when_ended(self._give_up)
        self._open.acquire()
        self._abort_if_failed()
        return self._response

    def _end(self, response: bytes | None, error: FoglineError | None) -> bool:
        """Whether this was the first end."""
        with self._lock:
            if self._has_ended:
                return False
            self._has_ended = True
            self._response, self._error = response, error
        self._open.release()
        return True

    def _give_up(self) -> None:
        self._end(None, Unavailable("nobody waits for the answer"))

    def _abort_if_failed(self) -> None:
        if self._error is not None:
            self._context.abort(_CODES[status_of(self._error)], details_of(str(self._error)))


class _StreamCall(_UnaryCall):
    """A `Call` with many responses; its handler thread reads `responses`.

    Where requests stream too, a second thread waits for them, from the first `receive` on.
    """

    def __init__(
        self,
        method: str,
        message: bytes,
        requests: Any,
        context: Any,
        on_ready: OnReady,
        limit: int,
    ) -> None:
        super().__init__(method, message, context)
        self._requests = requests
        self._on_ready = on_ready
        self._limit = limit
        self._unsent: queue.Queue[Any] = queue.Queue(MAX_UNSENT + 2)
        self._writers: list[Callable[[], None]] = []
        self._takes: queue.Queue[Take | None] = queue.Queue()
        self._reader: threading.Thread | None = None

    def is_writable(self) -> bool:
        return self._unsent.qsize() < MAX_UNSENT // 2

    def when_writable(self, callback: Callable[[], None]) -> None:
        with self._lock:
            waits = not self._has_ended and not self.is_writable()
            if waits:
                self._writers.append(callback)
        if not waits:
            callback()

    def send(self, response: bytes) -> None:
        with self._lock:
            if self._has_ended:
                return
            if self._unsent.qsize() < MAX_UNSENT:
                self._unsent.put_nowait(response)
                return
        self.fail(Exhausted(f"{MAX_UNSENT} responses wait to be read"))

    def receive(self, take: Take) -> None:
        if self._requests is None:
            super().receive(take)
            return
        self._takes.put(take)
        if self._reader is None:
            self._reader = threading.Thread(target=self._read, name="grpc-read", daemon=True)
            self._reader.start()

    def responses(self) -> Iterator[bytes]:
        """Every response until the call ends, or its peer goes."""
        self.when_ended(self._give_up)
        while (response := self._unsent.get()) is not _END:
            self._wake_writers()
            yield response
        self._takes.put(None)
        self._wake_writers()
        if self._response is not None:
            yield self._response
        self._abort_if_failed()

    def _wake_writers(self) -> None:
        with self._lock:
            if not self._has_ended and not self.is_writable():
                return
            writers, self._writers = self._writers, []
        for callback in writers:
            callback()

    def _read(self) -> None:
        while (take := self._takes.get()) is not None:
            try:
                message = next(self._requests, None)
                check_length(len(message or b""), self._limit)
            except grpc.RpcError:
                return  # the peer has gone
            except Exhausted as e:
                self.fail(e)
                return
            if self.is_cancelled():
                return
            take(message)
            self._on_ready(())

    def _end(self, response: bytes | None, error: FoglineError | None) -> bool:
        first = super()._end(response, error)
        if first:  # after it nothing is sent, so there is room
            self._unsent.put_nowait(_END)
        return first


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Gives grpcio a handler for every path, known or not, so that one place answers them all."""

    def __init__(self, on_ready: OnReady, limit_of: Callable[[str], int]) -> None:
        self._on_ready = on_ready
        self._limit_of = limit_of
        self.received = 0

    def service(self, details: Any) -> Any:
        self.received += 1
        method = METHODS.get(details.method)
        path: str = details.method
        if method is None or method.streams_requests:
            return grpc.stream_stream_rpc_method_handler(
                lambda requests, context: self._streamed(path, b"", requests, context)
            )
        if method.streams_responses:
            return grpc.unary_stream_rpc_method_handler(
                lambda message, context: self._streamed(path, message, None, context)
            )
        return grpc.unary_unary_rpc_method_handler(
            lambda message, context: self._unary(path, message, context)
        )

    def _unary(self, path: str, message: bytes, context: Any) -> bytes | None:
        call = _UnaryCall(path, message, context)
        self._hand_over(call, self._limit_of(path))
        return call.wait()

    def _streamed(self, path: str, message: bytes, requests: Any, context: Any) -> Iterator[bytes]:
        limit = self._limit_of(path)
        call = _StreamCall(path, message, requests, context, self._on_ready, limit)
        self._hand_over(call, limit)
        return call.responses()

    def _hand_over(self, call: _UnaryCall, limit: int) -> None:
        try:
            check_length(len(call.message), limit)
        except Exhausted as e:
            call.fail(e)
        else:
            self._on_ready((call,))


class GrpcioFront:
    """A `Front`; starts once."""

    def __init__(self, listeners: Sequence[Listener], config: FrontConfig) -> None:
        self._listeners = tuple(listeners)
        self._config = config
        self._threads = ThreadPoolExecutor(config.max_threads, "grpc-call")
        self._server: Any = None
        self._handlers: _Handlers | None = None

    def start(
        self, on_ready: OnReady, on_written: Callable[[], None] = nothing
    ) -> tuple[Endpoint, ...]:
        """See `Front.start`; an answer is written when its thread has come back from both."""

        def take(calls: Sequence[Call]) -> None:
            on_ready(calls)
            on_written()

        for (
            one
        ) in self._listeners:  # all of them first: grpcio does not let go of what it has bound
            check_free(one.address, take_over=self._config.take_over)
        self._handlers = _Handlers(take, self._config.limit_of)
        self._server = grpc.server(
            self._threads,
            handlers=(self._handlers,),
            options=_options(self._config),
            maximum_concurrent_rpcs=min(self._config.max_calls, self._config.max_threads),
        )
        try:
            endpoints = tuple(self._listen(one) for one in self._listeners)
        except BaseException:
            self.drain(0)
            raise
        self._server.start()
        return endpoints

    def _listen(self, listener: Listener) -> Endpoint:
        target = str(Endpoint(address=listener.address))
        try:
            if listener.tls is None:
                port = self._server.add_insecure_port(target)
            else:
                port = self._server.add_secure_port(target, _credentials(listener.tls))
        except RuntimeError:
            port = 0
        if not port:
            raise Conflict(f"cannot listen on {target}: the system refused it")
        if isinstance(listener.address, Path):
            listener.address.chmod(SOCKET_MODE)
            return Endpoint(address=listener.address)
        address = Address(listener.address.host, port)
        return Endpoint(address=address, is_secure=listener.tls is not None)

    def drain(self, grace_s: float) -> None:
        """See `Front.drain`."""
        if self._server is not None:
            self._server.stop(grace_s).wait()
        self._threads.shutdown()

    def counts(self) -> FrontCounts:
        """The calls received alone; grpcio does not tell the rest."""
        return FrontCounts(received_calls=self._handlers.received if self._handlers else 0)


def _options(config: FrontConfig) -> tuple[tuple[str, int], ...]:
    early_ms = int(1000 * config.min_ping_interval_s)
    return (
        # Two servers on one port would share its connections without a word.
        ("grpc.so_reuseport", int(config.take_over)),
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", -1),  # bounded where it is made
        ("grpc.max_metadata_size", config.max_header_bytes),
        ("grpc.max_connection_idle_ms", int(1000 * config.idle_timeout_s)),
        ("grpc.keepalive_time_ms", int(1000 * config.keepalive_s)),
        ("grpc.keepalive_timeout_ms", int(1000 * config.keepalive_timeout_s)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", early_ms),
        ("grpc.http2.max_ping_strikes", config.max_ping_strikes),
        ("grpc.keepalive_permit_without_calls", 1),
    )


def _certificates(tls: Tls) -> Any:
    """Raises `InvalidInput` when a file cannot be read or does not fit; grpcio would not say so."""
    context_of(tls)
    try:
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        clients = tls.clients.read_bytes() if tls.clients else None
    except OSError as e:
        raise InvalidInput(f"TLS: {e.filename}: {e.strerror or e}") from e
    return grpc.ssl_server_certificate_configuration([pair], clients)


class _Fetcher:
    """Tells grpcio at each handshake whether there are other certificates; on its threads."""

    def __init__(self, tls: Tls) -> None:
        self._renewed = Renewed(tls, _certificates)
        self._lock = threading.Lock()
        self._clock = SystemClock()
        self.last = self._renewed.current(self._clock.monotonic())

    def __call__(self) -> Any:
        """None: the last ones."""
        with self._lock:
            before, self.last = self.last, self._renewed.current(self._clock.monotonic())
            return None if self.last is before else self.last


def _credentials(tls: Tls) -> Any:
    """Raises as `_certificates`."""
    fetcher = _Fetcher(tls)
    return grpc.dynamic_ssl_server_credentials(
        fetcher.last, fetcher, require_client_authentication=tls.clients is not None
    )
