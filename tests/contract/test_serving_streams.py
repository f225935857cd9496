"""`ModelStreamInfer` and statistics, as a Triton client sees them, on both fronts."""

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests import models
from tests.serving import models_of, running, served_model

FRONTS = ("http2", "grpcio")


@pytest.fixture(scope="module", params=FRONTS)
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[triton.InferenceServerClient]:
    folder = tmp_path_factory.mktemp("m")
    served = models_of(
        served_model(models.save_identity(folder / "m.onnx"), "m"),
        served_model(models.save_gather(folder / "gather.onnx"), "gather"),
    )
    with running(served, front=request.param) as address:
        client = triton.InferenceServerClient(address)
        yield client
        client.close()


class Answers:
    """What a stream's callback gets, in order."""

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[Any, Any]] = queue.Queue()

    def __call__(self, result: Any, error: Any) -> None:
        self.queue.put((result, error))

    def next(self) -> tuple[Any, Any]:
        return self.queue.get(timeout=20)


def tensor(value: float, rows: int = 1) -> triton.InferInput:
    given = triton.InferInput("x", [rows, 2], "FP32")
    given.set_data_from_numpy(np.full((rows, 2), value, np.float32))
    return given


@pytest.fixture
def answers(client: triton.InferenceServerClient) -> Iterator[Answers]:
    found = Answers()
    client.start_stream(found)
    yield found
    client.stop_stream()


def test_a_stream_answers_each_request_in_order(
    client: triton.InferenceServerClient, answers: Answers
) -> None:
    for i in range(300):
        client.async_stream_infer("m", [tensor(float(i), rows=1 + i % 3)], request_id=str(i))
    for i in range(300):
        result, error = answers.next()
        assert error is None
        assert result.get_response().id == str(i)
        assert result.as_numpy("y").tolist() == [[float(i)] * 2] * (1 + i % 3)


def test_a_bad_request_is_told_in_its_answer_and_the_stream_goes_on(
    client: triton.InferenceServerClient, answers: Answers
) -> None:
    client.async_stream_infer("nowhere", [tensor(1.0)], request_id="bad")
    client.async_stream_infer("m", [tensor(2.0)], request_id="good")
    _, error = answers.next()
    assert "nowhere" in str(error)
    result, error = answers.next()
    assert error is None
    assert result.get_response().id == "good"


def test_answers_keep_their_order_whichever_thread_makes_them(
    client: triton.InferenceServerClient, answers: Answers
) -> None:
    for i in range(200):  # one by the pool, one refused where it arrives
        client.async_stream_infer("m", [tensor(float(i))], request_id=str(i))
        client.async_stream_infer("nowhere", [tensor(0.0)])
    for i in range(200):
        result, error = answers.next()
        assert error is None
        assert result.get_response().id == str(i)
        assert "nowhere" in str(answers.next()[1])


def test_statistics_tell_requests_runs_and_times(client: triton.InferenceServerClient) -> None:
    before = _statistics(client)
    for _ in range(5):
        client.infer("m", [tensor(1.0, rows=3)])
    with pytest.raises(triton.InferenceServerException):
        client.infer("m", [triton.InferInput("x", [1, 2], "FP64")])
    after = _statistics(client)
    assert int(after["inference_count"]) - int(before["inference_count"]) == 15
    assert int(after["execution_count"]) - int(before["execution_count"]) == 5
    stats = after["inference_stats"]
    assert int(stats["success"]["count"]) - int(_count(before, "success")) == 5
    assert int(stats["fail"]["count"]) - int(_count(before, "fail")) == 1
    for part in ("queue", "compute_input", "compute_infer", "compute_output"):
        assert int(stats[part]["count"]) >= 5
    parts = sum(
        int(stats[p]["ns"]) for p in ("queue", "compute_input", "compute_infer", "compute_output")
    )
    assert 0 < int(stats["compute_infer"]["ns"]) <= parts
    assert parts == pytest.approx(int(stats["success"]["ns"]), rel=0.01)
    assert any(int(b["batch_size"]) == 3 for b in after["batch_stats"])


def _statistics(client: triton.InferenceServerClient) -> dict[str, Any]:
    (found,) = client.get_inference_statistics("m", as_json=True)["model_stats"]
    return dict(found)


def _count(statistics: dict[str, Any], part: str) -> int:
    return int(statistics.get("inference_stats", {}).get(part, {}).get("count", 0))


def test_statistics_of_a_model_that_is_not_there(client: triton.InferenceServerClient) -> None:
    with pytest.raises(triton.InferenceServerException, match="nowhere"):
        client.get_inference_statistics("nowhere")


def test_statistics_of_all_models(client: triton.InferenceServerClient) -> None:
    found = client.get_inference_statistics(as_json=True)["model_stats"]
    assert {m["name"] for m in found} == {"m", "gather"}
