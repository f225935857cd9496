"""What a server refuses: with the right status, and words that name what was wrong."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from fogline.errors import FoglineError
from fogline.tensors import encode_inputs
from fogline.wire.edge_pb2 import FeedbackRequest
from fogline.wire.open_inference_pb2 import ModelInferRequest
from tests import models
from tests.serving import INFER, Notebook, RawChannel, models_of, raw_channel, running, served_model


@pytest.fixture(scope="module")
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory, notebook: Notebook) -> Iterator[RawChannel]:
    folder = tmp_path_factory.mktemp("models")
    served = [
        served_model(models.save_identity(folder / "x.onnx"), "pair"),
        served_model(models.save_identity(folder / "t.onnx", "BYTES"), "text"),
        served_model(models.save_identity(folder / "f.onnx", shape=(2, 2)), "fixed"),
        served_model(models.save_gather(folder / "g.onnx"), "gather"),
    ]
    with running(models_of(*served), observer=notebook) as address, raw_channel(address) as made:
        yield made


def pair(rows: int = 1) -> ModelInferRequest:
    request = ModelInferRequest(model_name="pair")
    encode_inputs(request, {"x": np.zeros((rows, 2), np.float32)})
    return request


def refused(channel: RawChannel, data: bytes, path: str = INFER) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        channel.send(path, data)
    details: str = caught.value.details()
    assert "Traceback" not in details
    return caught.value.code().name, details


def change(edit: Callable[[ModelInferRequest], object]) -> ModelInferRequest:
    request = pair()
    edit(request)
    return request


def with_(path: str, **parameter: object) -> ModelInferRequest:
    """A request with one more parameter; `path` is where, and its name."""
    request = pair()
    request.outputs.add(name="y")
    where, _, name = path.rpartition(".")
    owners: dict[str, Any] = {"inputs": request.inputs[0], "outputs": request.outputs[0]}
    owner = owners.get(where, request)
    ((kind, value),) = parameter.items()
    setattr(owner.parameters[name], kind, value)
    return request


def double_precision() -> ModelInferRequest:
    request = ModelInferRequest(model_name="pair")
    encode_inputs(request, {"x": np.full((1, 2), 123457.0)})
    return request


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (change(lambda r: setattr(r, "model_name", "")), "NOT_FOUND", "no model '' is active"),
        (change(lambda r: setattr(r, "model_name", "a\n" * 200)), "NOT_FOUND", r"'a\\n"),
        (change(lambda r: setattr(r, "model_version", "2")), "NOT_FOUND", "no version 2 of model"),
        (change(lambda r: r.outputs.add(name="z")), "NOT_FOUND", "no output 'z'; it has 'y'"),
        (
            change(lambda r: [r.outputs.add(name="y") for _ in "12"]),
            "INVALID_ARGUMENT",
            "the output 'y' is wanted twice",
        ),
        (
            double_precision(),
            "INVALID_ARGUMENT",
            r"model pair@1, input 'x': expected FP32 \[-1,2\], got FP64 \[1,2\]",
        ),
        (
            change(lambda r: setattr(r.inputs[0], "name", "z")),
            "INVALID_ARGUMENT",
            "expected the inputs 'x': missing 'x'; unknown 'z'",
        ),
        (
            change(lambda r: r.inputs[0].contents.fp32_contents.append(1)),
            "INVALID_ARGUMENT",
            "use one form",
        ),
        (
            change(lambda r: setattr(r.inputs[0], "datatype", "BF16")),
            "UNIMPLEMENTED",
            "'BF16' is not served",
        ),
        (with_("sequence_id", int64_param=3), "UNIMPLEMENTED", "'sequence_id'"),
        (with_("sequence_start", bool_param=True), "UNIMPLEMENTED", "'sequence_start'"),
        (with_("sequence_end", bool_param=True), "UNIMPLEMENTED", "'sequence_end'"),
        (with_("event_time_us", string_param="now"), "INVALID_ARGUMENT", "'event_time_us'.*int64"),
        (with_("event_time_us", int64_param=-1), "INVALID_ARGUMENT", "'event_time_us'.*1970"),
        (with_("timeout", int64_param=-1), "INVALID_ARGUMENT", "'timeout'"),
    ],
)
def test_a_request_that_cannot_be_right_is_named(
    channel: RawChannel, request_: ModelInferRequest, status: str, words: str
) -> None:
    code, details = refused(channel, request_.SerializeToString())
    assert code == status
    assert re.search(words, details), details
    assert "123457" not in details
    assert len(details) < 1000


def test_a_fixed_batch_takes_no_other(channel: RawChannel) -> None:
    request = pair(3)
    request.model_name = "fixed"
    assert refused(channel, request.SerializeToString()) == (
        "INVALID_ARGUMENT",
        "model fixed@1, input 'x': expected FP32 [2,2], got FP32 [3,2]",
    )


def test_text_that_is_not_utf8_is_refused(channel: RawChannel) -> None:
    request = ModelInferRequest(model_name="text")
    request.inputs.add(name="x", datatype="BYTES", shape=[1, 2])
    request.raw_input_contents.append(b"\1\0\0\0a\1\0\0\0\xff")
    code, details = refused(channel, request.SerializeToString())
    assert code == "INVALID_ARGUMENT"
    assert "element 1 is not UTF-8" in details


def test_a_graph_that_fails_is_named_without_values(channel: RawChannel) -> None:
    request = ModelInferRequest(model_name="gather")
    encode_inputs(request, {"x": np.zeros(4, np.float32), "i": np.array([123457])})
    code, details = refused(channel, request.SerializeToString())
    assert (code, details) == (
        "INVALID_ARGUMENT",
        "model gather@1: the Gather node 'pick' failed on these inputs",
    )


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\x0a\x05ab", b"\x0a\x01\xff"])
def test_bytes_that_are_no_message_are_refused(channel: RawChannel, data: bytes) -> None:
    code, details = refused(channel, data)
    assert code == "INVALID_ARGUMENT"
    assert "no inference.ModelInferRequest" in details or "does not end" in details


@pytest.mark.parametrize(
    "method",
    [
        "/fogline.v1.Edge/Explode",
        "/nobody.Knows/This",
    ],
)
def test_a_method_that_is_not_served_is_named(channel: RawChannel, method: str) -> None:
    code, details = refused(channel, b"", method)
    assert code == "UNIMPLEMENTED"
    assert method in details


def test_feedback_without_an_agent_says_so(channel: RawChannel) -> None:
    data = FeedbackRequest(prediction_id="p-1").SerializeToString()
    code, details = refused(channel, data, "/fogline.v1.Edge/Feedback")
    assert code == "FAILED_PRECONDITION"
    assert "takes no feedback" in details


def test_refused_requests_of_a_known_model_are_observed_as_failures(
    channel: RawChannel, notebook: Notebook
) -> None:
    notebook.seen.clear()
    refused(channel, double_precision().SerializeToString())
    channel.call(INFER, pair())
    first, second = notebook.seen
    assert isinstance(first.error, FoglineError)
    assert (first.rows, first.outputs, first.prediction_ids) == ((0,), {}, ())
    assert (second.error, list(second.rows), list(second.outputs)) == (None, [1], ["y"])


def test_a_faulty_observer_fails_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Notebook):
        def prediction_ids(self, *_: object) -> list[str]:
            raise RuntimeError("no id")

        def observe(self, *_: object) -> None:
            raise RuntimeError("no ink")

    served = served_model(models.save_identity(tmp_path / "m.onnx"), "pair")
    with (
        running(models_of(served), observer=Faulty()) as address,
        raw_channel(address) as channel,
    ):
        assert channel.call(INFER, pair()).outputs[0].name == "y"
    assert {"no prediction ids", "not observed"} <= {r.message for r in caplog.records}


def test_an_error_text_of_any_length_and_script_reaches_the_client(channel: RawChannel) -> None:
    request = pair()
    for i in range(40):
        request.inputs.add(name=f"{i}" + "é😀" * 60, datatype="FP32", shape=[0])
        request.raw_input_contents.append(b"")
    code, details = refused(channel, request.SerializeToString())
    assert code == "INVALID_ARGUMENT"
    assert "unknown" in details
