"""The seam between a front, which speaks HTTP/2, and what answers.

A front hands over lists of calls as they become ready: an event loop the calls of one poll, a
thread pool one at a time. Whatever answers calls `finish` or `fail` from any thread, once or more;
the first end counts. No front is named here, and no gRPC or HTTP/2 library is imported.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Protocol

from fogline.addresses import Address
from fogline.errors import FoglineError, Unsupported

Transport = Literal["tcp", "tls", "unix"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end of a connection, as far as the system vouches for it."""

    transport: Transport
    uid: int | None = None
    """User of the peer's process (`SO_PEERCRED`); Unix sockets alone know it."""
    pid: int | None = None
    """Its process, when it connected; a number that the system may have given again since."""
    subject: str = ""
    """Common name of the verified client certificate; empty without one."""


class Call(Protocol):
    """One remote procedure call. Its methods may be called on any thread."""

    @property
    def method(self) -> str:
        """`/package.Service/Method`, as the peer wrote it."""

    @property
    def peer(self) -> Peer:
        """Who calls."""

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        """What the peer sent beside the message, by lower-case key.

        Values of keys that end in `-bin` are bytes. A key that came more than once has its values
        joined by commas, in their order. What HTTP/2 and gRPC themselves need is left out.
        """

    @property
    def deadline_s(self) -> float | None:
        """Seconds from the call's arrival until its peer stops waiting; None if it waits."""

    @property
    def message(self) -> bytes:
        """The request, not decoded; valid until the call ends. Empty where requests stream."""

    def is_cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Calls back once when the call has ended in whatever way; at once if it has."""

    def is_writable(self) -> bool:
        """Whether the peer reads. If not, another `send` would only fill memory: wait."""

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Calls back once when `is_writable` holds, at once if it does, and when the call ends."""

    def send(self, response: bytes) -> None:
        """Sends one of many responses.

        A call that goes on sending while its peer does not read fails with RESOURCE_EXHAUSTED.
        """

    def receive(self, take: Callable[[bytes | None], None]) -> None:
        """Asks for one more request of a method that streams them.

        `take` gets it later, never before this returns, or None at the end of the peer's stream;
        when the call ends first it is not called. One `take` waits at a time.
        """

    def hold(self, more: int) -> None:
        """Says that so many bytes more are kept for a call that streams requests, or fewer.

        Requests that were taken and wait, answers that cannot be sent yet: they count against the
        front's bounds on bytes until the call ends, which fails with RESOURCE_EXHAUSTED beyond.
        """

    def finish(self, response: bytes | None) -> None:
        """Ends the call well, with its response, or with None after `send`."""

    def fail(self, error: FoglineError) -> None:
        """Ends the call with the status of `error` and its text."""


OnReady = Callable[[Sequence[Call]], None]
"""Gets the calls of one poll, after the `take`s of that poll; also with none after a `take`.

A call is ready with its whole message, or at once where its method streams requests.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a listener proves who it is, and whom it lets in; PEM files."""

    certificate: Path
    """The chain, the listener's own certificate first."""
    key: Path
    clients: Path | None = None
    """Authorities of client certificates; every client must then show one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where to listen: an IP address and port, or the path of a Unix socket.

    Raises:
        Unsupported: other machines could reach it and would not have to show a certificate.
    """

    address: Address | Path
    tls: Tls | None = None

    def __post_init__(self) -> None:
        if isinstance(self.address, Path) or ip_address(self.address.host).is_loopback:
            return
        if self.tls is None or self.tls.clients is None:
            raise Unsupported(
                f"{self.address} can be reached from other machines, so it needs TLS and the "
                "authorities of its clients' certificates; or listen on loopback, as 127.0.0.1:PORT"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a front listens, with the true port."""

    address: Address | Path
    is_secure: bool = False

    def __str__(self) -> str:
        """As gRPC clients write a target: `HOST:PORT` or `unix:/PATH`."""
        return f"unix:{self.address}" if isinstance(self.address, Path) else str(self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontCounts:
    """What a front holds now, and what it has seen since it started."""

    connections: int = 0
    calls: int = 0
    held_bytes: int = 0
    """Of requests that are not whole yet or not taken, and of responses that wait to be sent."""
    accepted_connections: int = 0
    refused_connections: int = 0
    """Beyond the bound on connections."""
    faulted_connections: int = 0
    """Closed because the peer broke the protocol, flooded, or held still too long."""
    received_calls: int = 0
    refused_calls: int = 0
    """Beyond a bound on calls or bytes."""


def nothing() -> None:
    """Does nothing."""


class Front(Protocol):
    """What listens; starts once."""

    def start(
        self, on_ready: OnReady, on_written: Callable[[], None] = nothing
    ) -> tuple[Endpoint, ...]:
        """Listens and hands calls over; returns one endpoint for each listener, in their order.

        Args:
            on_ready: Gets the calls of each poll.
            on_written: Called after each `on_ready`, on its thread, when the answers that it made
                are on their way: for what nobody waits for.

        Raises:
            Conflict: an address cannot be listened on.
            InvalidInput: a certificate or key cannot be read.
        """

    def drain(self, grace_s: float) -> None:
        """Takes no new calls, lets open ones end for `grace_s` seconds, cancels the rest, stops."""

    def counts(self) -> FrontCounts:
        """From any thread."""
