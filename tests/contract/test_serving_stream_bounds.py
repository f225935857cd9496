"""What one `ModelStreamInfer` holds, and how it ends: real models, on the loop and in the pool."""

import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from fogline.addresses import Address
from fogline.clock import wait_until
from fogline.runtime import ModelPlan
from fogline.tensors import encode_inputs
from fogline.wire.open_inference_pb2 import ModelInferRequest, ModelStreamInferResponse
from fogline_edge.serving import ServedModel, Server, ServingConfig
from fogline_edge.serving.front import FrontConfig
from fogline_edge.serving.streams import MAX_OPEN, MAX_OPEN_BYTES
from tests import models as makers
from tests.fronts import (
    DATA,
    END_STREAM,
    STREAM,
    WINDOW,
    RawPeer,
    failure_of,
    frame,
    message,
    request,
)
from tests.serving import models_of, served_model, server_of

FRONTS = ("http2", "grpcio")
LOOP = ModelPlan(placement="loop", one_row_us=10.0, row_us=1.0, max_stack=16)
MEGABYTE = 2**20
FOREVER = 10**12


def on_loop(served: ServedModel) -> ServedModel:
    return ServedModel(
        name=served.name,
        version=served.version,
        schema=served.schema,
        runner=served.runner,
        plan=LOOP,
    )


