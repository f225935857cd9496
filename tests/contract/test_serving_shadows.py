"""Shadow traffic: the other version sees a share, nobody waits for it, and the pair is told."""

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper

from fogline.clock import wait_until
from fogline.errors import InvalidInput
from fogline.runtime import ModelPlan
from fogline_edge.serving import Models, Server, ServingConfig
from fogline_edge.serving.config import ShadowConfig
from fogline_edge.serving.residency import Residency, ResidencyConfig
from fogline_edge.serving.shadows import Shadowed
from fogline_edge.serving.versions import VersionState
from tests import models as makers
from tests.contract.test_serving_limits import start
from tests.residents import FileSource, demanded
from tests.serving import models_of, raw_channel, served_model, server_of


class Ledger:
    """Keeps what it is told; may be made to hold up the thread that tells it."""

    def __init__(self) -> None:
        self.told: list[Shadowed] = []
        self.opened = threading.Event()
        self.opened.set()

    def __call__(self, shadowed: Shadowed) -> None:
        self.opened.wait(30)
        self.told.append(shadowed)


class Asking(triton.InferenceServerClient):  # type: ignore[misc]
    """A client that knows the server behind it."""

    def __init__(self, server: Server, address: str) -> None:
        super().__init__(address)
        self.server = server
        self.address = address

    def left_out(self) -> int:
        """Requests to the champion that the challenger did not get."""
        (found,) = (v for v in self.server.statistics.snapshot("m") if v.version == 1)
        return found.unshadowed


@contextmanager
def serving(models: Models, ledger: Ledger, **config: Any) -> Iterator[Asking]:
    server = server_of(models, shadowed=ledger, config=ServingConfig(**config))
    (endpoint,) = server.start()
    client = Asking(server, str(endpoint))
    try:
        yield client
    finally:
        ledger.opened.set()
        client.close()
        server.drain()


@pytest.fixture
def two(tmp_path: Path) -> Models:
    """Version 1 answers 1 and is asked by name; version 2 answers 2."""
    models = models_of(served_model(makers.save_constant(tmp_path / "1.onnx", 1.0), "m", 1))
    second = served_model(makers.save_constant(tmp_path / "2.onnx", 2.0), "m", 2)
    models.add(second, activate=False)
    return models


def ask(client: triton.InferenceServerClient, version: str = "", rows: int = 1) -> float:
    given = triton.InferInput("x", [rows, 2], "FP32")
    given.set_data_from_numpy(np.ones((rows, 2), np.float32))
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
        assert wait_until(lambda: len(ledger.told) + client.left_out() == 120, timeout_s=10)
        assert 64 <= len(ledger.told) < 120


def test_what_waits_is_bounded_in_bytes_too(two: Models) -> None:
    ledger = Ledger()
    ledger.opened.clear()
    rows = 10_000  # of 8 bytes in and 8 out
    with serving(two, ledger, shadow=ShadowConfig(max_bytes=500_000)) as client:
        two.set_shadow("m", 2, 1.0)
        for _ in range(10):
            ask(client, rows=rows)
        assert wait_until(lambda: client.left_out() == 7, timeout_s=10)
        ledger.opened.set()
        assert wait_until(lambda: len(ledger.told) == 3, timeout_s=10)
        assert wait_until(lambda: bool(ask(client)) and len(ledger.told) > 3, timeout_s=10)


def test_the_challenger_waits_for_a_place_that_nobody_else_wants(tmp_path: Path) -> None:
    cheap = ModelPlan(placement="loop", one_row_us=5.0, row_us=1.0)
    champion = served_model(makers.save_constant(tmp_path / "1.onnx", 1.0), "m", 1)
    models = models_of(
        dataclasses.replace(champion, plan=cheap),
        served_model(makers.save_slow_loop(tmp_path / "loop.onnx"), "loop"),
    )
    challenger = served_model(makers.save_constant(tmp_path / "2.onnx", 2.0), "m", 2)
    models.add(challenger, activate=False)
    models.set_shadow("m", 2, 1.0)
    ledger = Ledger()
    config: dict[str, Any] = {"max_running": 1, "shadow": ShadowConfig(max_waiting=2)}
    with serving(models, ledger, **config) as client, raw_channel(client.address) as channel:
        busy = start(channel)
        assert wait_until(lambda: models.list()[0].in_flight == 1, timeout_s=10)
        assert [ask(client) for _ in range(6)] == [1.0] * 6
        assert wait_until(lambda: client.left_out() == 4, timeout_s=10)
        assert ledger.told == []
        busy.cancel()
        assert wait_until(lambda: len(ledger.told) == 2, timeout_s=10)


def test_a_challenger_that_left_memory_is_brought_back_and_not_again_and_again(
    tmp_path: Path,
) -> None:
    models = Models()
    residency = Residency(models, ResidencyConfig())
    first = makers.save_constant(tmp_path / "1.onnx", 1.0)
    second = makers.save_constant(tmp_path / "2.onnx", 2.0)
    sources = [FileSource(first, "m", 1), FileSource(second, "m", 2)]
    residency.offer(sources)
    models.activate("m", 1)
    ledger = Ledger()
    try:
        with serving(models, ledger) as client:
            assert demanded(models, "m", "1") is None
            models.set_shadow("m", 2, 1.0)
            assert ask(client) == 1.0
            assert wait_until(lambda: len(ledger.told) == 1, timeout_s=10)
            assert ledger.told[0].shadowed["y"].tolist() == [[2.0, 2.0]]
            models.shut("m", 2, VersionState.ABSENT)
            assert [ask(client) for _ in range(5)] == [1.0] * 5
            assert wait_until(lambda: client.left_out() == 5, timeout_s=10)
            assert sources[1].opened == 1
    finally:
        residency.close()


def test_the_end_of_the_server_ends_a_run_in_the_shadow(tmp_path: Path) -> None:
    cast = helper.make_node("Cast", ["n"], ["y"], to=TensorProto.FLOAT)
    sides = [makers.tensor("n", "INT64", ())], [makers.tensor("y", "FP32", ())]
    quick = makers.save_graph(tmp_path / "1.onnx", [cast], *sides)
    models = models_of(served_model(quick, "loop", 1))
    endless = served_model(makers.save_slow_loop(tmp_path / "2.onnx"), "loop", 2)
    models.add(endless, activate=False)
    models.set_shadow("loop", 2, 1.0)
    ledger = Ledger()
    config = ShadowConfig(run_timeout_s=600.0)
    with serving(models, ledger, shadow=config) as client, raw_channel(client.address) as channel:
        assert start(channel).result(timeout=10)
        assert wait_until(lambda: models.list()[1].in_flight == 1, timeout_s=10)
    assert models.list()[1].in_flight == 0
    assert ledger.told == []


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
