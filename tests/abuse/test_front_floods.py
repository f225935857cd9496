"""Attacks on the HTTP/2 front: what each costs in CPU and memory, and whom it hurts.

The front runs in a process of its own. Each attack must end with the attacker's connection closed,
or held within bounds, while a caller on another connection is served, at a cost far below what it
would be without the bound. Ceilings are generous: the machine may be shared.
"""

import contextlib
import gzip
import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fogline.clock import wait_until
from tests.fronts import (
    ACK,
    CONTINUATION,
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
    WATCH,
    WINDOW,
    ChildFront,
    RawPeer,
    block_of,
    frame,
    message,
    request,
    whole_call,
)

CPU_S = 0.5
"""What one attack may cost."""
MEMORY_MB = 24
"""How much the front may grow by one attack."""


@pytest.fixture(scope="module")
def child() -> Iterator[ChildFront]:
    with ChildFront(
        handshake_timeout_s=2.0, request_timeout_s=2.0, stalled_timeout_s=2.0, max_connections=100
    ) as front:
        with RawPeer(front.port) as one:  # what is loaded on the first call is not the attack's
            assert is_served(one, 1)
        yield front


def is_served(peer: RawPeer, stream: int) -> bool:
    peer.send(whole_call(stream))
    return [f.payload for f in peer.end_of(stream) if f.kind == DATA] == [message(b"hello")]


def attack(child: ChildFront, peer: RawPeer, data: bytes, *, at_most: int = 64_000_000) -> int:
    """Writes `data` again and again until the connection is closed; returns the bytes written."""
    written = 0
    peer.socket.settimeout(10)
    with contextlib.suppress(ConnectionError):
        while written < at_most:
            peer.send(data)
            written += len(data)
    return written


class Cost:
    """What the front spends in a block, while somebody else calls it."""

    def __init__(self, child: ChildFront, cpu_s: float = CPU_S, memory_mb: float = MEMORY_MB):
        self._child, self._cpu_s, self._memory_mb = child, cpu_s, memory_mb

    def __enter__(self) -> "Cost":
        self._before = self._child.ask()
        self._caller = RawPeer(self._child.port)
        assert is_served(self._caller, 1)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            assert is_served(self._caller, 3)
            after = self._child.ask()
            assert after["cpu_s"] - self._before["cpu_s"] < self._cpu_s
            assert after["rss_mb"] - self._before["rss_mb"] < self._memory_mb
        self._caller.close()


def resets() -> bytes:
    cancel = struct.pack(">I", 8)
    return b"".join(
        whole_call(stream) + frame(RST_STREAM, 0, stream, cancel) for stream in range(1, 40_001, 2)
    )


FLOODS: dict[str, bytes] = {
    "ping": frame(PING, 0, 0, b"pingping") * 1000,
    "ping answers": frame(PING, ACK, 0, b"pingping") * 1000,
    "settings": frame(SETTINGS) * 1000,
    "settings of many entries": frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 9) * 2000),
    "settings answers": frame(SETTINGS, ACK) * 1000,
    "window updates": frame(WINDOW, 0, 0, struct.pack(">I", 1)) * 1000,
    "priorities": frame(PRIORITY, 0, 1, bytes(5)) * 1000,
    "unknown frames": frame(99, 0, 0, b"x" * 100) * 100,
    "unknown flags": frame(SETTINGS, 0xF0, 0, b"") * 1000,
}


@pytest.mark.parametrize("name", sorted(FLOODS))
def test_a_flood_of_frames_closes_its_connection(child: ChildFront, name: str) -> None:
    with Cost(child), RawPeer(child.port) as peer:
        assert attack(child, peer, FLOODS[name]) < 64_000_000


def test_a_flood_that_reads_its_answers_too(child: ChildFront) -> None:
    """What is answered (PING, SETTINGS) must not count only while the answers pile up."""
    with Cost(child), RawPeer(child.port) as peer:
        for _ in range(2000):
            try:
                peer.send(frame(SETTINGS) * 20)
                for _ in range(20):
                    peer.until(SETTINGS)
            except ConnectionError:
                break
        else:
            raise AssertionError("40,000 SETTINGS were answered")


def test_rapid_resets(child: ChildFront) -> None:
    with Cost(child), RawPeer(child.port) as peer:
        assert attack(child, peer, resets(), at_most=1) == 0 or peer.rest()[-1].kind == GOAWAY


def test_resets_by_fault_of_the_peer(child: ChildFront) -> None:
    """The reverse: calls that we must reset (CVE-2025-8671, "MadeYouReset")."""
    data = b"".join(
        request(stream) + frame(WINDOW, 0, stream, bytes(4)) for stream in range(1, 40_001, 2)
    )
    with Cost(child, cpu_s=2), RawPeer(child.port) as peer:
        attack(child, peer, data, at_most=1)
        assert child.ask()["calls"] <= 256


