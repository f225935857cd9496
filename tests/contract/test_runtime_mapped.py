"""Weights beside a model of 64 MiB: mapped from their file where that costs no time."""

from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.grpc as triton
from onnx import helper, numpy_helper

from fogline.runtime import ModelPlan, Session, release_memory
from fogline.runtime.prove import prove
from fogline.runtime.qualification import ProofRequest
from fogline_edge.serving.memory import ProcessMemory
from tests.models import tensor
from tests.serving import serve_process

MIB = 2**20
WIDTH = 4096
WEIGHTS = 4 * WIDTH * WIDTH
"""Bytes of the largest tensor; it lies in a file of its own with the others."""
ROW = np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32)


def save(path: Path) -> Path:
    """Three layers, `x` [1, 8] -> `y` [1, 4]: one row, because stacks would decide otherwise."""
    generator = np.random.default_rng(0)
    shapes = {"w1": (8, WIDTH), "w2": (WIDTH, WIDTH), "w3": (WIDTH, 4)}
    constants = [
        numpy_helper.from_array(generator.normal(size=s).astype(np.float32) / 64, name)
        for name, s in shapes.items()
    ]
    layers = (("x", "w1", "h"), ("h", "w2", "i"), ("i", "w3", "y"))
    nodes = [helper.make_node("MatMul", [given, by], [made]) for given, by, made in layers]
    sides = [tensor("x", "FP32", (1, 8))], [tensor("y", "FP32", (1, 4))]
    graph = helper.make_graph(nodes, "g", *sides, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, path, save_as_external_data=True, location="w.bin", size_threshold=1024)
    return path


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mapped")
    save(root / "wide" / "1" / "model.onnx")
    return root


@pytest.fixture(scope="module")
def model(repository: Path) -> Path:
    return repository / "wide" / "1" / "model.onnx"


@pytest.fixture(scope="module")
def plan(model: Path) -> ModelPlan:
    found = prove(ProofRequest(model=str(model), external_data=("w.bin",)))
    assert found.is_accepted, found
    assert found.size_bytes > WEIGHTS
    assert found.plan is not None
    return found.plan


def held_by(model: Path, plan: ModelPlan) -> int:
    """Anonymous memory that an open and warm session takes here."""
    memory = ProcessMemory()
    release_memory()
    before = memory.anonymous_bytes()
    with closing(Session.open(model, plan)) as session:
        session.run({"x": ROW})
        release_memory()
        held = memory.anonymous_bytes() - before
    release_memory()
    return held


def test_qualification_tries_and_measures_weights_that_stay_in_their_file(plan: ModelPlan) -> None:
    assert not plan.prepack
    need = plan.memory
    assert need is not None
    assert need.anonymous_bytes < 8 * MIB
    assert need.file_bytes > WEIGHTS
    assert need.load_peak_bytes < WEIGHTS + 16 * MIB


def test_the_plan_says_what_a_session_takes(model: Path, plan: ModelPlan) -> None:
    held_by(model, plan)  # what the first session of a process takes is not the model's
    assert held_by(model, plan) < 8 * MIB
    assert held_by(model, ModelPlan()) > WEIGHTS * 0.9


def test_mapped_weights_answer_as_onnxruntime_does(model: Path, plan: ModelPlan) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = plan.threads
    options.add_session_config_entry("session.disable_prepacking", "1")
    native = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (wanted,) = native.run(None, {"x": ROW})
    with closing(Session.open(model, plan)) as session:
        assert session.run({"x": ROW})["y"].tobytes() == wanted.tobytes()


def test_a_server_takes_that_plan(repository: Path, model: Path) -> None:
    with serve_process(repository) as (process, address):
        client = triton.InferenceServerClient(address.split(maxsplit=1)[0])
        given = triton.InferInput("x", [1, 8], "FP32")
        given.set_data_from_numpy(ROW)
        answer = client.infer("wide", [given]).as_numpy("y")
        client.close()
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        kib = {name: value for name, _, value in (line.partition(":") for line in status)}
        anonymous, mapped = (int(kib[n].split()[0]) * 1024 for n in ("RssAnon", "RssFile"))
    assert anonymous < WEIGHTS  # with a copy of the weights it would be this and a server's own
    assert mapped > WEIGHTS
    with closing(Session.open(model, ModelPlan(prepack=False))) as session:
        assert session.run({"x": ROW})["y"].tobytes() == answer.tobytes()
