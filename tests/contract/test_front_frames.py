"""The HTTP/2 front against frames written by hand: what other clients do right, or wrong."""

import gzip
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fogline.clock import wait_until
from tests.fronts import (
    ACK,
    ANYWHERE,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    REQUEST,
    RST_STREAM,
    SETTINGS,
    STREAM,
    WINDOW,
    Frame,
    RawPeer,
    Running,
    frame,
    goaway_of,
    message,
    request,
    running_front,
    whole_call,
)

NO_ERROR, PROTOCOL_ERROR, REFUSED, CANCEL, CALM = 0, 1, 7, 8, 11


@pytest.fixture(scope="module", params=["http2", "asyncio"])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_front(request.param) as front:
        yield front


@pytest.fixture
def peer(running: Running) -> Iterator[RawPeer]:
    with RawPeer(running.port) as one:
        yield one


def is_served(peer: RawPeer, stream: int = 101) -> bool:
    """Whether the connection still answers."""
    peer.send(whole_call(stream))
    return data_of(peer.end_of(stream)) == message(b"hello")


def data_of(frames: list[Frame]) -> bytes:
    return b"".join(f.payload for f in frames if f.kind == DATA)


def has_literal(frames: list[Frame], text: bytes) -> bool:
    """Whether the headers hold a text that HPACK's Huffman code has not shortened."""
    return any(text in f.payload for f in frames if f.kind == HEADERS)


def ended_with_headers_alone(frames: list[Frame]) -> bool:
    return [f.kind for f in frames][:1] == [HEADERS] and not data_of(frames)


def test_a_call_is_answered_with_headers_data_and_trailers(peer: RawPeer) -> None:
    peer.send(whole_call(1))
    frames = peer.end_of(1)
    assert [f.kind for f in frames] == [HEADERS, DATA, HEADERS]
    assert frames[1].payload == message(b"hello")
    assert frames[2].flags & END_STREAM


def test_a_message_may_come_in_any_pieces(peer: RawPeer) -> None:
    data = message(b"hello world")
    for stream, size in ((1, 1), (3, 3), (5, 7)):
        peer.send(request(stream))
        for at in range(0, len(data), size):
            peer.send(frame(DATA, 0, stream, data[at : at + size]))
        peer.send(frame(DATA, END_STREAM, stream))
        assert data_of(peer.end_of(stream)) == data


def test_padding_is_no_part_of_a_message(peer: RawPeer) -> None:
    peer.send(request(1))
    peer.send(frame(DATA, END_STREAM | PADDED, 1, b"\x04" + message(b"hello") + bytes(4)))
    assert data_of(peer.end_of(1)) == message(b"hello")


def test_trailers_end_a_request_too(peer: RawPeer) -> None:
    peer.send(request(1) + frame(DATA, 0, 1, message(b"hello")))
    peer.send(frame(HEADERS, END_STREAM | 4, 1, b"\0\x01a\x01b"))
    assert data_of(peer.end_of(1)) == message(b"hello")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"content_type": "application/json"}, b"415"),
        ({"content_type": ""}, b"415"),
        ({"content_type": "application/grpcx"}, b"415"),
        ({"p_method": "PUT"}, b"405"),
    ],
)
def test_what_is_not_grpc_is_refused_by_http(
    peer: RawPeer, changes: dict[str, Any], status: bytes
) -> None:
    peer.send(whole_call(1, **changes))
    frames = peer.end_of(1)
    assert ended_with_headers_alone(frames)
    assert is_served(peer)


@pytest.mark.parametrize(
    "changes",
    [
        {"content_type": "application/grpc+proto"},
        {"content_type": "application/grpc;charset=utf-8"},
        {"te": ""},
        {"grpc_encoding": "identity"},
        {"grpc_timeout": "10S", "user_agent": "x"},
        {"grpc_timeout": "99999999H"},
    ],
)
def test_what_the_specification_allows_is_served(peer: RawPeer, changes: dict[str, Any]) -> None:
    peer.send(whole_call(1, **changes))
    assert data_of(peer.end_of(1)) == message(b"hello")


