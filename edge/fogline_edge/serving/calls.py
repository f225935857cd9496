"""The seam between a front, which speaks HTTP/2, and what answers.

A front hands over lists of whole calls as they become ready: an event loop the calls of one poll,
a thread pool one at a time. Whatever answers calls `finish` or `fail` from any thread, once or
more; the first one counts. No front is named here, and no gRPC library is imported.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from fogline.addresses import Address
from fogline.errors import FoglineError


class Call(Protocol):
    """One remote procedure call."""

    @property
    def method(self) -> str:
        """`/package.Service/Method`, as the peer wrote it."""

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        """What the peer sent beside the message."""

    @property
    def deadline_s(self) -> float | None:
        """Seconds from the call's arrival until its peer stops waiting; None if it waits."""

    @property
    def message(self) -> bytes:
        """The request, not decoded; valid until the call ends."""

    def is_cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Calls back once when the call has ended in whatever way; at once if it has."""

    def send(self, response: bytes) -> None:
        """Sends one of many responses; a peer that does not read them loses the call."""

    def finish(self, response: bytes | None) -> None:
        """Ends the call well, with its response, or with None after `send`."""

    def fail(self, error: FoglineError) -> None:
        """Ends the call with the status of `error` and its text."""


OnReady = Callable[[Sequence[Call]], None]


class FrontAdapter(Protocol):
    """What listens."""

    def start(self, on_ready: OnReady) -> Address:
        """Listens and hands calls over; returns the address with its true port.

        Raises:
            Conflict: the address cannot be listened on.
        """

    def drain(self, grace_s: float) -> None:
        """Takes no new calls, lets open ones end for `grace_s` seconds, cancels the rest, stops."""