def test_empty_data(child: ChildFront) -> None:
    for path in (STREAM, "/inference.GRPCInferenceService/ModelInfer"):
        with Cost(child), RawPeer(child.port) as peer:
            peer.send(request(1, p_path=path))
            assert attack(child, peer, frame(DATA, 0, 1) * 1000) < 64_000_000


def test_data_that_is_all_padding(child: ChildFront) -> None:
    with Cost(child), RawPeer(child.port) as peer:
        peer.send(request(1, p_path=STREAM))
        padding = frame(DATA, PADDED, 1, b"\xff" + bytes(255))
        assert attack(child, peer, padding * 200) < 64_000_000


def test_continuations_without_end(child: ChildFront) -> None:
    with Cost(child), RawPeer(child.port) as peer:
        peer.send(frame(HEADERS, 0, 1, block_of({":method": "POST"})))
        assert attack(child, peer, frame(CONTINUATION, 0, 1, block_of({"a": "b" * 100}))) < 64e6
    with Cost(child), RawPeer(child.port) as peer:
        peer.send(frame(HEADERS, 0, 1))
        assert attack(child, peer, frame(CONTINUATION, 0, 1) * 100) < 64e6


def test_a_header_bomb(child: ChildFront) -> None:
    """One literal of 4,000 bytes, indexed, and then named by one byte each time."""
    literal = b"\x40\x01a" + b"\x7f" + b"\xa1\x1e" + b"v" * 4000
    bomb = literal + b"\xbe" * 12_000
    with Cost(child), RawPeer(child.port) as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, bomb))
        attack(child, peer, whole_call(3), at_most=10_000_000)
        peer.rest()


def test_many_headers_within_the_bound_are_given_back(child: ChildFront) -> None:
    """As many as one connection may hold, again and again."""
    much: dict[str, Any] = {f"key-{i}": "v" * 200 for i in range(60)}
    with Cost(child, cpu_s=4), RawPeer(child.port) as peer:
        for stream in range(1, 2001, 2):
            peer.send(whole_call(stream, **much))
            peer.end_of(stream)


def test_connections_that_say_nothing(child: ChildFront) -> None:
    with Cost(child):
        silent = [socket.create_connection(("127.0.0.1", child.port)) for _ in range(90)]
        for one in silent:
            one.settimeout(20)
        assert all(until_closed(one) for one in silent)


def test_connections_that_say_one_byte_at_a_time(child: ChildFront) -> None:
    with Cost(child):
        slow = [socket.create_connection(("127.0.0.1", child.port)) for _ in range(50)]
        for byte in PREFACE:
            for one in slow:
                with contextlib.suppress(ConnectionError):
                    one.sendall(bytes([byte]))
            time.sleep(0.15)  # the pace is the attack
        for one in slow:
            one.settimeout(20)
        assert all(until_closed(one) for one in slow)


def until_closed(one: socket.socket) -> bool:
    try:
        while one.recv(4096):
            pass
    except ConnectionError:
        pass
    one.close()
    return True


def test_more_connections_than_there_may_be(child: ChildFront) -> None:
    before = child.ask()
    peers = [socket.create_connection(("127.0.0.1", child.port)) for _ in range(300)]
    assert wait_until(
        lambda: child.ask()["refused_connections"] - before["refused_connections"] >= 200,
        timeout_s=10,
    )
    assert child.ask()["rss_mb"] - before["rss_mb"] < MEMORY_MB
    for one in peers:
        one.close()
    assert wait_until(lambda: child.ask()["connections"] == 0, timeout_s=10)


def test_no_descriptor_is_left() -> None:
    with ChildFront() as small:
        with RawPeer(small.port) as one:
            assert is_served(one, 1)
            resource.prlimit(small.pid, resource.RLIMIT_NOFILE, (40, 40))
            with Cost(small, cpu_s=1):
                peers = [socket.create_connection(("127.0.0.1", small.port)) for _ in range(100)]
                assert wait_until(lambda: small.ask()["accepted_connections"] > 20, timeout_s=10)
                assert is_served(one, 3)
                for peer in peers:
                    peer.close()
                assert wait_until(lambda: small.ask()["connections"] <= 2, timeout_s=10)
        with RawPeer(small.port) as one:
            assert is_served(one, 1)


