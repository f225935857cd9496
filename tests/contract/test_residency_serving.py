"""Models that are not in memory are answered for over gRPC like any others."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from fogline_edge.serving.models import Models
from fogline_edge.serving.residency import Need, Residency, ResidencyConfig
from tests import models as makers
from tests.residents import FileSource
from tests.serving import running

MIB = 2**20
NAMES = ("a", "b", "c")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Three models of which one fits, one that never fits, and one that does not load."""
    models = Models()
    config = ResidencyConfig(model_memory_bytes=100 * MIB, reserve=0.0)
    residency = Residency(models, config)
    need = Need(held_bytes=60 * MIB, peak_bytes=80 * MIB)
    residency.offer(
        [
            FileSource(makers.save_constant(tmp_path / f"{name}.onnx", i), name, need=need)
            for i, name in enumerate(NAMES)
        ]
    )
    large = Need(held_bytes=200 * MIB, peak_bytes=300 * MIB)
    broken = tmp_path / "broken.onnx"
    broken.write_text("no model")
    residency.offer([FileSource(tmp_path / "a.onnx", "large", need=large)])
    residency.offer([FileSource(broken, "broken")])
    with running(models) as at:
        yield at
    residency.close()


def ask(client: triton.InferenceServerClient, name: str) -> float:
    x = triton.InferInput("x", [1, 2], "FP32")
    x.set_data_from_numpy(np.ones((1, 2), np.float32))
    return float(client.infer(name, [x]).as_numpy("y")[0, 0])


def test_clients_that_ask_for_more_than_fits_all_get_their_answers(address: str) -> None:
    faults: list[Exception] = []
    answers: dict[str, set[float]] = {name: set() for name in NAMES}

    def go(seed: int) -> None:
        client = triton.InferenceServerClient(address)
        try:
            for i in range(40):
                name = NAMES[(i * (seed + 1)) % 3]
                answers[name].add(ask(client, name))
        except triton.InferenceServerException as e:
            faults.append(e)
        finally:
            client.close()

    askers = [threading.Thread(target=go, args=(seed,)) for seed in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert faults == []
    assert answers == {"a": {0.0}, "b": {1.0}, "c": {2.0}}


def test_readiness_and_metadata_do_not_wait_for_a_first_request(address: str) -> None:
    client = triton.InferenceServerClient(address)
    assert client.is_model_ready("a")
    assert client.get_model_metadata("b").inputs[0].name == "x"
    assert client.is_model_ready("c", "1")
    assert not client.is_model_ready("c", "2")
    client.close()


def test_a_model_that_cannot_be_loaded_says_why(address: str) -> None:
    client = triton.InferenceServerClient(address)
    with pytest.raises(triton.InferenceServerException, match=r"takes 300\.0 MiB") as refused:
        ask(client, "large")
    assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    for _ in range(2):
        with pytest.raises(triton.InferenceServerException, match="cannot load it") as failed:
            ask(client, "broken")
        assert failed.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert not client.is_model_ready("broken")
    assert ask(client, "a") == 0.0
    client.close()
