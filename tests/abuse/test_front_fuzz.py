"""Conversations of random frames, cut anywhere and left anyhow: nothing is left of them.

Invariant: whatever a peer sends, in whatever pieces, and however it goes, every call that was
handed over ends, no byte and no connection stays counted, nothing fails inside, others are served.
"""

import contextlib
import logging
import random
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from fogline.clock import wait_until
from fogline.errors import InvalidInput
from fogline_edge.serving.calls import Call
from tests.fronts import (
    ACK,
    ANYWHERE,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    STREAM,
    UNARY,
    WATCH,
    WINDOW,
    RawPeer,
    Script,
    channel_to,
    frame,
    front_of,
    message,
    request,
)

CONVERSATIONS = 400
WORDS = (
    *("echo", "length", "many", "sum", "wait", "stall", "thread"),
    *("raise", "half", "metadata", "peer", "deadline", "big", "flood"),
)
BODIES = (
    message(b"5 10"),
    message(b"200 30000"),
    message(b"100000"),
    message(b"") * 5,
    b"\0\0\0",
    message(b"x" * 20_000)[:16_384],
    b"\1\0\0\0\5abcde",
    b"",
)
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"grpc_encoding": "gzip", "grpc_accept_encoding": "gzip"},
    {"grpc_encoding": "snappy"},
    {"grpc_timeout": "1n"},
    {"grpc_timeout": "10m"},
    {"grpc_timeout": "soon"},
    {"content_type": "text/plain"},
    {"p_method": "GET"},
)
LIMITS = ((4, 0), (4, 1), (4, 65_535), (4, 2**20), (5, 16_384), (1, 0), (1, 65_536), (3, 1), (2, 0))
"""SETTINGS that a client may send; the first are windows of its streams."""


class Lenient(Script):
    """Its words are meant for certain messages; with others the call alone fails."""

    def __call__(self, calls: Sequence[Call]) -> None:
        for call in calls:
            try:
                super().__call__([call])
            except (ValueError, KeyError, AttributeError) as e:
                call.fail(InvalidInput(str(e)))


class Conversation:
    """What one peer says: frames that are right as a rule, in an order that often is not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._last = 1

    def frames(self) -> Iterator[bytes]:
        pick = self.random.choice
        yield PREFACE + frame(SETTINGS)
        yield request(1, p_path=STREAM, do=pick(("echo", "sum", "stall")))
        makers = (
            [self._request] * 30
            + [self._data] * 30
            + [self._reset, self._window, self._settings] * 8
            + [self._ping, self._priority, self._trailers, self._padded, self._ack] * 2
            + [self._nonsense, self._goaway]
        )
        for _ in range(self.random.randrange(1, 60)):
            yield pick(makers)()

    def _stream(self) -> int:
        return self.random.choice((self._last, self._last, max(1, self._last - 2), 1))

    def _request(self) -> bytes:
        pick = self.random.choice
        self._last += 2
        given: dict[str, Any] = {"p_path": pick((UNARY, WATCH, STREAM, "/x/y")), "do": pick(WORDS)}
        if given["do"] == "raise":
            given["kind"] = "NotFound"
        return request(self._last, ends=self.random.random() < 0.1, **given, **pick(CHANGES))

    def _data(self) -> bytes:
        return frame(
            DATA, self.random.choice((0, END_STREAM)), self._stream(), self.random.choice(BODIES)
        )

    def _reset(self) -> bytes:
        return frame(RST_STREAM, 0, self._stream(), struct.pack(">I", self.random.randrange(14)))

    def _window(self) -> bytes:
        more = self.random.choice((1, 100, 65_535, 2**20))
        return frame(WINDOW, 0, self.random.choice((0, self._stream())), struct.pack(">I", more))

    def _settings(self) -> bytes:
        return frame(SETTINGS, 0, 0, struct.pack(">HI", *self.random.choice(LIMITS)))

    def _ack(self) -> bytes:
        return frame(SETTINGS, ACK)

    def _ping(self) -> bytes:
        return frame(PING, self.random.choice((0, ACK)), 0, b"leaving\0")

    def _priority(self) -> bytes:
        return frame(PRIORITY, 0, self._stream(), b"\0\0\0\0\1")

    def _trailers(self) -> bytes:
        return frame(HEADERS, END_STREAM | END_HEADERS, self._stream(), b"\0\x01a\x01b")

    def _padded(self) -> bytes:
        padding = self.random.randrange(40)
        data = bytes([padding]) + self.random.choice(BODIES)[:50] + bytes(padding)
        return frame(DATA, PADDED, self._stream(), data)

    def _nonsense(self) -> bytes:
        kind, flags = self.random.randrange(12), self.random.randrange(256)
        return frame(kind, flags, self._stream(), self.random.randbytes(self.random.randrange(40)))

    def _goaway(self) -> bytes:
        return frame(GOAWAY, 0, 0, bytes(8))


def converse(port: int, seed: int) -> None:
    """Says it in pieces, reads now and then, and goes in one way or another."""
    told = Conversation(seed)
    chance = told.random
    data = b"".join(told.frames())
    peer = RawPeer(port, greets=False)
    try:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, chance.choice((2048, 65_536)))
        while data:
            size = chance.choice((1, 7, 100, 5000, 100_000))
            peer.send(data[:size])
            data = data[size:]
            if chance.random() < 0.3:
                peer.socket.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    peer.socket.recv(chance.choice((1, 100, 100_000)))
                peer.socket.settimeout(5)
        if chance.random() < 0.3:
            peer.socket.shutdown(socket.SHUT_WR)
        if chance.random() < 0.5:  # a reset instead of an end
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass  # the front has closed it
    finally:
        peer.close()


@pytest.mark.parametrize("kind", ["http2", "asyncio"])
def test_conversations_of_random_frames(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    script = Lenient()
    front = front_of(kind, [ANYWHERE], max_ping_strikes=1000, max_connection_bytes=8_000_000)
    (endpoint,) = front.start(script)
    port = int(str(endpoint).rpartition(":")[2])
    try:
        for seed in range(CONVERSATIONS):
            converse(port, seed)

        def is_nothing_left() -> bool:
            counts = front.counts()
            return (counts.connections, counts.calls, counts.held_bytes) == (0, 0, 0)

        assert wait_until(is_nothing_left, timeout_s=20)
        assert wait_until(lambda: script.ended == len(script.seen), timeout_s=10)
        with channel_to(str(endpoint)) as one:
            assert one.call(b"x") == b"x"
        assert len(script.seen) > CONVERSATIONS // 10  # many end before they are heard
        assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
    finally:
        front.drain(0.1)
