"""`grpc.health.v1` as health probes use it."""

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from fogline.wire.health_pb2 import HealthCheckRequest, HealthCheckResponse
from fogline_edge.serving import Models, ServingConfig
from tests.serving import RawChannel, raw_channel, running, server_of

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
Status = HealthCheckResponse.ServingStatus


def watch(channel: RawChannel, service: str = "") -> Iterator[bytes]:
    data = HealthCheckRequest(service=service).SerializeToString()
    stream: Any = channel.channel.unary_stream(WATCH)(data, timeout=20)
    return stream  # type: ignore[no-any-return]


def next_state(stream: Iterator[bytes]) -> str:
    return Status.Name(HealthCheckResponse.FromString(next(stream)).status)


@pytest.mark.parametrize(
    "service",
    [
        "",
        "inference.GRPCInferenceService",
        "fogline.v1.Edge",
        "grpc.reflection.v1.ServerReflection",
    ],
)
def test_a_service_is_serving(service: str) -> None:
    with running(Models()) as address, raw_channel(address) as channel:
        answer = channel.call(CHECK, HealthCheckRequest(service=service))
        assert answer.status == HealthCheckResponse.SERVING
        assert next_state(watch(channel, service)) == "SERVING"


def test_an_unknown_service_is_not_found_and_watched_as_unknown() -> None:
    with running(Models()) as address, raw_channel(address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.call(CHECK, HealthCheckRequest(service="nobody"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert next_state(watch(channel, "nobody")) == "SERVICE_UNKNOWN"


def test_a_watch_is_told_that_the_server_stops() -> None:
    server = server_of(Models())
    (address,) = server.start()
    with raw_channel(str(address)) as channel:
        stream = watch(channel)
        assert next_state(stream) == "SERVING"
        stopping = threading.Thread(target=server.drain)
        stopping.start()
        assert next_state(stream) == "NOT_SERVING"
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        stopping.join()


def test_watches_are_bounded_and_a_cancelled_one_frees_its_place() -> None:
    config = ServingConfig(max_watches=1)
    with running(Models(), config=config) as address, raw_channel(address) as channel:
        first: Any = watch(channel)
        assert next_state(first) == "SERVING"
        with pytest.raises(grpc.RpcError) as caught:
            next(watch(channel))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()
        while True:  # until the server has seen it
            try:
                assert next_state(watch(channel)) == "SERVING"
            except grpc.RpcError:
                continue
            break
