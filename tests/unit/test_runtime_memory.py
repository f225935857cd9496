"""What a model takes of memory, and that it all comes back."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from fogline.runtime import ModelPlan, Session, release_memory
from fogline.runtime.memory import Growth, held, own_peak_bytes
from fogline.runtime.trial import warm_up
from tests.models import save_graph, tensor

MB = 2**20
SIDE = 2048
WEIGHTS = SIDE * SIDE * 4


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A product with 16 MB of weights: no small part of what the process holds."""
    weights = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    return save_graph(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [tensor("x", "FP32", ("n", SIDE))],
        [tensor("y", "FP32", ("n", SIDE))],
        [numpy_helper.from_array(weights, "w")],
    )


def test_a_models_need_is_what_it_holds(large: Path) -> None:
    warm_up()
    growth = Growth()
    session = Session.open(large, ModelPlan())
    session.run({"x": np.ones((4, SIDE), np.float32)})
    need = growth.need()
    assert WEIGHTS - MB < need.anonymous_bytes < 2 * WEIGHTS + MB
    assert need.load_peak_bytes >= need.anonymous_bytes + need.file_bytes
    session.close()


def test_closing_gives_the_memory_back(large: Path) -> None:
    warm_up()
    release_memory()
    before = held().anonymous
    for _ in range(3):
        session = Session.open(large, ModelPlan())
        fields = session.inputs
        session.run({"x": np.ones((4, SIDE), np.float32)}, deadline_s=30)
        assert held().anonymous - before > WEIGHTS - MB
        session.close()
        release_memory()
        assert held().anonymous - before < 2 * MB
        assert fields[0].name == "x"


def test_what_stands_beside_the_model_is_not_counted() -> None:
    growth = Growth()
    beside = np.ones(8 * MB, np.uint8)
    assert growth.need(beside.nbytes).anonymous_bytes < MB
    assert growth.need().anonymous_bytes > 7 * MB


def test_the_peak_is_seen_after_it_has_passed() -> None:
    growth = Growth()
    block = np.ones(32 * MB, np.uint8)
    del block
    need = growth.need()
    assert need.load_peak_bytes > 30 * MB
    assert need.anonymous_bytes < 2 * MB
    assert own_peak_bytes() > 30 * MB
