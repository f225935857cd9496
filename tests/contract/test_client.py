"""The SDK against a real server."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fogline.client import Client
from fogline.errors import Conflict, DeadlineExceeded, InvalidInput, NotFound, Unavailable
from fogline.wire.edge_pb2 import FeedbackRequest, StatusResponse
from tests import models
from tests.serving import Notebook, models_of, running, served_model


class Agent:
    """Keeps feedback, and knows its device."""

    def __init__(self) -> None:
        self.taken: list[FeedbackRequest] = []

    def feedback(self, request: FeedbackRequest) -> tuple[int, int]:
        if not request.prediction_id.startswith("p-"):
            raise InvalidInput(f"no prediction {request.prediction_id!r}")
        known = any(t.prediction_id == request.prediction_id for t in self.taken)
        self.taken.append(request)
        return (0, len(request.actuals)) if known else (len(request.actuals), 0)

    def describe(self, response: StatusResponse) -> None:
        response.device = "d-1"
        response.generation = 7
        response.outbox_pending["feedback"] = len(self.taken)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def client(folder: Path, agent: Agent, notebook: Notebook) -> Iterator[Client]:
    served = [
        served_model(models.save_two_inputs(folder / "two.onnx"), "two"),
        served_model(models.save_slow_loop(folder / "loop.onnx"), "loop"),
        served_model(models.save_identity(folder / "text.onnx", "BYTES"), "text"),
    ]
    parts = {"observer": notebook, "feedback": agent.feedback, "describe": agent.describe}
    with running(models_of(*served), **parts) as address, Client(address) as made:
        yield made


def test_arrays_are_sent_as_they_are(client: Client) -> None:
    arrays = {"x": np.ones((2, 3), np.float32), "scale": np.full((2, 1), 3, np.float32)}
    prediction = client.predict("two", arrays)
    assert (prediction.model, prediction.version) == ("two", "1")
    assert prediction.id == "p-1"
    assert prediction.outputs["total"].tolist() == [[4.0] * 3] * 2
    with pytest.raises(InvalidInput, match=r"expected FP32 \[-1,3\], got FP64"):
        client.predict("two", arrays | {"x": np.ones((2, 3))})


def test_named_columns_are_fitted_to_the_model(client: Client) -> None:
    prediction = client.predict("two", {"x": [[1, 2, 3]], "scale": [2]}, outputs=["product"])
    assert list(prediction.outputs) == ["product"]
    assert prediction.outputs["product"].tolist() == [[2, 4, 6]]
    with pytest.raises(InvalidInput, match="takes 'x', 'scale', got 'x'"):
        client.predict("two", {"x": [[1, 2, 3]]})


def test_text_goes_both_ways(client: Client) -> None:
    prediction = client.predict("text", {"x": [["é\0", ""]]})
    assert prediction.outputs["y"].tolist() == [["é\0", ""]]


def test_event_time_reaches_the_observer(client: Client, notebook: Notebook) -> None:
    moment = datetime(1973, 4, 5, 6, 7, 8, 901234, tzinfo=UTC)
    before = datetime.now(UTC)
    arrays = {"x": np.ones((1, 3), np.float32), "scale": np.ones((1, 1), np.float32)}
    client.predict("two", arrays, event_time=moment)
    client.predict("two", arrays)
    first, second = (us / 1e6 for o in notebook.seen for us in o.event_us)
    assert datetime.fromtimestamp(first, UTC) == moment
    assert before.timestamp() - 1e-3 <= second <= datetime.now(UTC).timestamp()
    with pytest.raises(InvalidInput, match="zone"):
        client.predict("two", arrays, event_time=datetime(2020, 1, 1))  # noqa: DTZ001


def test_outcomes_reach_the_agent(client: Client, agent: Agent) -> None:
    receipt = client.feedback("p-9", [2, True, "a", 0.5])
    assert (receipt.accepted, receipt.duplicates) == (4, 0)
    receipt = client.feedback("p-9", {3: 1}, observed_at=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    assert (receipt.accepted, receipt.duplicates) == (0, 1)
    first, second = agent.taken
    assert [a.WhichOneof("value") for a in first.actuals] == [
        "int64_value", "bool_value", "string_value", "double_value",
    ]  # fmt: skip
    assert [a.row for a in first.actuals] == [0, 1, 2, 3]
    assert (second.actuals[0].row, second.observed_at_us) == (3, 1_000_000)
    with pytest.raises(InvalidInput, match="no prediction 'x'"):
        client.feedback("x", [1])
    with pytest.raises(InvalidInput, match="got NoneType"):
        client.feedback("p-9", [None])  # type: ignore[list-item]


def test_status_tells_models_and_device(client: Client) -> None:
    client.predict("text", {"x": np.array([["a", "b"]], object)})
    status = client.status()
    assert (status.device, status.generation) == ("d-1", 7)
    counted = {m.name: (m.version, m.state, m.requests, m.failures) for m in status.models}
    assert counted["text"] == ("1", "ACTIVE", 1, 0)
    assert counted["two"] == ("1", "ACTIVE", 0, 0)


def test_readiness_and_metadata(client: Client) -> None:
    assert client.is_ready()
    assert client.is_ready("two")
    assert not client.is_ready("nobody")
    info = client.model_info("two")
    assert info.versions == ("1",)
    assert [(f.name, f.datatype, f.shape) for f in info.schema.inputs] == [
        ("x", "FP32", (-1, 3)),
        ("scale", "FP32", (-1, 1)),
    ]
    with pytest.raises(NotFound, match="'nobody'"):
        client.model_info("nobody")


def test_an_answer_that_comes_too_late_is_deadline_exceeded(client: Client) -> None:
    with pytest.raises(DeadlineExceeded):
        client.predict("loop", {"n": np.array(10**12, np.int64)}, timeout_s=0.1)


def test_no_server_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with Client(address, timeout_s=5) as client, pytest.raises(Unavailable, match=address):
            client.is_ready()
    with pytest.raises(Unavailable, match="closed"):
        client.is_ready()


def test_feedback_to_a_server_without_an_agent_is_a_conflict(tmp_path: Path) -> None:
    served = served_model(models.save_identity(tmp_path / "m.onnx"))
    with (
        running(models_of(served)) as address,
        Client(address) as client,
        pytest.raises(Conflict, match="takes no feedback"),
    ):
        client.feedback("p-1", [1])