@pytest.mark.parametrize(
    "changes",
    [
        {"grpc_timeout": "soon"},
        {"grpc_timeout": "123456789S"},
        {"grpc_timeout": "-1S"},
        {"grpc_timeout": "1"},
        {"grpc_encoding": "snappy"},
        {"grpc_encoding": "deflate"},
        {"p_path": "/no/such"},
        {"p_path": "/"},
    ],
)
def test_what_it_does_not_fails_the_call_alone(peer: RawPeer, changes: dict[str, Any]) -> None:
    peer.send(whole_call(1, **changes))
    assert ended_with_headers_alone(peer.end_of(1))
    assert is_served(peer)


@pytest.mark.parametrize(
    "changes",
    [
        {"Upper": "x"},
        {"te": "gzip"},
        {"connection": "close"},
        {"p_path": "no-slash"},
        {"p_path": ""},
        {"p_scheme": ""},
        {"x": b"line\nfeed"},
    ],
)
def test_what_http_does_not_allow_resets_the_stream_alone(
    peer: RawPeer, changes: dict[str, Any]
) -> None:
    peer.send(whole_call(1, **changes))
    assert peer.end_of(1)[-1].kind == RST_STREAM
    assert is_served(peer)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\0\0\0\0\x05abc", b"\x02\0\0\0\x01a", b"\x01\0\0\0\x01a", message(b"a") * 2],
)
def test_a_broken_message_fails_the_call_alone(peer: RawPeer, data: bytes) -> None:
    peer.send(request(1) + frame(DATA, END_STREAM, 1, data))
    assert ended_with_headers_alone(peer.end_of(1))
    assert is_served(peer)


@pytest.mark.parametrize(
    "data",
    [b"not gzip", gzip.compress(b"x", mtime=0)[:-4], gzip.compress(b"x", mtime=0) + b"y", b""],
)
def test_what_is_not_one_gzip_stream_fails_the_call_alone(peer: RawPeer, data: bytes) -> None:
    peer.send(request(1, grpc_encoding="gzip") + frame(DATA, END_STREAM, 1, message(data, 1)))
    assert ended_with_headers_alone(peer.end_of(1))
    assert is_served(peer)


def test_who_compresses_is_answered_alike(peer: RawPeer) -> None:
    sent = gzip.compress(b"ab" * 4000, mtime=0)
    gzipped: dict[str, Any] = {"grpc_encoding": "gzip", "grpc_accept_encoding": "identity, gzip"}
    peer.send(request(1, **gzipped) + frame(DATA, END_STREAM, 1, message(sent, 1)))
    got = data_of(peer.end_of(1))
    assert got[0] == 1
    assert gzip.decompress(got[5:]) == b"ab" * 4000
    peer.send(request(3, grpc_encoding="gzip") + frame(DATA, END_STREAM, 3, message(sent, 1)))
    assert data_of(peer.end_of(3)) == message(b"ab" * 4000)


def test_an_answer_before_the_request_is_whole_stops_it_without_an_error(peer: RawPeer) -> None:
    peer.send(request(1, p_path="/no/such"))
    frames = peer.end_of(1)
    assert frames[-1].flags & END_STREAM
    reset = peer.until(RST_STREAM, 1)
    assert struct.unpack(">I", reset.payload) == (NO_ERROR,)
    peer.send(frame(DATA, 0, 1, message(b"late")) + frame(DATA, END_STREAM, 1))
    assert is_served(peer)


def test_a_timeout_of_nothing_is_over_at_once(peer: RawPeer) -> None:
    peer.send(whole_call(1, grpc_timeout="0n", do="wait"))
    assert ended_with_headers_alone(peer.end_of(1))


