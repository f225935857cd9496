"""gRPC over HTTP/2 clause by clause, as bytes on the wire, and gRPC's interoperability tests.

Sources: `doc/PROTOCOL-HTTP2.md` and `doc/interop-test-descriptions.md` of grpc/grpc. grpcio's
server answers the same requests: what both do is what clients expect.
"""

import base64
import gzip
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from fogline.clock import wait_until
from fogline_edge.serving.calls import Call
from tests.clients.golang import GoClient, go_client
from tests.fronts import (
    STREAM,
    UNARY,
    WATCH,
    Channel,
    Running,
    channel_to,
    failure_of,
    message,
    running_front,
)
from tests.http2_client import Http2Client

__all__ = ["go_client"]

KINDS = ["http2", "asyncio", "grpcio"]


@pytest.fixture(scope="module", params=KINDS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_front(request.param) as front:
        yield front


@pytest.fixture(scope="module", params=["http2", "asyncio"])
def ours(request: pytest.FixtureRequest) -> Iterator[Running]:
    """For what grpcio's server does in its own way."""
    with running_front(request.param) as front:
        yield front


@pytest.fixture
def client(running: Running) -> Iterator[Http2Client]:
    with Http2Client(running.port) as one:
        yield one


@pytest.fixture
def channel(running: Running) -> Iterator[Channel]:
    with channel_to(running.address) as one:
        yield one


# Responses


def test_a_good_response_is_headers_data_and_trailers(client: Http2Client) -> None:
    found = client.call(message(b"hello"))
    assert found.headers[b":status"] == b"200"
    assert found.headers[b"content-type"].startswith(b"application/grpc")
    assert b"grpc-status" not in found.headers
    assert b"grpc-encoding" not in found.headers or found.headers[b"grpc-encoding"] == b"identity"
    assert found.data == message(b"hello")
    assert found.trailers is not None
    assert found.trailers[b"grpc-status"] == b"0"
    assert found.error_code == 0


def test_an_error_without_a_response_is_trailers_alone(client: Http2Client) -> None:
    found = client.call(message("100% é\n".encode()), do="raise", kind="NotFound")
    assert found.trailers is None
    assert found.headers[b":status"] == b"200"
    assert found.headers[b"content-type"].startswith(b"application/grpc")
    assert found.headers[b"grpc-status"] == b"5"
    assert found.headers[b"grpc-message"] == b"100%25 %C3%A9%0A"


def test_an_error_after_responses_is_in_the_trailers(client: Http2Client) -> None:
    found = client.call(message(b""), p_path=WATCH, do="half")
    assert found.data == message(b"one")
    assert found.trailers is not None
    assert found.trailers[b"grpc-status"] == b"9"
    assert found.trailers[b"grpc-message"] == b"after one"


def test_what_a_message_must_not_have_is_percent_encoded(ours: Running) -> None:
    with Http2Client(ours.port) as one:
        for code in (*range(0x20), *range(0x7F, 0x100), 0x25, 0x2603, 0x1F608):
            text = f"a{chr(code)}b ~"
            told = one.call(message(text.encode()), do="raise", kind="Conflict").headers
            encoded = told[b"grpc-message"]
            assert all(0x20 <= byte <= 0x7E for byte in encoded)
            assert unquote_to_bytes(encoded) == text.encode()
            assert encoded.endswith(b"b ~")  # and nothing else is encoded


# Requests


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [("1H", 3600), ("2M", 120), ("90S", 90), ("90000m", 90), ("90000000u", 90), ("99999999n", 0.1)],
)
def test_a_timeout_is_read_in_every_unit(client: Http2Client, timeout: str, seconds: float) -> None:
    left_s = float(client.call(message(b""), do="deadline", grpc_timeout=timeout).data[5:])
    assert seconds - 5 < left_s <= seconds + 0.1


def test_a_timeout_that_is_over_is_deadline_exceeded(client: Http2Client) -> None:
    found = client.call(message(b""), do="wait", grpc_timeout="50m")
    assert found.error_code in (0, 8)  # grpcio's core resets
    if found.headers:
        assert found.status == 4


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto"])
def test_content_types_of_grpc_are_served(client: Http2Client, kind: str) -> None:
    assert client.call(message(b"x"), content_type=kind).status == 0