class Running:
    """A server with models that are quick (on the loop and in the pool), wide, and slow."""

    def __init__(self, folder: Path, front: str, **bounds: Any) -> None:
        identity = makers.save_identity(folder / "m.onnx")
        wide = makers.save_wide(folder / "wide.onnx", MEGABYTE // 4)
        self.models = models_of(
            on_loop(served_model(identity, "loop")),
            served_model(identity, "pool"),
            on_loop(served_model(wide, "wide")),
            served_model(wide, "wide_pool"),
            served_model(makers.save_slow_loop(folder / "slow.onnx"), "slow"),
        )
        config = ServingConfig(front=FrontConfig(**bounds), max_running=2)
        self.server: Server = server_of(self.models, config=config, front=front)
        (endpoint,) = self.server.start()
        self.address = str(endpoint)
        assert isinstance(endpoint.address, Address)
        self.port = endpoint.address.port

    def in_flight(self) -> int:
        return sum(one.in_flight for one in self.models.list())

    def answered(self, name: str) -> int:
        return next(one.requests for one in self.models.list() if one.served.name == name)

    def held(self) -> int:
        return self.server.counts().held_bytes


@contextmanager
def running(folder: Path, front: str = "http2", **bounds: Any) -> Iterator[Running]:
    one = Running(folder, front, **bounds)
    try:
        yield one
    finally:
        one.server.drain()


@contextmanager
def stream(one: Running, requests: Iterable[bytes], **options: Any) -> Iterator[Any]:
    channel: Any = grpc.insecure_channel(one.address, [("grpc.use_local_subchannel_pool", 1)])
    call = channel.stream_stream(STREAM)(iter(requests), **{"timeout": 60, **options})
    try:
        yield call
    finally:
        call.cancel()
        channel.close()


def infer(name: str, id_: int | str = "", rows: int = 1, columns: int = 2) -> bytes:
    asked = ModelInferRequest(model_name=name, id=str(id_))
    encode_inputs(asked, {"x": np.ones((rows, columns), np.float32)})
    return asked.SerializeToString()


def slow(rounds: int, timeout_us: int = 0) -> bytes:
    asked = ModelInferRequest(model_name="slow", id="slow")
    encode_inputs(asked, {"n": np.array(rounds, np.int64)})
    if timeout_us:
        asked.parameters["timeout"].int64_param = timeout_us
    return asked.SerializeToString()


def answer_of(data: bytes) -> tuple[str, str]:
    """The request's id, and what went wrong."""
    answer = ModelStreamInferResponse.FromString(data)
    return answer.infer_response.id, answer.error_message


class Later:
    """Requests of a stream, the last of which come when they are let go."""

    def __init__(self, now: Iterable[bytes], then: Iterable[bytes] = ()) -> None:
        self.go_on = threading.Event()
        self._now, self._then = now, then

    def __iter__(self) -> Iterator[bytes]:
        yield from self._now
        self.go_on.wait(60)
        yield from self._then


# How it goes


@pytest.mark.parametrize("front", FRONTS)
def test_answers_of_many_models_come_in_order(front: str, tmp_path: Path) -> None:
    names = ("loop", "pool", "slow", "loop", "nobody", "wide", "pool", "wide_pool")
    asked = [
        slow(50) if (name := names[i % len(names)]) == "slow" else infer(name, i, columns=columns)
        for i in range(240)
        for columns in [1 if "wide" in names[i % len(names)] else 2]
    ]
    with running(tmp_path, front) as one, stream(one, asked) as call:
        for i, answer in enumerate(call):
            name = names[i % len(names)]
            id_, error = answer_of(answer)
            assert id_ == ("slow" if name == "slow" else str(i))
            assert bool(error) == (name == "nobody")
        assert i == 239
        assert call.code() is grpc.StatusCode.OK
        assert wait_until(lambda: one.in_flight() == 0, timeout_s=10)
        assert one.held() == 0


@pytest.mark.parametrize("name", ["wide", "wide_pool"])
@pytest.mark.parametrize("front", FRONTS)
def test_large_answers_wait_for_a_reader_who_comes_late(
    front: str, name: str, tmp_path: Path
) -> None:
    asked = [infer(name, i, columns=1) for i in range(60)]
    with running(tmp_path, front) as one, stream(one, asked) as call:
        assert wait_until(lambda: one.answered(name) >= 1, timeout_s=20)
        assert [answer_of(answer) for answer in call] == [(str(i), "") for i in range(60)]
        assert call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("name", ["wide", "wide_pool"])
def test_nothing_is_sent_while_the_peer_does_not_read(name: str, tmp_path: Path) -> None:
    """Forty requests of one packet have answers of a megabyte each, and none is lost."""
    with running(tmp_path) as one, RawPeer(one.port) as peer:
        asked = (message(infer(name, i, columns=1)) for i in range(40))
        packet = request(1, p_path=STREAM) + b"".join(frame(DATA, 0, 1, m) for m in asked)
        peer.send(packet + frame(DATA, END_STREAM, 1))
        assert wait_until(lambda: one.answered(name) == 40, timeout_s=20)
        assert wait_until(lambda: 39 * MEGABYTE < one.held() < 42 * MEGABYTE, timeout_s=10)
        for stream_id in (0, 1):
            peer.send(frame(WINDOW, 0, stream_id, struct.pack(">I", 2**30)))
        body = b"".join(f.payload for f in peer.end_of(1) if f.kind == DATA)
        assert [answer_of(m) for m in messages_of(body)] == [(str(i), "") for i in range(40)]
        assert wait_until(lambda: one.held() == 0, timeout_s=10)


def test_metadata_that_nobody_asks_for_is_not_read(tmp_path: Path) -> None:
    """Here it could not be: the value of a binary key is not base64."""
    with running(tmp_path) as one, RawPeer(one.port) as peer:
        data = message(infer("loop", "a"))
        peer.send(request(1, p_path=STREAM, some_bin="!") + frame(DATA, END_STREAM, 1, data))
        body = b"".join(f.payload for f in peer.end_of(1) if f.kind == DATA)
        assert [answer_of(m) for m in messages_of(body)] == [("a", "")]


def messages_of(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        end = at + 5 + int.from_bytes(body[at + 1 : at + 5], "big")
        yield body[at + 5 : end]
        at = end


# What it holds


def test_requests_that_were_taken_count_until_they_are_answered(tmp_path: Path) -> None:
    big = infer("pool", columns=2, rows=12_500)
    asked = Later([slow(FOREVER), slow(FOREVER), *[big] * 30])
    with running(tmp_path) as one, stream(one, asked) as call:
        assert wait_until(lambda: one.in_flight() == 32, timeout_s=10)
        assert one.held() >= 30 * len(big)
        call.cancel()
        assert wait_until(lambda: one.in_flight() == 0 and one.held() == 0, timeout_s=10)
        asked.go_on.set()


@pytest.mark.parametrize("bound", ["max_connection_bytes", "max_held_bytes"])
def test_a_stream_that_makes_a_server_hold_too_much_is_ended(bound: str, tmp_path: Path) -> None:
    big = infer("pool", columns=2, rows=12_500)
    at_most = 20 * len(big)
    asked = Later([slow(FOREVER), slow(FOREVER), *[big] * 40])
    with running(tmp_path, "http2", **{bound: at_most}) as one, stream(one, asked) as call:
        code, details = failure_of(lambda: list(call))
        assert (code, "would hold" in details) == ("RESOURCE_EXHAUSTED", True)
        assert one.server.counts().refused_calls == 1
        assert wait_until(lambda: one.in_flight() == 0 and one.held() == 0, timeout_s=10)
        with stream(one, [infer("pool", 1)]) as other:
            assert answer_of(next(other)) == ("1", "")
        asked.go_on.set()


def test_answers_that_wait_for_others_count(tmp_path: Path) -> None:
    asked = Later([slow(FOREVER), *[infer("wide", i, columns=1) for i in range(20)]])
    with (
        running(tmp_path, max_connection_bytes=10 * MEGABYTE) as one,
        stream(one, asked) as call,
    ):
        assert failure_of(lambda: list(call))[0] == "RESOURCE_EXHAUSTED"
        assert wait_until(lambda: one.in_flight() == 0 and one.held() == 0, timeout_s=10)
        asked.go_on.set()


def test_no_more_is_taken_while_much_is_held(tmp_path: Path) -> None:
    """And then everything goes on."""
    asked = [slow(FOREVER, 10**6), *[infer("loop", i, rows=MEGABYTE // 8) for i in range(40)]]
    with running(tmp_path) as one, stream(one, asked) as call:
        assert wait_until(lambda: one.held() >= MAX_OPEN_BYTES, timeout_s=20)
        assert one.held() < MAX_OPEN_BYTES + 4 * MEGABYTE
        assert one.in_flight() <= MAX_OPEN
        _, error = answer_of(next(call))
        assert "deadline" in error
        assert [answer_of(answer) for answer in call] == [(str(i), "") for i in range(40)]


# How it ends


@pytest.mark.parametrize("front", FRONTS)
def test_a_stream_cancelled_in_its_midst_ends_every_run(front: str, tmp_path: Path) -> None:
    asked = Later([infer("loop", 0), *[slow(FOREVER)] * 5, *[infer("pool", i) for i in range(9)]])
    with running(tmp_path, front) as one, stream(one, asked) as call:
        assert answer_of(next(call)) == ("0", "")
        assert wait_until(lambda: one.in_flight() >= 5, timeout_s=10)
        call.cancel()
        assert wait_until(lambda: one.in_flight() == 0, timeout_s=10)
        assert one.held() == 0
        asked.go_on.set()


@pytest.mark.parametrize("front", FRONTS)
def test_a_deadline_in_the_midst_of_a_stream_ends_every_run(front: str, tmp_path: Path) -> None:
    asked = Later([infer("loop", 0), *[slow(FOREVER)] * 5])
    with running(tmp_path, front) as one, stream(one, asked, timeout=1.0) as call:
        assert answer_of(next(call)) == ("0", "")
        assert failure_of(lambda: list(call))[0] == "DEADLINE_EXCEEDED"
        assert wait_until(lambda: one.in_flight() == 0, timeout_s=10)
        asked.go_on.set()


@pytest.mark.parametrize("front", FRONTS)
def test_requests_sent_before_a_peer_closes_its_side_are_answered(
    front: str, tmp_path: Path
) -> None:
    asked = [slow(2000), *[infer(("loop", "pool")[i % 2], i) for i in range(20)]]
    with running(tmp_path, front) as one, stream(one, asked) as call:
        ids = [answer_of(answer)[0] for answer in call]
        assert ids == ["slow", *map(str, range(20))]
        assert call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("front", FRONTS)
def test_a_drain_in_the_midst_of_a_stream_loses_no_answer(front: str, tmp_path: Path) -> None:
    asked = Later(
        [infer("loop", 0), slow(20_000), *[infer("pool", i) for i in range(1, 50)]],
        [infer(("loop", "pool")[i % 2], i) for i in range(50, 100)],
    )
    with running(tmp_path, front) as one, stream(one, asked) as call:
        assert answer_of(next(call)) == ("0", "")
        draining = threading.Thread(target=one.server.drain)
        draining.start()
        assert wait_until(lambda: is_refused(one), timeout_s=10)
        asked.go_on.set()
        ids = [answer_of(answer)[0] for answer in call]
        assert ids == ["slow", *map(str, range(1, 100))]
        assert call.code() is grpc.StatusCode.OK
        draining.join(20)
        assert not draining.is_alive()


def is_refused(one: Running) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", one.port), timeout=10):
            return False
    except OSError:
        return True
