"""One conformance suite for both fronts, with grpcio's own client: calls, streams, statuses."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from fogline.clock import wait_until
from fogline.wire.status import STATUS_OF
from tests.fronts import STREAM, UNARY, Channel, Running, channel_to, failure_of, running_front

KINDS = ["http2", "asyncio", "grpcio"]


@pytest.fixture(scope="module", params=KINDS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_front(request.param) as front:
        yield front


@pytest.fixture
def channel(running: Running) -> Iterator[Channel]:
    with channel_to(running.address) as one:
        yield one


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 70_000, 5_000_000])
def test_a_message_comes_back_as_it_was(channel: Channel, size: int) -> None:
    message = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    assert channel.call(message) == message


def test_many_calls_of_one_connection_at_once(channel: Channel) -> None:
    futures = [channel.future(b"%d" % i) for i in range(100)]
    assert [f.result(timeout=30) for f in futures] == [b"%d" % i for i in range(100)]


@pytest.mark.parametrize("kind", ["http2", "asyncio"])
def test_more_calls_than_a_connection_may_have_wait_their_turn(kind: str) -> None:
    with running_front(kind, max_streams=16) as front, channel_to(front.address) as one:
        assert one.call(b"x") == b"x"
        futures = [one.future(b"%d" % i) for i in range(1000)]
        assert [f.result(timeout=30) for f in futures] == [b"%d" % i for i in range(1000)]


def test_calls_of_many_connections_at_once(running: Running) -> None:
    def ask(number: int) -> bool:
        with channel_to(running.address) as one:
            return all(one.call(b"%d" % (number + i)) == b"%d" % (number + i) for i in range(20))

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(16)))


def test_a_call_is_ended_once_from_whichever_thread(running: Running, channel: Channel) -> None:
    before = running.script.ended
    assert [channel.call(b"x", "thread") for _ in range(20)] == [b"x"] * 20
    assert wait_until(lambda: running.script.ended >= before + 20, timeout_s=10)


def test_one_request_and_many_responses(channel: Channel) -> None:
    got = list(channel.watch(b"50 10"))
    assert got == [b"%d" % i + b"." * 10 for i in reversed(range(50))]


def test_responses_go_on_as_fast_as_the_peer_reads(channel: Channel) -> None:
    responses = channel.watch(b"60 200000", timeout=60)
    assert sum(len(r) for r in responses) > 60 * 200_000


def test_many_requests_and_one_response(channel: Channel) -> None:
    answer = channel.channel.stream_unary(STREAM)(
        iter([b"ab", b"", b"c" * 100_000]), metadata=[("do", "sum")], timeout=20
    )
    assert answer == b"100002"


def test_many_requests_and_many_responses(channel: Channel) -> None:
    messages = [b"%d" % i * i for i in range(300)]
    assert list(channel.stream(iter(messages))) == messages


def test_requests_and_responses_in_turn(channel: Channel) -> None:
    go_on = threading.Semaphore(0)

    def requests() -> Iterator[bytes]:
        for i in range(5):
            yield b"%d" % i
            go_on.acquire()

    answers = []
    for answer in channel.stream(requests()):
        answers.append(answer)
        go_on.release()
    assert answers == [b"0", b"1", b"2", b"3", b"4"]


def test_a_stream_of_no_requests(channel: Channel) -> None:
    assert list(channel.stream(iter(()))) == []


@pytest.mark.parametrize("kind", sorted(k.__name__ for k in STATUS_OF))
def test_an_error_has_its_status_and_its_text(channel: Channel, kind: str) -> None:
    text = f'größer als 100%, ein "Zeichen"\nund {"é" * 20}'
    code, details = failure_of(
        lambda: channel.call(text.encode(), "raise", metadata=[("kind", kind)])
    )
    assert details == text
    assert code == next(s for k, s in STATUS_OF.items() if k.__name__ == kind).name


def test_a_long_text_is_cut_at_a_character(channel: Channel) -> None:
    _, details = failure_of(
        lambda: channel.call("é".encode() * 3000, "raise", metadata=[("kind", "Conflict")])
    )
    assert details == "é" * 1000


def test_a_stream_may_fail_after_responses(channel: Channel) -> None:
    responses = channel.watch(b"", "half")
    assert next(responses) == b"one"
    assert failure_of(lambda: next(responses)) == ("FAILED_PRECONDITION", "after one")


def test_an_unknown_method_is_unimplemented(channel: Channel) -> None:
    for path in ("/a.B/C", "/x", "/" + "é" * 20):
        code, _ = failure_of(lambda path=path: channel.call(b"x", path=path))  # type: ignore[misc]
        assert code == "UNIMPLEMENTED"


def test_a_fault_of_ours_ends_the_call_alone(channel: Channel) -> None:
    code, details = failure_of(lambda: channel.call(b"x", "crash"))
    assert code in ("INTERNAL", "UNKNOWN")
    assert "Traceback" not in details
    assert channel.call(b"x") == b"x"


def test_metadata_arrives_joined_and_decoded(channel: Channel) -> None:
    sent = [
        ("plain", "one"),
        ("plain", "two, three"),
        ("raw-bin", bytes(range(256))),
        ("empty", ""),
        ("grpc-reserved", "hidden"),
    ]
    got = dict(eval(channel.call(b"", "metadata", metadata=sent)))
    assert got["plain"] == "one,two, three"
    assert got["raw-bin"] == bytes(range(256))
    assert got["empty"] == ""
    assert not any(key.startswith(("grpc-", ":")) for key in got)


def test_a_deadline_reaches_the_call_and_ends_it(running: Running, channel: Channel) -> None:
    before = running.script.ended
    code, _ = failure_of(lambda: channel.call(b"", "wait", timeout=0.2))
    assert code == "DEADLINE_EXCEEDED"
    assert wait_until(lambda: running.script.ended >= before + 1, timeout_s=10)
    assert wait_until(running.script.waiting[-1].is_cancelled, timeout_s=10)
    left_s = float(channel.call(b"", "deadline", timeout=30))
    assert 25 < left_s < 31
    assert channel.future(b"", "deadline").result(timeout=10) == b"None"


def test_a_cancelled_call_ends_at_once(running: Running, channel: Channel) -> None:
    before, waits = running.script.ended, len(running.script.waiting)
    call = channel.future(b"", "wait")
    assert wait_until(lambda: len(running.script.waiting) == waits + 1, timeout_s=10)
    call.cancel()
    assert wait_until(lambda: running.script.ended >= before + 1, timeout_s=10)
    running.script.waiting[-1].finish(b"late")
    running.script.waiting[-1].send(b"later")
    assert channel.call(b"x") == b"x"


def test_a_client_that_goes_ends_its_calls(running: Running) -> None:
    before, waits = running.script.ended, len(running.script.waiting)
    with channel_to(running.address) as one:
        _calls = [one.future(b"", "wait") for _ in range(5)]
        assert wait_until(lambda: len(running.script.waiting) == waits + 5, timeout_s=10)
    assert wait_until(lambda: running.script.ended >= before + 5, timeout_s=10)


def test_callbacks_of_an_ended_call_come_at_once(running: Running, channel: Channel) -> None:
    channel.call(b"x")
    told: list[int] = []
    assert wait_until(running.script.seen[-1].is_cancelled, timeout_s=10)
    running.script.seen[-1].when_ended(lambda: told.append(1))
    assert wait_until(lambda: told == [1], timeout_s=10)


def gzip_channel(address: str) -> Any:
    return channel_to(address, default_compression_algorithm=2)


@pytest.mark.parametrize("size", [0, 100, 3_000_000])
def test_compressed_requests_are_read(running: Running, size: int) -> None:
    with gzip_channel(running.address) as one:
        assert one.call(b"ab" * (size // 2)) == b"ab" * (size // 2)
        assert list(one.stream(iter([b"a" * 5000, b"b" * 5000]))) == [b"a" * 5000, b"b" * 5000]


@pytest.mark.parametrize("kind", KINDS)
def test_messages_are_bounded(kind: str) -> None:
    with running_front(kind, max_message_bytes=20_000) as front:
        with channel_to(front.address) as one:
            assert len(one.call(b"x" * 20_000)) == 20_000
            code, details = failure_of(lambda: one.call(b"x" * 20_001))
            assert code == "RESOURCE_EXHAUSTED"
            assert "20001" in details
            assert one.call(b"x") == b"x"
        with gzip_channel(front.address) as one:
            assert one.call(b"x" * 20_000) == b"x" * 20_000
            code, _ = failure_of(lambda: one.call(b"x" * 3_000_000))
            assert code == "RESOURCE_EXHAUSTED"
            assert one.call(b"x") == b"x"


@pytest.mark.parametrize("kind", KINDS)
def test_open_calls_are_bounded(kind: str) -> None:
    with (
        running_front(kind, max_calls=3, max_threads=3) as front,
        channel_to(front.address) as one,
    ):
        calls = [one.future(b"", "wait") for _ in range(3)]
        assert wait_until(lambda: len(front.script.waiting) == 3, timeout_s=10)
        code, _ = failure_of(lambda: one.call(b"x"))
        assert code == "RESOURCE_EXHAUSTED"
        for call in calls:
            call.cancel()
        assert wait_until(lambda: is_answered(one), timeout_s=10)


def is_answered(one: Channel) -> bool:
    try:
        return one.call(b"x") == b"x"
    except grpc.RpcError:
        return False


@pytest.mark.parametrize("kind", KINDS)
def test_too_much_metadata_fails_its_call_alone(kind: str) -> None:
    with running_front(kind) as front, channel_to(front.address) as one:
        much = [(f"key-{i}", "v" * 1000) for i in range(40)]
        code, _ = failure_of(lambda: one.call(b"x", metadata=much))
        assert code == "RESOURCE_EXHAUSTED"
        assert one.call(b"x") == b"x"


@pytest.mark.parametrize("kind", KINDS)
def test_pings_that_come_too_often_end_the_connection(kind: str) -> None:
    with (
        running_front(kind, max_ping_strikes=1) as front,
        channel_to(
            front.address,
            keepalive_time_ms=100,
            keepalive_permit_without_calls=1,
            **{"http2.max_pings_without_data": 0},
        ) as one,
    ):
        code, details = failure_of(lambda: one.call(b"", "wait", timeout=20))
        assert code == "UNAVAILABLE"
        assert "Too many pings" in details or "too_many_pings" in details


@pytest.mark.parametrize("kind", KINDS)
def test_a_drain_lets_calls_end_and_fails_none(kind: str) -> None:
    with running_front(kind) as front, channel_to(front.address) as one:
        calls = [one.future(b"%d" % i, "wait") for i in range(20)]
        assert wait_until(lambda: len(front.script.waiting) == 20, timeout_s=10)
        draining = threading.Thread(target=front.front.drain, args=(20,))
        draining.start()
        for call in front.script.waiting:
            call.finish(call.message)
        assert [call.result(timeout=10) for call in calls] == [b"%d" % i for i in range(20)]
        draining.join(10)
        assert not draining.is_alive()
        code, _ = failure_of(lambda: one.call(b"x"))
        assert code == "UNAVAILABLE"


@pytest.mark.parametrize("kind", KINDS)
def test_a_drain_cancels_what_does_not_end_in_time(kind: str) -> None:
    with running_front(kind) as front, channel_to(front.address) as one:
        call = one.future(b"", "wait")
        assert wait_until(lambda: len(front.script.waiting) == 1, timeout_s=10)
        front.front.drain(0.1)
        code, _ = failure_of(lambda: call.result(timeout=10))
        assert code in ("CANCELLED", "UNAVAILABLE")
        assert wait_until(lambda: front.script.ended == 1, timeout_s=10)
        assert front.script.waiting[0].is_cancelled()


def test_a_slow_reader_stops_the_one_who_writes(channel: Channel, running: Running) -> None:
    responses = channel.watch(b"1000 100000", timeout=60)
    assert next(responses).startswith(b"999")
    call = running.script.seen[-1]
    assert wait_until(lambda: not call.is_writable(), timeout_s=10)
    responses.cancel()
    assert wait_until(call.is_cancelled, timeout_s=10)


@pytest.mark.parametrize("kind", KINDS)
def test_who_writes_on_to_a_slow_reader_loses_the_call(kind: str) -> None:
    with (
        running_front(kind, max_unsent_bytes=2_000_000) as front,
        channel_to(front.address) as one,
    ):
        code, details = failure_of(lambda: list(one.watch(b"", "flood", timeout=60)))
        assert (code, "wait" in details) == ("RESOURCE_EXHAUSTED", True)


@pytest.mark.parametrize("messages", [[], [b"one", b"two"]])
@pytest.mark.parametrize("kind", ["http2", "asyncio"])
def test_a_method_of_one_request_takes_one(kind: str, messages: list[bytes]) -> None:
    with running_front(kind) as front, channel_to(front.address) as one:
        send = one.channel.stream_unary(UNARY)
        code, _ = failure_of(lambda: send(iter(messages), timeout=20))
        assert code == "UNIMPLEMENTED"