def test_a_reset_ends_the_call(running: Running, peer: RawPeer) -> None:
    waits, ended = len(running.script.waiting), running.script.ended
    peer.send(whole_call(1, do="wait"))
    assert wait_until(lambda: len(running.script.waiting) == waits + 1, timeout_s=10)
    peer.send(frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    assert wait_until(lambda: running.script.ended == ended + 1, timeout_s=10)
    running.script.waiting[-1].finish(b"late")
    assert is_served(peer)


def test_a_call_and_its_reset_in_one_packet_are_never_handed_over(
    running: Running, peer: RawPeer
) -> None:
    seen = len(running.script.seen)
    peer.send(whole_call(1) + frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    assert is_served(peer)
    assert len(running.script.seen) == seen + 1


@pytest.mark.parametrize("changes", [{"p_method": "GET"}, {"p_path": "/no/such"}, {}])
def test_what_is_refused_and_reset_in_one_packet_hurts_no_other(
    peer: RawPeer, changes: dict[str, Any]
) -> None:
    peer.send(request(1, **changes) + frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    assert is_served(peer)


@pytest.mark.parametrize("half", [0, 1])
def test_a_client_that_disappears_in_a_request(running: Running, half: int) -> None:
    with RawPeer(running.port) as one:
        one.send(request(1, p_path=STREAM if half else REQUEST[":path"]))
        one.send(frame(DATA, 0, 1, b"\0\0\0\xff\xffhalf of a message"))
        one.send(frame(PING, 0, 0, b"is there"))
        one.until(PING)
    assert wait_until(lambda: running.front.counts().calls == 0, timeout_s=10)
    assert running.front.counts().held_bytes == 0


def test_a_client_that_has_said_all_and_shuts_its_side(running: Running) -> None:
    before = running.script.ended
    with RawPeer(running.port) as one:
        one.send(whole_call(1, do="wait"))
        one.socket.shutdown(socket.SHUT_WR)
        assert wait_until(lambda: running.script.ended > before, timeout_s=10)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00" + bytes(100),
        PREFACE + b"\xff" * 100,
        PREFACE + frame(PING, 0, 0, b"first frame is no SETTINGS"),
        PREFACE + frame(SETTINGS) + frame(DATA, 0, 0, b"stream 0"),
        PREFACE + frame(SETTINGS) + frame(HEADERS, 5, 2, b""),
        PREFACE + frame(SETTINGS) + frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff"),
        PREFACE + frame(SETTINGS) + frame(WINDOW, 0, 0, bytes(4)),
    ],
)
def test_a_malformed_connection_dies_alone(running: Running, data: bytes) -> None:
    with RawPeer(running.port) as good, RawPeer(running.port, greets=False) as bad:
        assert is_served(good, 1)
        bad.send(data)
        bad.rest()
        assert is_served(good, 3)


def test_a_zero_window_holds_its_own_stream_only(peer: RawPeer) -> None:
    peer.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))
    peer.send(whole_call(1, b"first") + whole_call(3, b"second"))
    peer.send(frame(WINDOW, 0, 3, struct.pack(">I", 100)))
    assert data_of(peer.end_of(3)) == message(b"second")
    peer.send(frame(WINDOW, 0, 1, struct.pack(">I", 4)))
    assert peer.until(DATA, 1).payload == message(b"first")[:4]
    peer.send(frame(WINDOW, 0, 1, struct.pack(">I", 100)))
    assert data_of(peer.end_of(1)) == message(b"first")[4:]


