"""Versions come and go under load, and no request notices more than another version's answer."""

import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from fogline.clock import wait_until
from fogline.errors import Conflict, DeadlineExceeded, Exhausted, NotFound
from fogline.tensors import encode_inputs
from fogline.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fogline_edge.serving import Models, ServingConfig
from tests import models as makers
from tests.serving import INFER, models_of, raw_channel, running, served_model

ROUNDS_OF_A_SECOND = 60_000


def ask_until(
    stop: threading.Event, address: str, answers: list[tuple[int, float]], faults: list[str]
) -> None:
    """Asks "m" on and on; notes (version, value) of each answer."""
    x = triton.InferInput("x", [1, 2], "FP32")
    x.set_data_from_numpy(np.ones((1, 2), np.float32))
    client = triton.InferenceServerClient(address)
    while not stop.is_set():
        try:
            result = client.infer("m", [x])
        except triton.InferenceServerException as e:
            faults.append(str(e))
        else:
            answers.append((int(result.get_response().model_version), result.as_numpy("y")[0, 0]))
    client.close()


def more_come(answers: list[tuple[int, float]]) -> bool:
    enough = len(answers) + 20
    return wait_until(lambda: len(answers) > enough, timeout_s=20)


def test_no_request_fails_while_versions_are_swapped_under_load(tmp_path: Path) -> None:
    versions = [
        served_model(makers.save_constant(tmp_path / f"{v}.onnx", v), version=v)
        for v in range(1, 7)
    ]
    models = models_of(versions[0])
    answers: list[tuple[int, float]] = []
    faults: list[str] = []
    stop = threading.Event()
    with running(models) as address:
        askers = [
            threading.Thread(target=ask_until, args=(stop, address, answers, faults))
            for _ in range(4)
        ]
        for asker in askers:
            asker.start()
        for old, new in pairwise(versions):
            assert more_come(answers)
            drained = models.swap("m", new)
            assert drained is old
            drained.runner.close()
        assert more_come(answers)
        stop.set()
        for asker in askers:
            asker.join()
    assert faults == []
    assert {version for version, _ in answers} == {1, 2, 3, 4, 5, 6}
    assert all(value == version for version, value in answers)
    assert [c.served.version for c in models.list()] == [6]


def test_a_request_in_flight_ends_on_the_version_that_it_began_on(tmp_path: Path) -> None:
    path = makers.save_slow_loop(tmp_path / "m.onnx")
    old, new = served_model(path, version=1), served_model(path, version=2)
    models = models_of(old)
    request = ModelInferRequest(model_name="m")
    encode_inputs(request, {"n": np.array(ROUNDS_OF_A_SECOND, np.int64)})
    with running(models) as address, raw_channel(address) as channel:
        call = channel.channel.unary_unary(INFER).future(request.SerializeToString())
        assert wait_until(lambda: models.list()[0].in_flight == 1, timeout_s=10)
        with pytest.raises(DeadlineExceeded, match="model m@1 left, but 1 calls go on"):
            models.swap("m", new, drain_s=0.01)
        assert models.get("m") is new
        with pytest.raises(NotFound, match="no version 1"):
            models.get("m", "1")
        assert ModelInferResponse.FromString(call.result(timeout=30)).model_version == "1"


def test_a_version_that_is_not_active_answers_to_its_number_alone(tmp_path: Path) -> None:
    path = makers.save_identity(tmp_path / "m.onnx")
    first, second = served_model(path, version=1), served_model(path, version=2)
    models = Models()
    models.add(first, activate=False)
    with pytest.raises(NotFound, match="no model 'm' is active"):
        models.get("m")
    assert models.swap("m", second) is None
    assert models.get("m") is second
    assert models.get("m", "1") is first
    assert models.versions("m") == [1, 2]
    with pytest.raises(Conflict, match="m@1 is in memory already"):
        models.swap("m", first)
    with pytest.raises(Conflict, match="m@2 is in memory already"):
        models.add(second)
    again = served_model(path, version=2)
    assert models.swap("m", again) is second
    assert models.remove("m", 2) is again
    assert models.remove("m", 1) is first
    assert models.list() == ()
    with pytest.raises(NotFound):
        models.remove("m", 1)


def test_versions_in_memory_are_bounded_and_a_refused_swap_changes_nothing(tmp_path: Path) -> None:
    path = makers.save_identity(tmp_path / "m.onnx")
    models = Models(max_models=1)
    first = served_model(path, "a")
    models.add(first)
    with pytest.raises(Exhausted, match="1 versions are in memory, model b@1 is too many"):
        models.add(served_model(path, "b"))
    with pytest.raises(Exhausted):
        models.swap("b", served_model(path, "b"))
    assert models.get("a") is first
    second = served_model(path, "a", 2)
    assert models.swap("a", second) is first
    with pytest.raises(Conflict, match="cannot answer to the name 'z'"):
        models.swap("z", second)


def test_a_new_server_serves_what_comes_later(tmp_path: Path) -> None:
    models = Models()
    with running(models, config=ServingConfig()) as address:
        client = triton.InferenceServerClient(address)
        assert client.is_server_ready()
        assert not client.is_model_ready("m")
        models.swap("m", served_model(makers.save_identity(tmp_path / "m.onnx")))
        assert client.is_model_ready("m")
        client.close()