def test_requests_that_come_drop_by_drop(child: ChildFront) -> None:
    with Cost(child), RawPeer(child.port) as peer:
        for stream in range(1, 401, 2):
            peer.send(request(stream) + frame(DATA, 0, stream, b"\0\0\x10"))
        for _ in range(15):
            for stream in range(1, 401, 8):
                with contextlib.suppress(ConnectionError):
                    peer.send(frame(DATA, 0, stream, b"x"))
            time.sleep(0.2)  # the pace is the attack
        assert wait_until(lambda: child.ask()["calls"] == 0, timeout_s=10)


def test_big_requests_that_never_end() -> None:
    with ChildFront(max_held_bytes=20_000_000, max_connection_bytes=10_000_000) as small:
        with Cost(small, memory_mb=60):
            peers = [RawPeer(small.port) for _ in range(8)]
            piece = b"\0\x03\xff\xff\xff" + b"x" * 16_000
            for peer in peers:
                for stream in range(1, 101, 2):
                    peer.send(request(stream) + frame(DATA, 0, stream, piece))
                    peer.send(frame(DATA, 0, stream, b"x" * 16_000) * 3)
            assert small.ask()["held_bytes"] <= 20_000_000 + 16_384  # one frame more, for a moment
            for peer in peers:
                peer.close()
        assert wait_until(lambda: small.ask()["held_bytes"] == 0, timeout_s=10)


@pytest.mark.parametrize("window", [0, 2**31 - 1])
def test_responses_that_nobody_reads(window: int) -> None:
    """Their peer gives no window, or it never reads its socket."""
    with (
        ChildFront(max_connection_bytes=8_000_000, stalled_timeout_s=1.0) as small,
        Cost(small, memory_mb=30),
    ):
        peer = RawPeer(small.port, settings=struct.pack(">HI", 4, window))
        peer.send(frame(WINDOW, 0, 0, struct.pack(">I", 2**30)))
        for stream in range(1, 201, 2):
            peer.send(whole_call(stream, b"1000000", do="big"))
        assert wait_until(lambda: small.ask()["calls"] <= 1, timeout_s=20)
        peer.close()


def test_a_zip_bomb() -> None:
    """64 KB that would become 64 MB, by the dozen."""
    bomb = gzip.compress(bytes(64_000_000), 9)
    data = message(bomb, 1)
    with (
        ChildFront(max_message_bytes=1_000_000) as small,
        RawPeer(small.port) as peer,
        Cost(small),
    ):
        for stream in range(1, 101, 2):
            peer.send(request(stream, grpc_encoding="gzip"))
            for at in range(0, len(data), 16_000):
                ends = END_STREAM if at + 16_000 >= len(data) else 0
                peer.send(frame(DATA, ends, stream, data[at : at + 16_000]))
            peer.end_of(stream)


def test_a_stream_of_empty_messages_that_nobody_takes(child: ChildFront) -> None:
    with Cost(child), RawPeer(child.port) as peer:
        peer.send(request(1, p_path=STREAM, do="stall"))
        for _ in range(60):
            peer.send(frame(DATA, 0, 1, message(b"") * 3200))
        assert is_served(peer, 3)


def test_a_stream_that_is_answered_and_not_read(child: ChildFront) -> None:
    with Cost(child), RawPeer(child.port, settings=struct.pack(">HI", 4, 0)) as peer:
        peer.send(whole_call(1, b"100000 10000", p_path=WATCH, do="many"))
        assert wait_until(lambda: child.ask()["held_bytes"] > 100_000, timeout_s=10)
        assert wait_until(lambda: child.ask()["calls"] == 0, timeout_s=20)


def test_deadlines_far_away_leave_nothing_behind(child: ChildFront) -> None:
    with Cost(child, cpu_s=8), RawPeer(child.port) as peer:
        peer.send(frame(WINDOW, 0, 0, struct.pack(">I", 2**30)))
        for stream in range(1, 20_001, 2):
            peer.send(whole_call(stream, grpc_timeout=f"{stream * 7919 % 99_999_999}S"))
            if stream % 100 == 99:
                peer.end_of(stream)
        assert child.ask()["calls"] == 0


CHAOS: list[Callable[[int], bytes]] = [
    lambda s: frame(s % 12, s % 256, s, b"x" * (s % 40)),
    lambda s: frame(DATA, s % 2, s | 1, b"\0\0\0\0\x05hello"),
    lambda s: frame(HEADERS, 5, s | 1, bytes(range(s % 50))),
    lambda s: whole_call(s | 1)[: 20 + s % 90],
]


@pytest.mark.parametrize("kind", range(len(CHAOS)))
def test_nonsense_of_every_kind(child: ChildFront, kind: int) -> None:
    with Cost(child, cpu_s=3):
        for seed in range(60):
            with RawPeer(child.port) as peer, contextlib.suppress(ConnectionError):
                for step in range(20):
                    peer.send(CHAOS[kind](seed * 20 + step))
