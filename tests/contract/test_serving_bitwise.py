"""One row through the whole server is what ONNX Runtime answers, bit for bit, by the same plan."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime
import pytest
import tritonclient.grpc as triton
from onnx import helper

from fogline.runtime import ModelPlan, Session
from fogline.runtime.rehearsal import made_up_rows
from fogline.tensors import Array
from tests import models, stackable
from tests.serving import models_of, running, served_model

ROWS = 20
PLANS = [
    ModelPlan(placement="loop", one_row_us=10.0, row_us=1.0, max_stack=8),
    ModelPlan(threads=2),
    ModelPlan(arena=True, prepack=False),
]


def save_texts(path: Path) -> Path:
    """`x` of BYTES [n, 2] -> its own text, and a number for each of the words it knows."""
    encode = helper.make_node(
        "LabelEncoder", ["x"], ["number"], domain="ai.onnx.ml",
        keys_strings=["a", "b", "red", "the quick fox"], values_floats=[0.1, 0.2, 0.3, 0.4],
        default_float=-0.7,
    )  # fmt: skip
    nodes = [encode, helper.make_node("Identity", ["x"], ["text"])]
    outputs = [
        models.tensor("text", "BYTES", (None, 2)),
        models.tensor("number", "FP32", (None, 2)),
    ]
    return models.save_graph(path, nodes, [models.tensor("x", "BYTES", (None, 2))], outputs)


def native_session(path: Path, plan: ModelPlan) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = plan.threads
    options.enable_cpu_mem_arena = plan.arena
    options.add_session_config_entry("session.disable_prepacking", str(int(not plan.prepack)))
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@contextmanager
def asked(path: Path, plan: ModelPlan) -> Iterator[Callable[[dict[str, Array]], list[Array]]]:
    """Asks a server of one model by Triton's client; every output, in the model's order."""
    served = dataclasses.replace(
        served_model(path), plan=plan, runner=Session.open(path, plan, label="model m@1")
    )
    with running(models_of(served)) as address:
        client = triton.InferenceServerClient(address)
        fields = {f.name: f.datatype for f in served.schema.inputs}

        def ask(row: dict[str, Array]) -> list[Array]:
            inputs = []
            for name, array in row.items():
                given = triton.InferInput(name, list(array.shape), fields[name])
                given.set_data_from_numpy(array)
                inputs.append(given)
            result = client.infer("m", inputs)
            return [result.as_numpy(f.name) for f in served.schema.outputs]

        yield ask
        client.close()


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    "save",
    [
        models.save_classifier,
        stackable.save_dense,
        stackable.save_conv,
        stackable.save_forest,
        stackable.save_dynamic_int8,
        save_texts,
    ],
)
def test_a_row_is_answered_as_onnxruntime_does(
    tmp_path: Path, save: Callable[[Path], Path], plan: ModelPlan
) -> None:
    path = save(tmp_path / "m.onnx")
    native = native_session(path, plan)
    rows = next(made_up_rows(served_model(path).schema.inputs, ROWS))
    with asked(path, plan) as ask:
        for i in range(ROWS):
            row = rows.take(i, 1)
            for answer, wanted in zip(ask(row), native.run(None, row), strict=True):
                assert answer.shape == wanted.shape
                if wanted.dtype == object:
                    assert [t.decode() for t in answer.flat] == wanted.reshape(-1).tolist()
                else:
                    assert answer.dtype == wanted.dtype
                    assert answer.tobytes() == wanted.tobytes()
