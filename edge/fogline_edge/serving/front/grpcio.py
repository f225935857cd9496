"""The front on grpcio's server: a thread for each open call, bytes in and bytes out.

Sole importer of `grpc` on the serving side. grpcio itself keeps the bound on open calls
(`maximum_concurrent_rpcs`) and on message sizes, both RESOURCE_EXHAUSTED to the peer.
"""

import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import grpc

from fogline.addresses import Address
from fogline.errors import Conflict, Exhausted, FoglineError
from fogline.wire.services import METHODS
from fogline.wire.status import status_of
from fogline_edge.serving.calls import OnReady
from fogline_edge.serving.config import ServingConfig

MAX_METADATA_BYTES = 16 * 1024
"""Longest metadata of one call."""
MAX_DETAILS_BYTES = 2000
"""Longest error text; percent-encoded it must fit the 8 KiB of metadata that peers take."""
MAX_UNSENT = 64
"""Responses of one streaming call that its peer has not read."""

_CODES = MappingProxyType({code.value[0]: code for code in grpc.StatusCode})
_END = object()


class _GrpcioCall:
    """A unary `Call`; its handler thread waits in `wait`."""

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
    def metadata(self) -> Mapping[str, str | bytes]:
        return dict(self._context.invocation_metadata())

    @property
    def deadline_s(self) -> float | None:
        left_s: float | None = self._context.time_remaining()
        # grpc-core writes "no deadline" as a moment centuries away.
        return None if left_s is None or left_s > 1e9 else left_s

    def is_cancelled(self) -> bool:
        return not self._context.is_active()

    def when_ended(self, callback: Callable[[], None]) -> None:
        if not self._context.add_callback(callback):
            callback()

    def send(self, response: bytes) -> None:  # noqa: ARG002 - the Protocol's
        self.fail(FoglineError(f"{self.method} gives one response, not a stream"))

    def finish(self, response: bytes | None) -> None:
        self._end(response, None)

    def fail(self, error: FoglineError) -> None:
        self._end(None, error)

    def wait(self) -> bytes | None:
        """The response; ends the handler with a status if the call failed."""
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

    def _abort_if_failed(self) -> None:
        if self._error is not None:
            self._context.abort(_CODES[status_of(self._error)], _details(self._error))


class _GrpcioStream(_GrpcioCall):
    """A `Call` with many responses; its handler thread reads `responses`."""

    def __init__(self, method: str, message: bytes, context: Any) -> None:
        super().__init__(method, message, context)
        self._unsent: queue.Queue[Any] = queue.Queue(MAX_UNSENT + 1)

    def send(self, response: bytes) -> None:
        with self._lock:
            if self._has_ended:
                return
            if self._unsent.qsize() < MAX_UNSENT:
                self._unsent.put_nowait(response)
                return
        self.fail(Exhausted(f"{MAX_UNSENT} responses wait to be read"))

    def responses(self) -> Iterator[bytes]:
        """Every response until the call ends, or its peer goes."""
        self.when_ended(lambda: self.finish(None))
        while (response := self._unsent.get()) is not _END:
            yield response
        self._abort_if_failed()

    def _end(self, response: bytes | None, error: FoglineError | None) -> bool:
        first = super()._end(response, error)
        if first:  # after it nothing is sent, so there is room
            self._unsent.put_nowait(_END)
        return first


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Gives grpcio a handler for every path, known or not, so that one place answers them all."""

    def __init__(self, on_ready: OnReady) -> None:
        self._on_ready = on_ready

    def service(self, details: Any) -> Any:
        method = METHODS.get(details.method)
        path: str = details.method
        if method is None or method.streams_requests:
            return grpc.stream_stream_rpc_method_handler(
                lambda _, context: self._streamed(path, b"", context)
            )
        if method.streams_responses:
            return grpc.unary_stream_rpc_method_handler(
                lambda message, context: self._streamed(path, message, context)
            )
        return grpc.unary_unary_rpc_method_handler(
            lambda message, context: self._unary(path, message, context)
        )

    def _unary(self, path: str, message: bytes, context: Any) -> bytes | None:
        call = _GrpcioCall(path, message, context)
        self._on_ready((call,))
        return call.wait()

    def _streamed(self, path: str, message: bytes, context: Any) -> Iterator[bytes]:
        call = _GrpcioStream(path, message, context)
        self._on_ready((call,))
        return call.responses()


class GrpcioFront:
    """A `FrontAdapter`; starts once."""

    def __init__(self, address: Address, config: ServingConfig) -> None:
        self._address = address
        self._config = config
        self._threads = ThreadPoolExecutor(config.max_calls, "grpc-call")
        self._server: Any = None

    def start(self, on_ready: OnReady) -> Address:
        """Listens. Raises `Conflict` when it cannot."""
        _check_free(self._address)
        self._server = grpc.server(
            self._threads,
            handlers=(_Handlers(on_ready),),
            options=(
                # Two servers on one port would share its connections without a word.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self._config.max_message_bytes),
                ("grpc.max_send_message_length", -1),  # bounded where it is made
                ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ),
            maximum_concurrent_rpcs=self._config.max_calls,
        )
        try:
            port = self._server.add_insecure_port(str(self._address))
        except RuntimeError:
            port = 0
        if not port:
            raise Conflict(f"cannot listen on {self._address}: the system refused it")
        self._server.start()
        return Address(self._address.host, port)

    def drain(self, grace_s: float) -> None:
        """Takes no new calls, lets open ones end for `grace_s` seconds, cancels the rest."""
        if self._server is not None:
            self._server.stop(grace_s).wait()
        self._threads.shutdown()


def _details(error: FoglineError) -> str:
    return str(error).encode(errors="replace")[:MAX_DETAILS_BYTES].decode(errors="ignore")


def _check_free(address: Address) -> None:
    """Says why the system refuses an address, which grpcio writes to stderr and does not tell."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As grpcio's own socket: connections of the past that linger do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
    except OSError as e:
        raise Conflict(f"cannot listen on {address}: {e.strerror or e}") from e
