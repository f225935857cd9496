"""Clients that others wrote, each against a real `fogline serve`, on both fronts.

Triton's client, sync and aio; KServe's SDK; and our messages in one process with theirs. Triton's
streams, statistics and every datatype: `test_serving_streams`, `test_serving_protocol`.
"""

import asyncio
import queue
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests import models
from tests.serving import serve_process

OURS = "from fogline.wire import edge_pb2, fleet_pb2, health_pb2, open_inference_pb2"
TRITON = "import tritonclient.grpc"
KSERVE = "import kserve"

KSERVE_CLIENT = """
import asyncio, sys
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

async def main(address):
    client = InferenceGRPCClient(url=address, use_ssl=False)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("iris")
    assert not await client.is_model_ready("rose")
    for raw in (True, False):
        x = InferInput(name="x", shape=[2, 4], datatype="FP32")
        x.set_data_from_numpy(np.ones((2, 4), np.float32), binary_data=raw)
        answer = await client.infer(InferRequest(model_name="iris", infer_inputs=[x]))
        outputs = {o.name: o.as_numpy() for o in answer.outputs}
        assert outputs["label"].shape == (2,), outputs
        assert outputs["probabilities"].shape == (2, 3), outputs
    try:
        await client.infer(InferRequest(model_name="rose", infer_inputs=[x]))
    except Exception as e:
        assert "rose" in str(e), e
    else:
        raise AssertionError("a model that is not there was answered")
    await client.close()
    print("done")

asyncio.run(main(sys.argv[1]))
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("other", [TRITON, KSERVE])
def test_our_messages_live_in_one_process_with_another_clients(other: str) -> None:
    use = "open_inference_pb2.ModelInferRequest(model_name='m').SerializeToString()"
    run("\n".join([OURS, other, use]))
    run("\n".join([other, OURS, use]))


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_classifier(tmp_path_factory.mktemp("models") / "iris.onnx")


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def address(request: pytest.FixtureRequest, iris: Path) -> Iterator[str]:
    with serve_process(iris, "--name", "iris", "--front", request.param) as (_, found):
        yield found


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as made:
        yield made


def flowers(rows: int = 3) -> list[triton.InferInput]:
    x = triton.InferInput("x", [rows, 4], "FP32")
    x.set_data_from_numpy(np.arange(rows * 4, dtype=np.float32).reshape(rows, 4) / 3)
    return [x]


def expected(iris: Path, rows: int = 3) -> np.ndarray:
    x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4) / 3
    answer: np.ndarray = ort.InferenceSession(str(iris)).run(["probabilities"], {"x": x})[0]
    return answer


def test_kserves_sdk_is_answered(address: str) -> None:
    assert run(KSERVE_CLIENT, address) == "done\n"


def test_tritons_client_gets_onnxruntimes_answer(
    client: triton.InferenceServerClient, iris: Path
) -> None:
    answer = client.infer("iris", flowers(), request_id="a")
    assert answer.get_response().id == "a"
    np.testing.assert_allclose(answer.as_numpy("probabilities"), expected(iris), rtol=1e-6)


def test_a_gzipped_request_is_answered(client: triton.InferenceServerClient, iris: Path) -> None:
    answer = client.infer("iris", flowers(), compression_algorithm="gzip")
    np.testing.assert_allclose(answer.as_numpy("probabilities"), expected(iris), rtol=1e-6)


def test_headers_of_a_client_are_taken(client: triton.InferenceServerClient) -> None:
    headers = {"x-request-id": "7", "authorization": "Bearer nobody-asked"}
    assert client.infer("iris", flowers(), headers=headers).as_numpy("label").shape == (3,)


def test_a_deadline_that_has_passed_is_told_as_such(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("iris", flowers(), timeout=1)  # microseconds
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_a_wrong_input_is_named_to_the_client(client: triton.InferenceServerClient) -> None:
    x = triton.InferInput("x", [3, 5], "FP32")
    x.set_data_from_numpy(np.zeros((3, 5), np.float32))
    with pytest.raises(InferenceServerException, match=r"iris.*'x'") as caught:
        client.infer("iris", [x])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_tritons_client_has_many_requests_open_at_once(
    client: triton.InferenceServerClient,
) -> None:
    told: queue.Queue[tuple[Any, Any]] = queue.Queue()
    for n in range(100):
        client.async_infer(
            "iris",
            flowers(1 + n % 5),
            lambda result, error: told.put((result, error)),
            request_id=str(n),
        )
    rows = {}
    for _ in range(100):
        result, error = told.get(timeout=20)
        assert error is None
        rows[int(result.get_response().id)] = len(result.as_numpy("label"))
    assert rows == {n: 1 + n % 5 for n in range(100)}


def test_tritons_aio_client_is_answered_at_once_and_in_streams(address: str, iris: Path) -> None:
    async def requests() -> AsyncIterator[dict[str, object]]:
        for n in range(20):
            yield {"model_name": "iris", "inputs": flowers(), "request_id": str(n)}

    async def use() -> tuple[list[np.ndarray], list[str]]:
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_model_ready("iris")
            answers = await asyncio.gather(*(client.infer("iris", flowers()) for _ in range(50)))
            told = []
            async for result, error in client.stream_infer(requests()):
                assert error is None
                told.append(result.get_response().id)
            return [a.as_numpy("probabilities") for a in answers], told

    answers, told = asyncio.run(use())
    for answer in answers:
        np.testing.assert_allclose(answer, expected(iris), rtol=1e-6)
    assert told == [str(n) for n in range(20)]


def test_a_client_reads_statistics_and_metadata(client: triton.InferenceServerClient) -> None:
    before = counted(client)
    client.infer("iris", flowers(4))
    assert counted(client) == (before[0] + 1, before[1] + 4)
    config = client.get_model_config("iris", as_json=True)["config"]
    assert config["name"] == "iris"
    assert [t["name"] for t in config["input"]] == ["x"]


def counted(client: triton.InferenceServerClient) -> tuple[int, int]:
    """Requests that were answered well, and their rows."""
    told = client.get_inference_statistics("iris").model_stats[0]
    return told.inference_stats.success.count, told.inference_count
