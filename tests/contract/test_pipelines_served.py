"""A pipeline is served as a model: metadata, answers, errors, statistics, what is observed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from fogline.clock import wait_until
from fogline.errors import InvalidInput
from fogline.tensors import Array
from fogline_edge.serving import Models
from fogline_edge.serving.pipelines import Stepwise, load_pipeline
from tests.models import fit_classifier, save_classifier, save_constant, save_slow_loop
from tests.pipeline_runners import brought, session_model, surroundings
from tests.serving import Notebook, running

CASCADE = """
name = "iris"

[[inputs]]
name = "x"
datatype = "FP32"
shape = [-1, 4]
columns = ["sepal length", "sepal width", "petal length", "petal width"]

[[outputs]]
name = "label"
datatype = "INT64"
shape = [-1]
role = "label"
from = ["big.label", "small.label"]

[[outputs]]
name = "probabilities"
datatype = "FP32"
shape = [-1, 3]
from = ["big.probabilities", "small.probabilities"]

[components]
small = { model = "iris-small", path = "small.onnx" }
big = { model = "iris-big@7", path = "big.onnx", visible = true }

[[steps]]
name = "small"
run = "small"
inputs = { x = "inputs.x" }

[[steps]]
name = "big"
run = "big"
inputs = { x = "inputs.x" }
when = { tensor = "small.probabilities", measure = "max", below = BOUND }
"""


@dataclass(frozen=True)
class Iris:
    """A folder that is served, and what its two models say of all flowers."""

    folder: Path
    rows: Array
    small: dict[str, Array]
    big: dict[str, Array]
    bound: np.float32
    """Half of the small model's answers are surer than this."""

    @property
    def goes_on(self) -> Array:
        unsure: Array = self.small["probabilities"].max(axis=1) < self.bound
        return unsure


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Iris:
    folder = tmp_path_factory.mktemp("iris")
    rows = fit_classifier()[1]
    answers = []
    for seed, name in enumerate(("small", "big")):
        path = save_classifier(folder / f"{name}.onnx", seed=seed)
        answers.append(session_model(path).runner.run({"x": rows}))
    bound = np.float32(round(float(np.median(answers[0]["probabilities"].max(axis=1))), 3))
    (folder / "pipeline.toml").write_text(CASCADE.replace("BOUND", str(bound)))
    return Iris(folder, rows, answers[0], answers[1], bound)


@contextmanager
def served(
    folder: Path, **parts: object
) -> Iterator[tuple[triton.InferenceServerClient, Stepwise, Models]]:
    with surroundings() as around:
        pipeline = load_pipeline(
            folder,
            around,
            bring=brought(around.models),
            version=3,
        )
        around.models.add(pipeline)
        with running(around.models, **parts) as address:
            client = triton.InferenceServerClient(address)
            try:
                assert isinstance(pipeline.runner, Stepwise)
                yield client, pipeline.runner, around.models
            finally:
                client.close()


def ask(client: triton.InferenceServerClient, rows: Array, **more: object) -> triton.InferResult:
    tensor = triton.InferInput("x", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    return client.infer("iris", [tensor], **more)


def test_a_folder_with_a_definition_is_served_as_one_model(iris: Iris) -> None:
    with served(iris.folder) as (client, pipeline, _):
        found = ask(client, iris.rows)
        counts = {c.name: c for c in pipeline.steps()}
    assert found.get_response().model_version == "3"
    labels = np.where(iris.goes_on, iris.big["label"], iris.small["label"])
    assert np.array_equal(found.as_numpy("label"), labels)
    assert found.as_numpy("probabilities").shape == (150, 3)
    assert counts["small"].rows == counts["big"].offered_rows == 150
    assert counts["big"].rows == iris.goes_on.sum()
    assert 0 < counts["big"].rows < 150


def test_metadata_are_those_of_the_definition(iris: Iris) -> None:
    with served(iris.folder) as (client, _, _):
        metadata = client.get_model_metadata("iris", as_json=True)
    assert [(t["name"], t["datatype"], t["shape"]) for t in metadata["inputs"]] == [
        ("x", "FP32", ["-1", "4"])
    ]
    assert [t["name"] for t in metadata["outputs"]] == ["label", "probabilities"]
    assert metadata["versions"] == ["3"]


def test_components_answer_to_their_own_names_only_where_they_are_visible(iris: Iris) -> None:
    with served(iris.folder) as (client, _, models):
        assert client.is_model_ready("iris")
        assert client.is_model_ready("iris-big", "7")
        assert not client.is_model_ready("iris-small")
        with pytest.raises(InferenceServerException, match=r"NOT_FOUND.*component of pipelines"):
            client.get_model_metadata("iris-small")
        assert {status.name for status in models.index()} == {"iris", "iris-big"}


def test_only_wanted_outputs_are_answered(iris: Iris) -> None:
    with served(iris.folder) as (client, _, _):
        found = ask(client, iris.rows[:2], outputs=[triton.InferRequestedOutput("label")])
    assert [t.name for t in found.get_response().outputs] == ["label"]


def test_requests_are_counted_and_observed_as_of_any_model(iris: Iris) -> None:
    notebook = Notebook()
    rows = iris.rows
    with served(iris.folder, observer=notebook) as (client, _, _):
        for row in rows[:5]:
            ask(client, row[None])
        with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*iris@3.*'x'"):
            ask(client, rows[:, :3])
        statistics = client.get_inference_statistics("iris", as_json=True)["model_stats"]
    assert [s["name"] for s in statistics] == ["iris"]
    assert statistics[0]["inference_stats"]["success"]["count"] == "5"
    answered = [o for o in notebook.seen if o.error is None]
    assert sum(sum(o.rows) for o in answered) == 5
    assert {o.served.label for o in answered} == {"model iris@3"}


SLOW = """
name = "slow"
[[inputs]]
name = "n"
datatype = "INT64"
shape = []
[[outputs]]
name = "y"
datatype = "FP32"
shape = [64, 64]
from = "loop.y"
[components]
loop = { model = "loop", path = "loop.onnx" }
[[steps]]
name = "loop"
run = "loop"
inputs = { n = "inputs.n" }
"""


def test_a_callers_deadline_ends_the_steps_of_a_pipeline(tmp_path: Path) -> None:
    (tmp_path / "pipeline.toml").write_text(SLOW)
    save_slow_loop(tmp_path / "loop.onnx")
    with served(tmp_path) as (client, pipeline, _):
        tensor = triton.InferInput("n", [], "INT64")
        tensor.set_data_from_numpy(np.array(10**9, np.int64))
        with pytest.raises(InferenceServerException, match=r"DEADLINE_EXCEEDED|Deadline Exceeded"):
            client.infer("slow", [tensor], client_timeout=0.3)
        tensor.set_data_from_numpy(np.array(2, np.int64))
        assert client.infer("slow", [tensor], client_timeout=30).as_numpy("y").shape == (64, 64)
        assert wait_until(lambda: pipeline.steps()[0].failures == 1, timeout_s=20)


def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside = save_constant(tmp_path / "loop.onnx", 1)
    inner = tmp_path / "inner"
    inner.mkdir()
    for path in ("../loop.onnx", str(outside)):
        (inner / "pipeline.toml").write_text(SLOW.replace("loop.onnx", path))
        with surroundings() as around, pytest.raises(InvalidInput, match="leads out of"):
            load_pipeline(inner, around, bring=lambda *_: None)
