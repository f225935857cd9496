"""Deadlines, cancellation and bounds, with real calls that would never end by themselves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from fogline.clock import wait_until
from fogline.tensors import encode_inputs
from fogline.wire.open_inference_pb2 import ModelInferRequest
from fogline_edge.serving import Models, ServingConfig
from fogline_edge.serving.front import FrontConfig
from tests import models as makers
from tests.serving import (
    INFER,
    RawChannel,
    models_of,
    raw_channel,
    running,
    served_model,
    server_of,
)

LIVE = "/inference.GRPCInferenceService/ServerLive"
FOREVER = 10**12
FRONTS = ("http2", "grpcio")


def loop_request(rounds: int, timeout_us: int = 0) -> ModelInferRequest:
    request = ModelInferRequest(model_name="loop")
    encode_inputs(request, {"n": np.array(rounds, np.int64)})
    if timeout_us:
        request.parameters["timeout"].int64_param = timeout_us
    return request


@contextmanager
def loop_server(
    tmp_path: Path, config: ServingConfig, front: str = "http2"
) -> Iterator[tuple[Models, RawChannel]]:
    models = models_of(served_model(makers.save_slow_loop(tmp_path / "m.onnx"), "loop"))
    with running(models, config=config, front=front) as address, raw_channel(address) as channel:
        yield models, channel


def status_of(send: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        send()
    return caught.value.code().name, caught.value.details()


def in_flight(models: Models, count: int) -> bool:
    return wait_until(lambda: models.list()[0].in_flight == count, timeout_s=10)


def start(channel: RawChannel, rounds: int = FOREVER) -> grpc.Future:
    return channel.channel.unary_unary(INFER).future(loop_request(rounds).SerializeToString())


@pytest.mark.parametrize("front", FRONTS)
def test_a_clients_deadline_ends_the_run(front: str, tmp_path: Path) -> None:
    with loop_server(tmp_path, ServingConfig(max_running=1), front) as (models, channel):
        data = loop_request(FOREVER).SerializeToString()
        code, _ = status_of(lambda: channel.send(INFER, data, timeout=0.2))
        assert code == "DEADLINE_EXCEEDED"
        assert in_flight(models, 0)
        assert models.list()[0].failures == 1
        assert channel.call(INFER, loop_request(1)).model_name == "loop"


@pytest.mark.parametrize(
    ("config", "timeout_us"),
    [(ServingConfig(), 100_000), (ServingConfig(run_timeout_s=0.1), 0)],
)
def test_the_requests_and_the_servers_own_time_limits_end_the_run(
    tmp_path: Path, config: ServingConfig, timeout_us: int
) -> None:
    with loop_server(tmp_path, config) as (_, channel):
        assert status_of(lambda: channel.call(INFER, loop_request(FOREVER, timeout_us))) == (
            "DEADLINE_EXCEEDED",
            "model loop@1: the run did not end before its deadline",
        )


@pytest.mark.parametrize("front", FRONTS)
def test_a_clients_deadline_reaches_the_queue(front: str, tmp_path: Path) -> None:
    """A request that waits for a run leaves when its caller stops waiting, and is never run."""
    with loop_server(tmp_path, ServingConfig(max_running=1), front) as (models, channel):
        first = start(channel)
        assert in_flight(models, 1)
        data = loop_request(FOREVER).SerializeToString()
        assert status_of(lambda: channel.send(INFER, data, timeout=0.3))[0] == "DEADLINE_EXCEEDED"
        assert in_flight(models, 1)
        first.cancel()
        assert in_flight(models, 0)
        assert channel.call(INFER, loop_request(1)).model_name == "loop"


@pytest.mark.parametrize("front", FRONTS)
def test_a_cancelled_call_stops_its_run(front: str, tmp_path: Path) -> None:
    with loop_server(tmp_path, ServingConfig(), front) as (models, channel):
        call = start(channel)
        assert in_flight(models, 1)
        call.cancel()
        assert in_flight(models, 0)


def test_what_waits_is_bounded_and_leaves_when_cancelled(tmp_path: Path) -> None:
    config = ServingConfig(max_running=1, max_queued=1)
    with loop_server(tmp_path, config) as (models, channel):
        first, second = start(channel), start(channel)
        assert in_flight(models, 2)
        assert status_of(lambda: channel.call(INFER, loop_request(1))) == (
            "RESOURCE_EXHAUSTED",
            "model loop@1: 1 requests wait already; try again later",
        )
        second.cancel()
        assert in_flight(models, 1)
        third = start(channel, 1)
        assert in_flight(models, 2)
        first.cancel()
        assert third.result(timeout=10)


def test_an_urgent_request_takes_the_place_of_one_that_is_not(tmp_path: Path) -> None:
    def ask(priority: int) -> grpc.Future:
        request = loop_request(1)
        request.parameters["priority"].int64_param = priority
        return channel.channel.unary_unary(INFER).future(request.SerializeToString())

    config = ServingConfig(max_running=1, max_queued=1)
    with loop_server(tmp_path, config) as (models, channel):
        running = start(channel)
        assert in_flight(models, 1)
        usual = ask(3)
        assert in_flight(models, 2)
        urgent = ask(1)
        code, details = status_of(lambda: usual.result(timeout=10))
        assert code == "RESOURCE_EXHAUSTED"
        assert details == (
            "model loop@1: as many requests wait as may, and this one made room for one of a "
            "higher priority"
        )
        running.cancel()
        assert urgent.result(timeout=10)


def test_a_wait_ends_at_the_deadline(tmp_path: Path) -> None:
    with loop_server(tmp_path, ServingConfig(max_running=1)) as (models, channel):
        first = start(channel)
        assert in_flight(models, 1)
        assert status_of(lambda: channel.call(INFER, loop_request(1, 100_000))) == (
            "DEADLINE_EXCEEDED",
            "model loop@1: no run was free before the deadline",
        )
        first.cancel()


def test_open_calls_are_bounded(tmp_path: Path) -> None:
    with loop_server(tmp_path, ServingConfig(front=FrontConfig(max_calls=2))) as (models, channel):
        calls = [start(channel), start(channel)]
        assert in_flight(models, 2)
        code, _ = status_of(lambda: channel.send(LIVE, b""))
        assert code == "RESOURCE_EXHAUSTED"
        for call in calls:
            call.cancel()
        assert wait_until(lambda: is_live(channel), timeout_s=10)


def is_live(channel: RawChannel) -> bool:
    try:
        channel.send(LIVE, b"")
    except grpc.RpcError:
        return False
    return True


def test_a_drain_cancels_what_does_not_end_in_time(tmp_path: Path) -> None:
    models = models_of(served_model(makers.save_slow_loop(tmp_path / "m.onnx"), "loop"))
    server = server_of(models, config=ServingConfig(drain_s=0.1))
    (endpoint,) = server.start()
    with raw_channel(str(endpoint)) as channel:
        call = start(channel)
        assert in_flight(models, 1)
        server.drain()
        assert models.list()[0].in_flight == 0
        with pytest.raises(grpc.RpcError) as caught:
            call.result(timeout=10)
        assert caught.value.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


def test_messages_are_bounded_both_ways(tmp_path: Path) -> None:
    models = models_of(served_model(makers.save_two_inputs(tmp_path / "m.onnx"), "two"))
    config = ServingConfig(front=FrontConfig(max_message_bytes=20_000))
    with running(models, config=config) as address, raw_channel(address) as channel:

        def ask(rows: int) -> object:
            request = ModelInferRequest(model_name="two")
            arrays = {"x": np.ones((rows, 3), np.float32), "scale": np.ones((rows, 1), np.float32)}
            encode_inputs(request, arrays)
            return channel.call(INFER, request)

        assert ask(100)
        code, details = status_of(lambda: ask(1000))
        assert code == "RESOURCE_EXHAUSTED"
        assert "the answer has 24000 bytes, at most 20000" in details
        code, _ = status_of(lambda: ask(2000))
        assert code == "RESOURCE_EXHAUSTED"
