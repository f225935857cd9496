"""Messages that weigh more than they look, by every way in: what each costs a server.

`fogline serve` runs in a process of its own. Each bomb is refused (as a call, or in its answer
where requests stream) at a bounded cost in memory and time, and the next request is answered.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from fogline.tensors import encode_inputs
from fogline.wire.edge_pb2 import FeedbackRequest
from fogline.wire.open_inference_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from fogline_edge.serving.codec.fields import delimited, tag, varint
from tests.models import save_identity
from tests.serving import INFER, raw_channel, serve_process

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
FEEDBACK = "/fogline.v1.Edge/Feedback"
SIZE = 8_000_000
"""Bytes of one bomb, at most."""
MEMORY_MB = 200
"""How much the server may take at its worst: some copies of the bomb, and numbers of one byte each
that become eight. Without bounds most would take several times as much."""
CPU_S = 1.5
START, END = 3, 4
"""Wire types of groups."""


def group(number: int, kind: int) -> bytes:
    return varint(number << 3 | kind)


def with_input(*fields: bytes) -> bytes:
    head = [delimited(1, b"x"), delimited(2, b"FP32")]
    return delimited(5, b"".join([*head, *fields]))


NAMED = delimited(1, b"m")
SHAPE = delimited(3, varint(1) + varint(2))

BOMBS: dict[str, bytes] = {
    "empty tensors": NAMED + (tag(5) + b"\0") * (SIZE // 2),
    "empty outputs": NAMED + (tag(6) + b"\0") * (SIZE // 2),
    "empty raw contents": NAMED + (tag(7) + b"\0") * (SIZE // 2),
    "parameters": NAMED + delimited(4, delimited(1, b"k")) * (SIZE // 5),
    "parameters of a tensor": NAMED + with_input(delimited(4, b"") * (SIZE // 2)),
    "dimensions, packed": NAMED + with_input(delimited(3, b"\1" * SIZE)),
    "dimensions, one by one": NAMED + with_input((varint(3 << 3) + b"\1") * (SIZE // 2)),
    "a huge shape": NAMED + with_input(delimited(3, varint(2**62) * 8)),
    "a shape that overflows": NAMED + with_input(delimited(3, varint(2**32) + varint(2**32))),
    "a negative shape": NAMED + with_input(delimited(3, varint(2**64 - 1) + varint(2))),
    "typed contents of another type": NAMED
    + with_input(SHAPE, delimited(5, delimited(3, b"\1" * SIZE))),
    "typed contents, too many": NAMED + with_input(SHAPE, delimited(5, delimited(6, bytes(SIZE)))),
    "texts": NAMED + with_input(SHAPE, delimited(5, delimited(8, b"") * (SIZE // 2))),
    "empty contents": NAMED + with_input(SHAPE, delimited(5, b"") * (SIZE // 2)),
    "unknown fields": NAMED + (varint(1000 << 3) + b"\1") * (SIZE // 3),
    "groups in groups": NAMED + group(99, START) * 4000 + group(99, END) * 4000,
    "groups without end": NAMED + group(99, START) * (SIZE // 2),
    "names again and again": NAMED * (SIZE // 3),
    "a name without end": delimited(1, b"m" * SIZE),
    "an id without end": NAMED + delimited(3, b"i" * SIZE),
}


class Server:
    """A server's process, and what it has taken."""

    def __init__(self, front: str, pid: int, address: str, channel: Any) -> None:
        self.front = front
        self._proc = Path(f"/proc/{pid}")
        self.address = address
        self.channel = channel

    def cpu_s(self) -> float:
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def resident_mb(self, field: str = "VmRSS") -> float:
        status = (self._proc / "status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) / 1024

    def forget_peak(self) -> None:
        (self._proc / "clear_refs").write_text("5")

    def is_served(self) -> bool:
        asked = ModelInferRequest(model_name="m")
        encode_inputs(asked, {"x": np.ones((1, 2), np.float32)})
        answer = self.channel.call(INFER, asked)
        return bool(ModelInferResponse.FromString(answer.SerializeToString()).outputs)


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    model = save_identity(tmp_path_factory.mktemp("m") / "m.onnx")
    arguments = (model, "--name", "m", "--front", request.param)
    with serve_process(*arguments) as (process, address), raw_channel(address) as channel:
        one = Server(request.param, process.pid, address, channel)
        assert one.is_served()
        yield one


class Cost:
    """What the server spends in a block, at its worst."""

    def __init__(self, server: Server, memory_mb: float = MEMORY_MB) -> None:
        self._server, self._memory_mb = server, memory_mb

    def __enter__(self) -> None:
        self._server.forget_peak()
        self._cpu_s, self._mb = self._server.cpu_s(), self._server.resident_mb()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            assert self._server.is_served()
            assert self._server.resident_mb("VmHWM") - self._mb < self._memory_mb
            assert self._server.cpu_s() - self._cpu_s < CPU_S


REFUSALS = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_heavy_inference_is_refused(server: Server, name: str) -> None:
    with Cost(server), pytest.raises(grpc.RpcError) as caught:
        server.channel.send(INFER, BOMBS[name], timeout=20)
    assert caught.value.code().name in REFUSALS, caught.value


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_heavy_request_of_a_stream_is_refused_in_its_answer(server: Server, name: str) -> None:
    send = server.channel.channel.stream_stream(STREAM)
    with Cost(server):
        (data,) = send(iter([BOMBS[name]]), timeout=20)
    assert ModelStreamInferResponse.FromString(data).error_message


OUTCOMES: dict[str, bytes] = {
    "empty outcomes": delimited(1, b"p") + (tag(2) + b"\0") * (SIZE // 2),
    "long text": delimited(1, b"p" * SIZE),
    "long text of an outcome": delimited(2, delimited(4, b"t" * SIZE)),
    "unknown fields": (varint(1000 << 3) + b"\1") * (SIZE // 3),
    "groups without end": group(99, START) * (SIZE // 2),
}


@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_heavy_feedback_is_refused_by_its_size_alone(server: Server, name: str) -> None:
    with Cost(server, memory_mb=60), pytest.raises(grpc.RpcError) as caught:
        server.channel.send(FEEDBACK, OUTCOMES[name], timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "at most 262144" in caught.value.details()


SMALL = sorted(
    f"/{service}/{method}"
    for service, methods in {
        "inference.GRPCInferenceService": "ServerLive ModelReady ModelMetadata ModelConfig "
        "ModelStatistics RepositoryIndex RepositoryModelLoad SystemSharedMemoryRegister "
        "TraceSetting LogSettings",
        "grpc.health.v1.Health": "Check Watch",
        "fogline.v1.Edge": "Status Feedback",
        "grpc.reflection.v1.ServerReflection": "ServerReflectionInfo",
    }.items()
    for method in methods.split()
)


@pytest.mark.parametrize("path", SMALL)
def test_what_need_not_be_long_must_not_be(server: Server, path: str) -> None:
    send = server.channel.channel.stream_stream(path)
    with pytest.raises(grpc.RpcError) as caught:
        list(send(iter([b"\xfa\x3e" + varint(300_000) + bytes(300_000)]), timeout=20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.is_served()


@pytest.mark.parametrize("path", [INFER, STREAM, FEEDBACK])
def test_a_compressed_bomb_is_refused_by_what_it_becomes(server: Server, path: str) -> None:
    """Some 60 KB on the wire for 60 MB."""
    data = NAMED + delimited(5, bytes(60_000_000))
    options = [("grpc.use_local_subchannel_pool", 1)]
    gzip = grpc.Compression.Gzip
    with (
        grpc.insecure_channel(server.address, options, compression=gzip) as channel,
        # grpcio has no bound of its own on what a message becomes, but the one on messages.
        Cost(server, memory_mb=40 if server.front == "http2" else 300),
    ):
        try:
            (answer,) = channel.stream_stream(path)(iter([data]), timeout=20)
            error = ModelStreamInferResponse.FromString(answer).error_message
        except grpc.RpcError as e:
            error = e.code().name
    assert error in REFUSALS or (server.front == "grpcio" and "fields" in error)


def test_outcomes_as_many_as_fit_cost_little(server: Server) -> None:
    """A message within the bound is parsed, whoever keeps outcomes here or does not."""
    message = FeedbackRequest(prediction_id="p")
    data = message.SerializeToString() + (tag(2) + b"\0") * 130_000
    with Cost(server, memory_mb=40):
        for _ in range(10):
            with pytest.raises(grpc.RpcError) as caught:
                server.channel.send(FEEDBACK, data, timeout=20)
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
