"""The messages of one request, cut out of what its stream carries. Pure.

For requests that are not one message in one frame: that most common one needs none of this.
"""

from collections import deque
from collections.abc import Callable

from fogline.errors import FoglineError, Unsupported
from fogline_edge.serving.front.grpc import PREFIX_BYTES, check_length, message_of

Take = Callable[[bytes | None], None]


class Body:
    """What a call has received and not given on."""

    __slots__ = (
        "_flag",
        "_have",
        "_inflated",
        "_is_gzip",
        "_limit",
        "_method",
        "_need",
        "_parts",
        "counted",
        "kept",
        "lent_bytes",
        "messages",
        "since",
        "streams",
        "take",
        "whole_bytes",
    )

    def __init__(
        self,
        method: str,
        *,
        streams: bool,
        is_gzip: bool,
        limit: int,
        inflated: int,
        now: float,
    ) -> None:
        """Begins to receive.

        Args:
            method: Path of the call's method, for errors.
            streams: Whether it takes many messages.
            is_gzip: Whether messages may be compressed.
            limit: Longest message, in bytes.
            inflated: Longest message that came compressed, in bytes.
            now: On any clock, in seconds.
        """
        self._method = method
        self.streams = streams
        self._is_gzip = is_gzip
        self._limit = limit
        self._inflated = inflated
        self._parts: list[bytes] = []
        """Of the message under way."""
        self._have = 0
        """Bytes in `_parts`."""
        self._need = -1
        """Length of the message under way; -1 until its prefix is whole."""
        self._flag = 0
        self.since = now
        """When the message under way began, or the last one ended."""
        self.messages: deque[bytes] = deque()
        """Whole ones."""
        self.whole_bytes = 0
        """Of `messages`."""
        self.lent_bytes = 0
        """What the call's handler says it holds (`Call.hold`)."""
        self.counted = 0
        """Of `held_bytes`, those that count against the bounds already."""
        self.kept = 0
        """Bytes that the peer may not send again yet."""
        self.take: Take | None = None
        """Who waits for the next message."""

    @property
    def held_bytes(self) -> int:
        return self._have + self.whole_bytes + self.lent_bytes

    @property
    def under_way_bytes(self) -> int | None:
        """What has come of a message that is not whole; None between messages."""
        return self._have if self._have or self._need >= 0 else None

    def add(self, data: bytes, now: float) -> None:
        """Takes what came.

        Raises:
            Exhausted: a message is longer than the bound.
            Unsupported: more than one message, where the method takes one.
            FoglineError: (INTERNAL) a message that gRPC does not know.
        """
        if not self._have and self._need < 0:
            self.since = now
        self._parts.append(data)
        self._have += len(data)
        # Joined only when there is something to find in it: adding up would be quadratic.
        if self._have >= (PREFIX_BYTES if self._need < 0 else self._need):
            rest = self._cut(b"".join(self._parts) if len(self._parts) > 1 else data, now)
            self._parts, self._have = [rest] if rest else [], len(rest)

    def end(self) -> None:
        """Takes the end of the request.

        Raises:
            Unsupported: no message, where the method takes one.
            FoglineError: (INTERNAL) in the middle of a message.
        """
        if self.under_way_bytes is not None:
            raise FoglineError(f"the request ended after {self._have} bytes of a message")
        if not self.streams and not self.messages:
            raise Unsupported(f"{self._method} takes one request, and none came")

    def pop(self) -> bytes:
        message = self.messages.popleft()
        self.whole_bytes -= len(message)
        return message

    def clear(self) -> None:
        """Gives up everything."""
        self.messages.clear()
        self._parts = []
        self._have = self.whole_bytes = self.lent_bytes = 0
        self._need = -1
        self.take = None

    def _cut(self, data: bytes, now: float) -> bytes:
        """Takes whole messages out of `data`; returns the rest."""
        at, size = 0, len(data)
        while True:
            if self._need < 0:
                if size - at < PREFIX_BYTES:
                    break
                self._flag = data[at]
                self._need = int.from_bytes(data[at + 1 : at + PREFIX_BYTES], "big")
                at += PREFIX_BYTES
                check_length(self._need, self._limit)
            if size - at < self._need:
                break
            payload = data[at : at + self._need]
            at += self._need
            self._need, self.since = -1, now
            self._keep(message_of(payload, self._flag, gzip=self._is_gzip, limit=self._inflated))
        return data[at:]

    def _keep(self, message: bytes) -> None:
        if self.messages and not self.streams:
            raise Unsupported(f"{self._method} takes one request, and more came")
        self.messages.append(message)
        self.whole_bytes += len(message)
