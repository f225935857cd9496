"""Shadow traffic: the other version sees a share, nobody waits for it, and the pair is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from fogline.clock import wait_until
from fogline.errors import InvalidInput
from fogline_edge.serving import Models
from fogline_edge.serving.shadows import Shadowed
from tests import models as makers
from tests.serving import models_of, running, served_model


class Ledger:
    """Keeps what it is told; may be made to hold up the thread that tells it."""

    def __init__(self) -> None:
        self.told: list[Shadowed] = []
        self.opened = threading.Event()
        self.opened.set()

    def __call__(self, shadowed: Shadowed) -> None:
        self.opened.wait(30)
        self.told.append(shadowed)


@contextmanager
def serving(models: Models, ledger: Ledger) -> Iterator[triton.InferenceServerClient]:
    with running(models, shadowed=ledger) as address:
        client = triton.InferenceServerClient(address)
        yield client
        client.close()


@pytest.fixture
def two(tmp_path: Path) -> Models:
    """Version 1 answers 1 and is asked by name; version 2 answers 2."""
    models = models_of(served_model(makers.save_constant(tmp_path / "1.onnx", 1.0), "m", 1))
    second = served_model(makers.save_constant(tmp_path / "2.onnx", 2.0), "m", 2)
    models.add(second, activate=False)
    return models


def ask(client: triton.InferenceServerClient, version: str = "") -> float:
    given = triton.InferInput("x", [1, 2], "FP32")
    given.set_data_from_numpy(np.ones((1, 2), np.float32))
    return float(client.infer("m", [given], version).as_numpy("y")[0, 0])


def test_the_champion_answers_and_the_pair_is_told(two: Models) -> None:
    ledger = Ledger()
    with serving(two, ledger) as client:
        two.set_shadow("m", 2, 1.0)
        assert [ask(client) for _ in range(5)] == [1.0] * 5
        assert wait_until(lambda: len(ledger.told) == 5, timeout_s=10)
    for pair in ledger.told:
        assert (pair.champion.version, pair.challenger.version) == (1, 2)
        assert (pair.rows, pair.error) == ((1,), None)
        assert pair.inputs["x"].tolist() == [[1.0, 1.0]]
        assert pair.answered["y"].tolist() == [[1.0, 1.0]]
        assert pair.shadowed["y"].tolist() == [[2.0, 2.0]]


def test_only_the_share_is_shadowed_and_only_by_name(two: Models) -> None:
    ledger = Ledger()
    with serving(two, ledger) as client:
        two.set_shadow("m", 2, 0.5)
        for _ in range(200):
            ask(client)
        assert ask(client, "2") == 2.0  # the challenger itself has no shadow
        two.set_shadow("m", None)
        assert wait_until(lambda: len(ledger.told) >= 50, timeout_s=10)
        ask(client)
    assert 50 <= len(ledger.told) <= 150  # of a binomial with mean 100 and deviation 7
    assert all(pair.champion.version == 1 for pair in ledger.told)


def test_a_slow_listener_holds_up_nobody_and_what_is_left_out_is_bounded(two: Models) -> None:
    ledger = Ledger()
    ledger.opened.clear()
    with serving(two, ledger) as client:
        two.set_shadow("m", 2, 1.0)
        assert [ask(client) for _ in range(120)] == [1.0] * 120
        ledger.opened.set()
        assert wait_until(lambda: len(ledger.told) >= 64, timeout_s=10)
    assert len(ledger.told) < 120


def test_a_challenger_that_fails_is_told_as_a_failure(tmp_path: Path) -> None:
    models = models_of(served_model(makers.save_identity(tmp_path / "1.onnx"), "m", 1))
    models.add(
        served_model(makers.save_identity(tmp_path / "2.onnx", "FP64"), "m", 2), activate=False
    )
    ledger = Ledger()
    with serving(models, ledger) as client:
        models.set_shadow("m", 2, 1.0)
        assert ask(client) == 1.0
        assert wait_until(lambda: len(ledger.told) == 1, timeout_s=10)
    (pair,) = ledger.told
    assert isinstance(pair.error, InvalidInput)
    assert pair.shadowed == {}
    assert all(c.in_flight == 0 for c in models.list())