def test_a_call_that_takes_nothing_gives_no_window(running: Running, peer: RawPeer) -> None:
    """Its peer may send a window's worth, and every other call of the connection goes on."""
    peer.send(request(1, p_path=STREAM, do="stall"))
    piece = message(b"x" * 16_000)
    for _ in range(60):
        peer.send(frame(DATA, 0, 1, piece))
    assert given_back(peer, whole_call(3), 3) == 0
    stalled = next(c for c in reversed(running.script.seen) if c.method == STREAM)
    got: list[int] = []

    def take(data: bytes | None) -> None:
        got.append(len(data or b""))
        if len(got) < 60:
            stalled.receive(take)

    stalled.receive(take)
    assert wait_until(lambda: len(got) == 60, timeout_s=10)
    assert given_back(peer, whole_call(5), 5) > 500_000
    peer.send(frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    assert wait_until(lambda: running.front.counts().held_bytes == 0, timeout_s=10)


def given_back(peer: RawPeer, other: bytes, until: int) -> int:
    """Bytes of window that stream 1 got before the answer of another stream ended."""
    peer.send(other)
    given = 0
    while (found := peer.next()) is not None:
        if found.kind == WINDOW and found.stream == 1:
            given += struct.unpack(">I", found.payload)[0]
        if found.stream == until and found.flags & END_STREAM:
            break
    return given


def test_a_call_between_two_goaways_is_served() -> None:
    with running_front() as front, RawPeer(front.port) as one:
        one.send(whole_call(1, do="wait"))
        assert wait_until(lambda: len(front.script.waiting) == 1, timeout_s=10)
        draining = threading.Thread(target=front.front.drain, args=(20,))
        draining.start()
        last, code, _ = goaway_of(one.until(GOAWAY))
        assert (last, code) == (2**31 - 1, NO_ERROR)
        ping = one.until(PING)
        one.send(whole_call(3, b"late"))
        assert data_of(one.end_of(3)) == message(b"late")
        one.send(frame(PING, ACK, 0, ping.payload))
        last, code, _ = goaway_of(one.until(GOAWAY))
        assert (last, code) == (3, NO_ERROR)
        one.send(whole_call(5, b"too late"))
        front.script.waiting[0].finish(b"whole")
        assert data_of(one.end_of(1)) == message(b"whole")
        assert not any(f.stream == 5 for f in one.rest())
        draining.join(10)
        assert not draining.is_alive()


def test_a_peer_that_hears_nothing_is_told_to_leave_all_the_same() -> None:
    with running_front() as front, RawPeer(front.port) as one:
        front.front.drain(20)
        assert [goaway_of(f)[1] for f in one.rest() if f.kind == GOAWAY] == [NO_ERROR, NO_ERROR]


def test_pings_that_come_too_early_are_struck() -> None:
    with running_front(max_ping_strikes=2) as front, RawPeer(front.port) as one:
        for i in range(4):
            one.send(frame(PING, 0, 0, b"ping %3d" % i))
        *_, last = (f for f in one.rest() if f.kind == GOAWAY)
        assert goaway_of(last)[1:] == (CALM, b"too_many_pings")


def test_pings_after_answers_are_welcome() -> None:
    with running_front(max_ping_strikes=0) as front, RawPeer(front.port) as one:
        for stream in range(1, 21, 2):
            one.send(whole_call(stream))
            one.end_of(stream)
            one.send(frame(PING, 0, 0, b"how soon"))
            assert one.until(PING).flags & ACK


def test_a_silent_peer_with_calls_is_asked_whether_it_lives() -> None:
    with (
        running_front(keepalive_s=0.1, keepalive_timeout_s=0.1) as front,
        RawPeer(front.port) as one,
    ):
        one.send(whole_call(1, do="wait"))
        kinds = [f.kind for f in one.rest()]
        assert PING in kinds
        assert kinds[-1] == GOAWAY
        assert wait_until(lambda: front.script.ended == 1, timeout_s=10)


def test_an_idle_connection_is_asked_to_leave() -> None:
    with running_front(idle_timeout_s=0.1) as front, RawPeer(front.port) as one:
        goaways = [goaway_of(f) for f in one.rest() if f.kind == GOAWAY]
        assert [code for _, code, _ in goaways] == [NO_ERROR, NO_ERROR]
        assert front.front.counts().faulted_connections == 0


@pytest.mark.parametrize(
    "half",
    [request(1), request(1) + frame(DATA, 0, 1, b"\0\0"), request(1, p_path=STREAM) + b""],
)
def test_a_request_that_does_not_come_on_is_given_up(half: bytes) -> None:
    with running_front(request_timeout_s=0.1) as front, RawPeer(front.port) as one:
        streams = STREAM.encode() in half
        one.send(half)
        if streams:  # between its messages a stream may rest
            one.send(frame(DATA, 0, 1, message(b"one") + b"\0\0\0"))
        frames = one.end_of(1)
        assert frames[-1].kind == HEADERS
        assert is_served(one)


def test_a_connection_that_does_not_greet_is_closed() -> None:
    with running_front(handshake_timeout_s=0.1) as front:
        with RawPeer(front.port, greets=False) as silent, RawPeer(front.port) as good:
            silent.rest()
            assert is_served(good)
        assert front.front.counts().faulted_connections == 1


def test_a_response_that_is_not_read_is_given_up() -> None:
    with (
        running_front(stalled_timeout_s=0.1) as front,
        RawPeer(front.port, settings=struct.pack(">HI", 4, 10)) as one,
    ):
        one.send(whole_call(1, b"x" * 100))
        reset = one.until(RST_STREAM, 1)
        assert struct.unpack(">I", reset.payload) == (CANCEL,)
        assert wait_until(lambda: front.front.counts().calls == 0, timeout_s=10)
        one.send(whole_call(3, b""))
        assert data_of(one.end_of(3)) == message(b"")


def test_connections_are_bounded() -> None:
    with running_front(max_connections=3) as front:
        peers = [RawPeer(front.port) for _ in range(3)]
        assert all(is_served(one) for one in peers)
        with RawPeer(front.port, greets=False) as one:
            one.rest()
        assert front.front.counts().refused_connections == 1
        peers.pop().close()
        assert wait_until(lambda: front.front.counts().connections == 2, timeout_s=10)
        with RawPeer(front.port) as one:
            assert is_served(one)
        for one in peers:
            one.close()


def test_bytes_are_bounded_for_a_connection_and_for_all() -> None:
    bounds: dict[str, Any]
    for bounds in ({"max_connection_bytes": 100_000}, {"max_held_bytes": 100_000}):
        with (
            running_front("http2", listeners=(ANYWHERE,), **bounds) as front,
            RawPeer(front.port) as one,
        ):
            piece = b"\0\0\x0f\x42\x40" + b"x" * 16_000
            for stream in range(1, 21, 2):
                one.send(request(stream) + frame(DATA, 0, stream, piece))
            assert len(ended_streams(one)) == 4
            assert front.front.counts().held_bytes <= 100_000
            assert is_served(one, 103)


def ended_streams(peer: RawPeer) -> set[int]:
    """Those that were ended before a call that comes after them."""
    peer.send(request(101, p_path="/no/such", ends=True))
    ended = set()
    while (found := peer.next()) is not None and found.stream != 101:
        if found.kind == HEADERS and found.flags & END_STREAM:
            ended.add(found.stream)
    return ended


def test_responses_that_nobody_reads_are_bounded() -> None:
    with (
        running_front(max_connection_bytes=1_000_000) as front,
        RawPeer(front.port, settings=struct.pack(">HI", 4, 0)) as one,
    ):
        for stream in range(1, 41, 2):
            one.send(whole_call(stream, b"100000", do="big"))
        assert len(ended_streams(one)) >= 10
        assert front.front.counts().held_bytes <= 1_100_000


def test_messages_of_one_packet_do_not_end_their_stream(peer: RawPeer) -> None:
    first = b"".join(frame(DATA, 0, 1, message(b"%d" % i)) for i in range(5))
    peer.send(request(1, p_path=STREAM))
    for _ in range(3):
        peer.send(first)
        got = b""
        while len(got) < 5 * 6:
            got += peer.until(DATA, 1).payload
        assert got == b"".join(message(b"%d" % i) for i in range(5))
    peer.send(frame(DATA, END_STREAM, 1))
    assert peer.end_of(1)[-1].flags & END_STREAM


def test_calls_of_one_poll_are_handed_over_together() -> None:
    with running_front() as front, RawPeer(front.port) as one:
        one.send(b"".join(whole_call(stream) for stream in range(1, 129, 2)))
        for stream in range(1, 129, 2):
            one.end_of(stream)
        assert max(front.script.polls) > 16


@pytest.mark.parametrize("end", ["stream reset", "connection reset", "connection end"])
def test_an_answer_that_is_given_up_in_its_midst_leaves_nothing(running: Running, end: str) -> None:
    counts = running.front.counts
    with RawPeer(running.port, settings=struct.pack(">HI", 4, 2**30)) as one:
        one.send(frame(WINDOW, 0, 0, struct.pack(">I", 2**30)))
        for stream in (1, 3):
            one.send(whole_call(stream, b"30000000", do="big"))
        one.until(DATA, 1)
        assert counts().held_bytes > 10_000_000
        if end == "stream reset":
            for stream in (1, 3):
                one.send(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))
            assert is_served(one)
            assert wait_until(lambda: counts().held_bytes == 0, timeout_s=10)
        if end == "connection reset":
            one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert wait_until(lambda: counts().held_bytes == counts().calls == 0, timeout_s=10)


def test_a_peer_that_reads_byte_by_byte_gets_everything(running: Running) -> None:
    with RawPeer(running.port) as one:
        one.send(whole_call(1, b"%d" % 40_000, do="big"))
        got = b""
        while len(got) < 40_000:
            got += one.socket.recv(1)
        with RawPeer(running.port) as other:
            assert is_served(other)
