"""One call of the HTTP/2 front.

What the loop's thread alone may touch is done there: on another thread `finish`, `fail`, `send`
and `receive` leave a note for the loop (`Poll.later`). So no lock is needed, and the first end is
the first that the loop sees.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from threading import get_ident
from typing import Protocol

from fogline.errors import FoglineError
from fogline_edge.serving.calls import Peer
from fogline_edge.serving.front.body import Body, Take
from fogline_edge.serving.front.grpc import Headers, metadata_of
from fogline_edge.serving.front.poll import Poll

_LOG = logging.getLogger(__name__)

Mark = tuple[int, float]
"""How far something had come at a time, in seconds of the loop's clock."""


class Owner(Protocol):
    """The connection of a call; for the loop's thread."""

    poll: Poll
    peer: Peer

    def end(self, call: "Http2Call", response: bytes | None, error: FoglineError | None) -> None:
        """Answers, if the call has not ended."""

    def send(self, call: "Http2Call", response: bytes) -> None:
        """Sends one of many responses."""

    def is_writable(self, call: "Http2Call") -> bool:
        """Whether what was sent is on its way."""

    def watch_writable(self, call: "Http2Call") -> None:
        """Calls `Http2Call.wake_writers` when `is_writable` holds."""

    def taken(self, call: "Http2Call") -> None:
        """Lets the peer send as much again as the call has given on."""

    def hold(self, call: "Http2Call", more: int) -> None:
        """Counts what the call's handler holds."""


class Http2Call:
    """A `Call`."""

    __slots__ = (
        "_sent_later",
        "applied_later",
        "body",
        "callbacks",
        "deadline_s",
        "deadline_step",
        "given_bytes",
        "gzips",
        "has_ended",
        "has_headers",
        "has_request",
        "headers",
        "is_gzip",
        "mark",
        "message",
        "method",
        "owner",
        "since",
        "stream_id",
        "writers",
    )

    def __init__(
        self, owner: Owner, stream_id: int, method: str, headers: Headers, now: float
    ) -> None:
        self.owner = owner
        self.stream_id = stream_id
        self.method = method
        self.headers = headers
        self.since = now
        self.message = b""
        self.deadline_s: float | None = None
        self.deadline_step = 0
        self.body: Body | None = None
        self.callbacks: list[Callable[[], None]] = []
        self.writers: list[Callable[[], None]] | None = None
        self.has_ended = False
        self.has_request = False
        """Whether the peer has sent all that it will."""
        self.has_headers = False
        """Whether the response's headers are sent."""
        self.is_gzip = False
        """Whether requests may be compressed."""
        self.gzips = False
        """Whether responses are compressed."""
        self.given_bytes = 0
        """Of responses, given to the connection to send."""
        self.mark: Mark | None = None
        """Of the upkeep."""
        self._sent_later = 0
        self.applied_later = 0

    @property
    def peer(self) -> Peer:
        return self.owner.peer

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        """See `Call.metadata`. Raises `InvalidInput` for a binary value that is not base64."""
        return metadata_of(self.headers)

    def is_cancelled(self) -> bool:
        return self.has_ended

    def when_ended(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)
        if self.has_ended:
            self.run_callbacks()

    def run_callbacks(self) -> None:
        """Each one once, whichever thread comes first: `pop` is atomic."""
        for callbacks in (self.callbacks, self.writers):
            while callbacks:
                self._run_one(callbacks)

    def _run_one(self, callbacks: list[Callable[[], None]]) -> None:
        try:
            callback = callbacks.pop(0)
        except IndexError:
            return
        try:
            callback()
        except Exception:  # a fault of ours must not end the loop, or other calls
            _LOG.exception("a callback failed", extra={"method": self.method})

    def is_writable(self) -> bool:
        # What other threads have sent is in the loop's hands only once it has seen it.
        waits = self._sent_later - self.applied_later
        return not waits and self.owner.is_writable(self)

    def when_writable(self, callback: Callable[[], None]) -> None:
        if self.writers is None:
            self.writers = []
        self.writers.append(callback)
        if self.has_ended:
            self.run_callbacks()
        elif get_ident() == self.owner.poll.thread:
            self.owner.watch_writable(self)
        else:
            self.owner.poll.later(partial(self.owner.watch_writable, self))

    def wake_writers(self) -> None:
        """Those that wait now; whom they make wait again waits for the next time."""
        writers = self.writers
        if writers is not None:
            for _ in range(len(writers)):
                self._run_one(writers)

    def _may_act_now(self) -> bool:
        """On the loop's thread, and nothing that another thread sent before waits for it."""
        return get_ident() == self.owner.poll.thread and self._sent_later == self.applied_later

    def send(self, response: bytes) -> None:
        if self._may_act_now():
            self.owner.send(self, response)
        else:
            self._sent_later += 1
            self.owner.poll.later(partial(self._apply_send, response))

    def _apply_send(self, response: bytes) -> None:
        self.applied_later += 1
        self.owner.send(self, response)

    def receive(self, take: Take) -> None:
        if get_ident() == self.owner.poll.thread:
            self._receive(take)
        else:
            self.owner.poll.later(partial(self._receive, take))

    def _receive(self, take: Take) -> None:
        if self.has_ended:
            return
        if self.body is None:
            self.fail(FoglineError(f"{self.method} takes one request, not a stream"))
            return
        self.body.take = take
        self.offer()

    def offer(self) -> None:
        """Queues the call when there is something for the `take` that waits."""
        body = self.body
        if body is not None and body.take is not None and (body.messages or self.has_request):
            self.owner.poll.takes.append(self)
            self.owner.poll.begin()

    def give(self) -> None:
        body = self.body
        if self.has_ended or body is None or body.take is None:
            return
        if not body.messages and not self.has_request:
            return  # offered twice, for two messages of one poll, and the first offer took both
        take, body.take = body.take, None
        if not body.messages:
            take(None)
            return
        message = body.pop()
        self.owner.taken(self)
        take(message)

    def hold(self, more: int) -> None:
        if get_ident() == self.owner.poll.thread:
            self.owner.hold(self, more)
        else:
            self.owner.poll.later(partial(self.owner.hold, self, more))

    def finish(self, response: bytes | None) -> None:
        owner = self.owner
        if self._may_act_now():
            owner.end(self, response, None)
        else:
            owner.poll.later(partial(owner.end, self, response, None))

    def fail(self, error: FoglineError) -> None:
        owner = self.owner
        if get_ident() == owner.poll.thread:
            owner.end(self, None, error)
        else:
            owner.poll.later(partial(owner.end, self, None, error))