@pytest.mark.parametrize("kind", ["Application/GRPC", "application/grpc; charset=utf-8"])
def test_content_types_are_compared_as_http_says(ours: Running, kind: str) -> None:
    with Http2Client(ours.port) as one:
        assert one.call(message(b"x"), content_type=kind).status == 0


@pytest.mark.parametrize("kind", ["application/json", "text/html", "application/grpc-web", ""])
def test_other_content_types_are_415(ours: Running, kind: str) -> None:
    with Http2Client(ours.port) as one:
        found = one.call(message(b"x"), content_type=kind)
        assert found.headers[b":status"] == b"415"
        assert b"grpc-status" not in found.headers
        assert one.call(message(b"x")).status == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "post", "OPTIONS"])
def test_other_methods_are_405(ours: Running, method: str) -> None:
    with Http2Client(ours.port) as one:
        assert one.call(message(b"x"), p_method=method).headers[b":status"] == b"405"
        assert one.call(message(b"x")).status == 0


def test_an_unknown_encoding_is_unimplemented_and_told_what_is_known(ours: Running) -> None:
    with Http2Client(ours.port) as one:
        found = one.call(message(b"x", 1), grpc_encoding="snappy")
        assert found.status == 12
        assert found.headers[b"grpc-accept-encoding"] == b"identity,gzip"
        assert one.call(message(b"x")).status == 0


def test_a_compressed_message_without_an_encoding_is_internal(client: Http2Client) -> None:
    assert client.call(message(gzip.compress(b"x"), 1)).status == 13
    assert client.call(message(b"x")).status == 0


def test_a_call_with_an_encoding_may_have_messages_that_are_not_compressed(
    client: Http2Client,
) -> None:
    found = client.call(message(b"x"), grpc_encoding="gzip")
    assert (found.status, found.data) == (0, message(b"x"))


def test_binary_metadata_is_taken_with_and_without_padding(client: Http2Client) -> None:
    plain = base64.b64encode(b"\0\xff\x10~").decode()
    for value in (plain, plain.rstrip("=")):
        got = dict(eval(client.call(message(b""), do="metadata", some_bin=value).data[5:]))
        assert got["some-bin"] == b"\0\xff\x10~"


def test_values_of_one_key_keep_their_order(ours: Running) -> None:
    one, two = (base64.b64encode(v).decode().rstrip("=") for v in (b"\1", b"\2\3"))
    with Http2Client(ours.port) as peer:
        answer = peer.call(
            message(b""),
            do="metadata",
            key="a",
            key__2="b,c",
            some_bin=one,
            some_bin__2=f"{two}, {one}",
        )
    got = dict(eval(answer.data[5:]))
    assert got["key"] == "a,b,c"
    assert got["some-bin"] == b"\1,\2\3,\1"


def test_an_answer_may_be_read_byte_by_byte(running: Running) -> None:
    with Http2Client(running.port, chunk_bytes=1) as one:
        found = one.call(message(b"x" * 3000))
        assert (found.status, found.data) == (0, message(b"x" * 3000))


# The interoperability tests, by their names


def test_empty_unary(channel: Channel) -> None:
    assert channel.call(b"") == b""


def test_large_unary(channel: Channel) -> None:
    assert channel.call(b"%d" % 314_159 + b" " * 271_828, "big") == b"x" * 314_159


def test_client_compressed_unary(running: Running) -> None:
    with channel_to(running.address, default_compression_algorithm=2) as one:
        assert one.call(b"a" * 271_828, "length") == b"271828"


def test_client_streaming(channel: Channel) -> None:
    sizes = (27_182, 8, 1828, 45_904)
    send = channel.channel.stream_unary(STREAM)
    answer = send(iter([b"x" * n for n in sizes]), metadata=[("do", "sum")], timeout=20)
    assert answer == b"74922"


def test_server_streaming(channel: Channel) -> None:
    assert [len(r) for r in channel.watch(b"4 58978")] == [58_979] * 4


