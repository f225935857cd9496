"""grpc-go as a client of a real `fogline serve`, on both fronts: a third implementation of gRPC.

Message texts and answers are judged by other tests; here it is what the wire makes of them.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fogline.bundle import BundleDraft, VariantDraft, write_bundle
from fogline.schema import Field, Schema
from fogline.tensors import decode_outputs, encode_inputs
from fogline.wire.health_pb2 import HealthCheckRequest, HealthCheckResponse
from fogline.wire.open_inference_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from tests import models
from tests.certificates import Authority
from tests.clients.golang import GoClient, go_client, outcome
from tests.serving import INFER, serve_process

__all__ = ["go_client"]

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
MAX_ROUNDS = 100_000_000
WATCH = "/grpc.health.v1.Health/Watch"


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Of a server whose model `loop` takes some ten microseconds a round."""
    folder = tmp_path_factory.mktemp("go")
    with serve_process(bundle_in(folder), "--front", request.param) as (_, found):
        yield found


def bundle_in(folder: Path) -> Path:
    write_bundle(folder / "bundle", loop_bundle(models.save_slow_loop(folder / "loop.onnx")))
    return folder / "bundle"


def loop_bundle(model: Path) -> BundleDraft:
    """The rounds are an input's value, so the schema has to bound it."""
    count = Field(name="n", datatype="INT64", shape=(), minimum=0, maximum=MAX_ROUNDS)
    return BundleDraft(
        name="loop",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        schema=Schema(inputs=(count,), outputs=(Field(name="y", datatype="FP32", shape=(64, 64)),)),
        variants=(VariantDraft(name="fp32", precision="fp32", model=model),),
    )


def rounds(count: int, name: str = "loop", sent_id: str = "") -> bytes:
    request = ModelInferRequest(model_name=name, id=sent_id)
    encode_inputs(request, {"n": np.array(count, np.int64)})
    return request.SerializeToString()


def test_an_inference_is_answered(go_client: GoClient, address: str) -> None:
    found = go_client.call(address, INFER, [rounds(1, sent_id="a")])
    assert (found.code, found.message) == ("OK", "")
    answer = ModelInferResponse.FromString(found.responses[0])
    assert answer.id == "a"
    assert decode_outputs(answer)["y"].shape == (64, 64)
    assert found.header["content-type"] == ["application/grpc"]


def test_a_compressed_request_is_read(go_client: GoClient, address: str) -> None:
    found = go_client.call(address, INFER, [rounds(1)], gzip=True)
    assert found.code == "OK"
    assert decode_outputs(ModelInferResponse.FromString(found.responses[0]))["y"].shape == (64, 64)


def test_an_error_comes_with_its_status_and_text(go_client: GoClient, address: str) -> None:
    found = go_client.call(address, INFER, [rounds(1, name="größer")])
    assert found.code == "NotFound"
    assert "größer" in found.message


def test_a_method_that_is_not_served_is_unimplemented(go_client: GoClient, address: str) -> None:
    found = go_client.call(address, "/inference.GRPCInferenceService/Nothing", [b""])
    assert found.code == "Unimplemented"


def test_a_deadline_ends_the_call_and_its_run(go_client: GoClient, address: str) -> None:
    found = go_client.call(address, INFER, [rounds(MAX_ROUNDS)], timeout="200ms")
    assert found.code == "DeadlineExceeded"
    # Each run of the model takes a core: two that went on would hold this one up beyond its time.
    for _ in range(2):
        go_client.call(address, INFER, [rounds(MAX_ROUNDS)], timeout="200ms")
    assert go_client.call(address, INFER, [rounds(1)], timeout="10s").code == "OK"


def test_metadata_of_any_bytes_is_taken(go_client: GoClient, address: str) -> None:
    pairs = "x-request=7,x-trace-bin=\x01\xff,x-request=8"
    assert go_client.call(address, INFER, [rounds(1)], metadata=pairs).code == "OK"


def test_many_calls_on_one_connection_are_all_answered(go_client: GoClient, address: str) -> None:
    messages = [rounds(n, sent_id=str(n)) for n in (1, 5, 50)]
    found = go_client.run(address, INFER, messages, mode="many", calls=400, workers=16)
    assert found == {"OK": 400}


def test_a_stream_answers_every_request_and_ends(go_client: GoClient, address: str) -> None:
    messages = [rounds(1, sent_id=str(i)) for i in range(20)]
    found = go_client.call(address, STREAM, messages, mode="stream")
    assert found.code == "OK"
    answers = [ModelStreamInferResponse.FromString(r) for r in found.responses]
    assert [a.infer_response.id for a in answers] == [str(i) for i in range(20)]
    assert not any(a.error_message for a in answers)


def test_a_stream_that_its_client_cancels_ends(go_client: GoClient, address: str) -> None:
    messages = [rounds(1)] * 5
    found = go_client.call(address, STREAM, messages, mode="stream", stop_after=1)
    assert found.code == "Canceled"
    assert go_client.call(address, INFER, [rounds(1)]).code == "OK"


def test_a_watch_tells_the_state_and_waits(go_client: GoClient, address: str) -> None:
    message = HealthCheckRequest().SerializeToString()
    found = go_client.call(address, WATCH, [message], mode="stream", timeout="500ms")
    assert found.code == "DeadlineExceeded"
    states = [HealthCheckResponse.FromString(r).status for r in found.responses]
    assert states == [HealthCheckResponse.SERVING]


@pytest.mark.parametrize("front", ["http2", "grpcio"])
def test_tls_and_a_unix_socket_serve_as_an_open_port_does(
    go_client: GoClient, tmp_path: Path, front: str
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.sign("server")
    socket = tmp_path / "s.sock"
    words = ("--front", front, "--tls-cert", certificate, "--tls-key", key, "--unix", socket)
    with serve_process(bundle_in(tmp_path), *words) as (_, endpoints):
        secure = next(e for e in endpoints.split(",") if not e.startswith("unix:"))
        found = go_client.call(secure, INFER, [rounds(1)], authority=authority.path)
        assert (found.code, found.message) == ("OK", "")
        found = go_client.call(f"unix:{socket}", INFER, [rounds(1)])
        assert (found.code, found.message) == ("OK", "")


@pytest.mark.slow
def test_keepalive_pings_of_a_silent_stream_are_answered(go_client: GoClient, address: str) -> None:
    """grpc-go pings after ten seconds at the earliest, and gives up five seconds later."""
    message = HealthCheckRequest().SerializeToString()
    found = go_client.run(address, WATCH, [message], mode="idle", idle="18s")
    assert found["ready"]
    assert outcome(found["held"]).code == "DeadlineExceeded"
