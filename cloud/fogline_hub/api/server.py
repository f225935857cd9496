"""Serves an ASGI application with uvicorn in a thread of its own; sole owner of uvicorn.

In a thread so that signals stay with the composition root. Port 0 is bound here, before anything
is built that has to know its own URL.
"""

import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from fogline.addresses import Address, parse_listen_address
from fogline.clock import wait_until
from fogline.errors import Conflict, Unavailable

START_TIMEOUT_S = 15.0
GRACE_S = 5.0
"""Longest wait at the end for requests that are being answered, seconds."""
MAX_CONNECTIONS = 512
"""Connections and running requests beyond it are answered 503."""
KEEP_ALIVE_S = 30
BACKLOG = 128


def listen(address: str | Address) -> socket.socket:
    """Binds a loopback address.

    Raises:
        InvalidInput: it is no address.
        Unsupported: it can be reached from other machines.
        Conflict: it is taken.
    """
    parsed = parse_listen_address(str(address))
    family = socket.AF_INET6 if ":" in parsed.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it, every answer
    # waits for the client's delayed acknowledgement, 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((parsed.host, parsed.port))
    except OSError as e:
        bound.close()
        raise Conflict(
            f"the API cannot listen on {parsed} ({e.strerror}): another program has it; end that "
            "one, or choose another with --listen HOST:PORT"
        ) from e
    return bound


def free_port(address: Address) -> int:
    """A port that is free on the host now."""
    with listen(Address(address.host, 0)) as bound:
        return int(bound.getsockname()[1])


def url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://{Address(host, port)}"


class ApiServer:
    """A running server; `close` ends it."""

    def __init__(self, app: ASGIApp, bound: socket.socket) -> None:
        self.url = url_of(bound)
        self._socket = bound
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http="h11",
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=int(GRACE_S),
            )
        )
        self._thread = threading.Thread(target=self._run, name="api", daemon=True)

    def start(self) -> None:
        """Returns when it answers; `Unavailable` where it does not."""
        self._thread.start()
        wait_until(
            lambda: self._server.started or not self._thread.is_alive(),
            timeout_s=START_TIMEOUT_S,
            poll_s=0.01,
        )
        if not self._server.started:
            raise Unavailable(f"the API did not start on {self.url}; its log says why")

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """Answers what is under way for at most `GRACE_S`, then ends."""
        self._server.should_exit = True
        self._thread.join(GRACE_S + 5.0)
        self._socket.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])