def test_ping_pong(channel: Channel) -> None:
    turns = threading.Semaphore(1)

    def requests() -> Iterator[bytes]:
        for size in (27_182, 8, 1828, 45_904):
            turns.acquire()
            yield b"x" * size

    got = []
    for answer in channel.stream(requests()):
        got.append(len(answer))
        turns.release()
    assert got == [27_182, 8, 1828, 45_904]


def test_empty_stream(channel: Channel) -> None:
    assert list(channel.stream(iter(()))) == []


def test_status_code_and_message(channel: Channel) -> None:
    for send in (channel.call, channel.watch):
        given: Any = {"do": "raise", "metadata": [("kind", "Unavailable")]}
        told = failure_of(lambda: list(send(b"test status message", **given)))  # noqa: B023
        assert told == ("UNAVAILABLE", "test status message")


def test_special_status_message(channel: Channel) -> None:
    text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    told = failure_of(lambda: channel.call(text.encode(), "raise", metadata=[("kind", "Conflict")]))
    assert told == ("FAILED_PRECONDITION", text)


def test_unimplemented_method_and_service(channel: Channel) -> None:
    for path in (f"{UNARY}NotThere", "/not.there.Service/ModelInfer"):
        assert failure_of(lambda: channel.call(b"", path=path))[0] == "UNIMPLEMENTED"  # noqa: B023


def test_cancel_after_begin(running: Running, channel: Channel) -> None:
    ended, waits, before = running.script.ended, threading.Event(), len(running.script.waiting)

    def requests() -> Iterator[bytes]:
        waits.wait(20)
        yield b""

    call = channel.stream(requests(), "stall")
    assert wait_until(lambda: len(running.script.waiting) > before, timeout_s=10)
    call.cancel()
    assert call.code().name == "CANCELLED"
    waits.set()
    assert wait_until(lambda: running.script.ended > ended, timeout_s=10)


def test_cancel_after_first_response(running: Running, channel: Channel) -> None:
    ended, waits = running.script.ended, threading.Event()

    def requests() -> Iterator[bytes]:
        yield b"x" * 27_182
        waits.wait(20)

    call = channel.stream(requests())
    assert len(next(call)) == 27_182
    call.cancel()
    waits.set()
    assert failure_of(lambda: next(call))[0] == "CANCELLED"
    assert wait_until(lambda: running.script.ended > ended, timeout_s=10)


def test_timeout_on_sleeping_server(running: Running, channel: Channel) -> None:
    sleeping: list[Call] = running.script.waiting
    before = len(sleeping)

    def requests() -> Iterator[bytes]:
        yield b"x" * 27_182

    told = failure_of(lambda: list(channel.stream(requests(), "stall", timeout=0.1)))
    assert told[0] == "DEADLINE_EXCEEDED"
    assert wait_until(lambda: all(c.is_cancelled() for c in sleeping[before:]), timeout_s=10)


# ... and by grpc-go


def test_go_is_answered_every_way(running: Running, go_client: GoClient) -> None:
    address = running.address
    empty = go_client.call(address, UNARY, [b""])
    assert (empty.code, empty.responses) == ("OK", (b"",))
    large = go_client.call(address, UNARY, [b"%d" % 314_159 + b" " * 271_828], metadata="do=big")
    assert [len(r) for r in large.responses] == [314_159]
    sent = [b"x" * n for n in (27_182, 8, 1828, 45_904)]
    assert go_client.call(address, STREAM, sent, mode="stream").responses == tuple(sent)
    assert go_client.call(address, STREAM, [], mode="stream").responses == ()
    one = go_client.call(address, STREAM, sent, mode="stream", stop_after=1)
    assert (one.code, one.responses[0]) == ("Canceled", sent[0])


def test_go_is_told_every_failure(running: Running, go_client: GoClient) -> None:
    text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    told = go_client.call(
        running.address, UNARY, [text.encode()], metadata="do=raise,kind=Conflict"
    )
    assert (told.code, told.message) == ("FailedPrecondition", text)
    assert go_client.call(running.address, f"{UNARY}NotThere", [b""]).code == "Unimplemented"
    late = go_client.call(running.address, UNARY, [b""], metadata="do=wait", timeout="100ms")
    assert late.code == "DeadlineExceeded"
