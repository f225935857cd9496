"""Which rows go where: conditions, optional steps, components that come and go."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fogline.clock import wait_until
from fogline.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    Unavailable,
)
from fogline_edge.serving.models import Then
from fogline_edge.serving.versions import VersionState
from tests.models import (
    save_constant,
    save_identity,
)
from tests.pipeline_runners import (
    StepsPackage,
    counts_of,
    runner_of,
    session_model,
    steps_package,
    surroundings,
)
from tests.pipelines import Plain, definition, output_of, step_of, tensor_of

X = np.array([[0.1, 0.2], [0.9, 0.3], [0.4, 0.45], [0.6, 0.8]], np.float32)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StepsPackage]:
    with steps_package(tmp_path, monkeypatch, "pipeline_routing_steps") as made:
        yield made


def constants(folder: Path, **values: float) -> list[Path]:
    return [save_constant(folder / f"{name}.onnx", value) for name, value in values.items()]


FAIL = """
class Fail:
    version = 2
    inputs = (Field(name="x", datatype="FP32", shape=(-1, 2)),)
    outputs = (Field(name="y", datatype="FP32", shape=(-1, 2)),)
    def run(self, arrays):
        raise OSError("the disk is on fire")
"""


def cascade(**when: object) -> Plain:
    condition = {"tensor": "inputs.x", "measure": "max", "below": 0.5, **when}
    steps = [
        step_of("small", {"x": "inputs.x"}),
        step_of("big", {"x": "inputs.x"}, when=condition),
    ]
    return definition(steps, [output_of("y", ["big.y", "small.y"])])


def test_only_rows_that_need_it_go_on_and_come_back_in_order(tmp_path: Path) -> None:
    with surroundings(*constants(tmp_path, small=1, big=2)) as around:
        runner = runner_of(cascade(), around)
        assert runner.run({"x": X})["y"][:, 0].tolist() == [2, 1, 2, 1]
        assert runner.run({"x": X[1:2]})["y"][:, 0].tolist() == [1]
        assert runner.run({"x": X[:0]})["y"].shape == (0, 2)
        assert runner.run({"x": X[::2]})["y"][:, 0].tolist() == [2, 2]
        big = counts_of(runner, "big")
    assert (big.rows, big.offered_rows) == (4, 7)
    assert (big.runs, big.skipped, big.failures, big.version) == (2, 2, 0, "1")
    assert big.run_us > 0


def test_a_request_can_go_on_as_a_whole(tmp_path: Path) -> None:
    with surroundings(*constants(tmp_path, small=1, big=2)) as around:
        anyone = runner_of(cascade(by="any"), around)
        everyone = runner_of(cascade(by="all"), around)
        assert anyone.run({"x": X})["y"][:, 0].tolist() == [2, 2, 2, 2]
        assert everyone.run({"x": X})["y"][:, 0].tolist() == [1, 1, 1, 1]
        assert everyone.run({"x": X[::2]})["y"][:, 0].tolist() == [2, 2]


def test_a_switch_sends_each_row_to_the_step_of_its_label(tmp_path: Path) -> None:
    steps = [
        step_of("de", {"x": "inputs.x"}, when={"tensor": "inputs.lang", "one_of": ["de"]}),
        step_of(
            "fr",
            {"x": "inputs.x"},
            when={"tensor": "inputs.lang", "one_of": ["fr", "fr-CA"]},
        ),
        step_of("other", {"x": "inputs.x"}, unless=["de", "fr"]),
    ]
    plain = definition(
        steps,
        [output_of("y", ["de.y", "fr.y", "other.y"])],
        inputs=[tensor_of("x"), tensor_of("lang", "BYTES", -1)],
    )
    languages = np.array(["fr", "de", "nl", "fr-CA"], np.object_)
    with surroundings(*constants(tmp_path, de=1, fr=2, other=3)) as around:
        runner = runner_of(plain, around)
        assert runner.run({"x": X, "lang": languages})["y"][:, 0].tolist() == [2, 1, 3, 2]
        german = np.array(["de"] * 4, np.object_)
        assert runner.run({"x": X, "lang": german})["y"][:, 0].tolist() == [1, 1, 1, 1]
        assert counts_of(runner, "other").skipped == 1


def test_steps_behind_a_condition_run_on_its_rows(tmp_path: Path) -> None:
    plain = cascade()
    plain["steps"].append(step_of("after", {"x": "big.y"}))
    plain["components"]["after"] = {"model": "after"}
    plain["outputs"] = [output_of("y", ["after.y", "small.y"])]
    with surroundings(*constants(tmp_path, small=1, big=2, after=3)) as around:
        runner = runner_of(plain, around)
        assert runner.run({"x": X})["y"][:, 0].tolist() == [3, 1, 3, 1]
        assert counts_of(runner, "after").rows == 2


def test_a_constant_of_one_row_stands_in_for_any(tmp_path: Path) -> None:
    plain = cascade()
    plain["constants"] = {"none": {"datatype": "FP32", "shape": [1, 2], "values": [-1, -1]}}
    plain["steps"] = plain["steps"][1:]
    del plain["components"]["small"]
    plain["outputs"] = [output_of("y", ["big.y", "constants.none"])]
    with surroundings(*constants(tmp_path, big=2)) as around:
        runner = runner_of(plain, around)
        assert runner.run({"x": X})["y"][:, 0].tolist() == [2, -1, 2, -1]
        assert runner.run({"x": X[1:2].repeat(3, 0)})["y"][:, 0].tolist() == [-1, -1, -1]


def optional_pipeline() -> Plain:
    steps = [step_of("a", {"x": "inputs.x"}), step_of("b", {"x": "inputs.x"}, optional=True)]
    return definition(steps, [output_of("y", ["b.y", "a.y"])])


def test_an_optional_step_goes_without_a_component_that_is_missing(tmp_path: Path) -> None:
    a, b = constants(tmp_path, a=1, b=2)
    with surroundings(a) as around:
        runner = runner_of(optional_pipeline(), around)
        assert runner.run({"x": X})["y"][0, 0] == 1
        around.models.add(session_model(b))
        assert runner.run({"x": X})["y"][0, 0] == 2
        around.models.remove("b", 1)
        assert runner.run({"x": X})["y"][0, 0] == 1
        assert counts_of(runner, "b").failures == 2


def test_an_optional_step_that_fails_is_gone_without(package: StepsPackage, tmp_path: Path) -> None:
    package.add(FAIL, {"fail": "Fail"})
    plain = optional_pipeline()
    plain["components"]["b"] = {"step": "fail@2"}
    with surroundings(*constants(tmp_path, a=1)) as around:
        runner = runner_of(plain, around)
        assert runner.run({"x": X})["y"][0, 0] == 1
        assert counts_of(runner, "b").failures == 1


def test_a_step_steps_in_for_an_optional_one_that_failed(tmp_path: Path) -> None:
    plain = optional_pipeline()
    plain["steps"][0]["unless"] = ["b"]
    a, b = constants(tmp_path, a=1, b=2)
    with surroundings(a, b) as around:
        runner = runner_of(plain, around)
        assert runner.run({"x": X})["y"][0, 0] == 2
        assert counts_of(runner, "a").skipped == 1
        around.models.remove("b", 1)
        assert runner.run({"x": X})["y"][0, 0] == 1


def test_a_component_that_is_missing_makes_the_pipeline_unavailable(tmp_path: Path) -> None:
    paths = constants(tmp_path, small=1, big=2)
    with surroundings(*paths) as around:
        runner = runner_of(cascade(), around)
        around.models.remove("big", 1)
        assert runner.run({"x": X[1:2]})["y"][0, 0] == 1  # sure, so big is not needed
        with pytest.raises(Unavailable, match=r"pipeline p@1, step 'big': .*no model 'big'"):
            runner.run({"x": X})


def test_a_component_that_is_not_in_memory_is_loaded_once_for_all_who_wait(tmp_path: Path) -> None:
    small, big = constants(tmp_path, small=1, big=2)
    with surroundings(small, big) as around:
        runner = runner_of(cascade(), around)
        models = around.models
        entry = models.shut("big", 1, VersionState.ABSENT)
        assert entry is not None
        waiting: list[Then] = []
        models.attach(lambda _name, _version, then: waiting.append(then))
        answers: list[list[float]] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(runner.run({"x": X})["y"][:, 0].tolist())
            )
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        assert wait_until(lambda: len(waiting) == 3, timeout_s=20)
        models.reopen(entry)
        for told in waiting:
            told(None)
        for thread in threads:
            thread.join(20)
        assert answers == [[2, 1, 2, 1]] * 3


def test_waiting_for_a_load_ends_at_the_deadline(tmp_path: Path) -> None:
    with surroundings(*constants(tmp_path, small=1, big=2)) as around:
        runner = runner_of(cascade(), around)
        around.models.shut("big", 1, VersionState.ABSENT)
        around.models.attach(lambda _name, _version, _then: None)
        with pytest.raises(DeadlineExceeded, match="pipeline p@1, step 'big'"):
            runner.run({"x": X}, deadline_s=0.1)


def test_a_load_that_fails_says_why(tmp_path: Path) -> None:
    with surroundings(*constants(tmp_path, small=1, big=2)) as around:
        runner = runner_of(cascade(), around)
        around.models.shut("big", 1, VersionState.ABSENT)
        around.models.attach(lambda _name, _version, then: then(Unavailable("no memory left")))
        with pytest.raises(Unavailable, match="pipeline p@1, step 'big': no memory left"):
            runner.run({"x": X})


def test_inputs_that_are_not_the_pipelines_are_refused_by_name(tmp_path: Path) -> None:
    with surroundings(*constants(tmp_path, small=1, big=2)) as around:
        runner = runner_of(cascade(), around)
        with pytest.raises(InvalidInput, match=r"pipeline p@1, input 'x': expected FP32 \[-1, 2\]"):
            runner.run({"x": np.zeros((1, 3), np.float32)})
        with pytest.raises(InvalidInput, match="pipeline p@1: input 'x' is missing"):
            runner.run({})


def test_components_that_do_not_fit_are_refused_at_load(tmp_path: Path) -> None:
    paths = constants(tmp_path, small=1), save_identity(tmp_path / "big.onnx", "FP32", (None, 3))
    with surroundings(*paths[0], paths[1]) as around, pytest.raises(InvalidInput) as error:
        runner_of(cascade(), around)
    assert str(error.value) == (
        "pipeline p@1: step 'big', input 'x': expected FP32 [-1, 3], got 'inputs.x' of FP32 [-1, 2]"
    )


def test_a_missing_component_is_refused_at_load(tmp_path: Path) -> None:
    words = "pipeline p@1, component 'big': no model 'big'"
    with (
        surroundings(*constants(tmp_path, small=1)) as around,
        pytest.raises(Unavailable, match=words),
    ):
        runner_of(cascade(), around)


def test_a_closed_pipeline_takes_no_runs(tmp_path: Path) -> None:
    with surroundings(*constants(tmp_path, small=1, big=2)) as around:
        runner = runner_of(cascade(), around)
        runner.close()
        with pytest.raises(Conflict, match="pipeline p@1: it is closed"):
            runner.run({"x": X})
