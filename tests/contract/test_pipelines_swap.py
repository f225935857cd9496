"""A component is swapped alone, under load; one that does not fit never gives a wrong answer."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fogline.clock import wait_until
from fogline.errors import FoglineError, Unavailable
from fogline_edge.serving.pipelines import PipelineRunner, Surroundings
from tests.models import save_constant, save_identity
from tests.pipeline_runners import counts_of, runner_of, session_model, surroundings
from tests.pipelines import definition, output_of, step_of

CALLS = 10_000
THREADS = 4
X = np.zeros((1, 2), np.float32)

THREE = definition(
    [
        {"name": "a1", "run": "a", "inputs": {"x": "inputs.x"}},
        {"name": "b", "run": "b", "inputs": {"x": "a1.y"}},
        {"name": "a2", "run": "a", "inputs": {"x": "b.y"}},
    ],
    [output_of("first", "a1.y"), output_of("other", "b.y"), output_of("again", "a2.y")],
    components={"a": {"model": "a"}, "b": {"model": "b"}},
)


def call_often(runner: PipelineRunner, count: int) -> Callable[[], list[tuple[float, ...]]]:
    """Starts `THREADS` callers; what it returns waits for them and gives all answers."""
    answers: list[tuple[float, ...]] = []
    errors: list[FoglineError] = []

    def call() -> None:
        for _ in range(count // THREADS):
            try:
                found = runner.run({"x": X}, deadline_s=30)
            except FoglineError as e:
                errors.append(e)
            else:
                answers.append(tuple(float(found[n][0, 0]) for n in ("first", "other", "again")))

    threads = [threading.Thread(target=call) for _ in range(THREADS)]
    for thread in threads:
        thread.start()

    def finish() -> list[tuple[float, ...]]:
        for thread in threads:
            thread.join(100)
        assert not errors
        return answers

    return finish


def has_run(runner: PipelineRunner, times: int) -> bool:
    return counts_of(runner, "b").runs >= times


def test_a_component_is_swapped_under_ten_thousand_calls_and_none_fails(tmp_path: Path) -> None:
    def version(name: str, number: int, value: float) -> Path:
        return save_constant(tmp_path / f"{name}{number}.onnx", value)

    first = [session_model(version(n, 1, v), n) for n, v in (("a", 1.0), ("b", 10.0))]
    with surroundings(*first) as around:
        runner = runner_of(THREE, around)
        finish = call_often(runner, CALLS)
        for number in range(2, 7):
            name = "ab"[number % 2]
            done = number * CALLS // 8
            assert wait_until(partial(has_run, runner, done), timeout_s=60)
            value = float(number) if name == "a" else 10.0 * number
            new = session_model(version(name, number, value), name, number)
            old = around.models.swap(name, new, drain_s=30)
            assert old is not None
            old.runner.close()
        answers = finish()
        in_flight = sum(e.in_flight for e in around.models.entries())
    assert len(answers) == CALLS
    assert in_flight == 0
    assert all(one == again for one, _, again in answers)  # of one version, wherever it is used
    assert {one for one, _, _ in answers} == {1.0, 2.0, 4.0, 6.0}
    assert {other for _, other, _ in answers} == {10.0, 30.0, 50.0}
    assert counts_of(runner, "b").version == "5"


def swap(around: Surroundings, path: Path, name: str, version: int) -> None:
    old = around.models.swap(name, session_model(path, name, version))
    assert old is not None
    old.runner.close()


CHAIN = definition(
    [step_of("a", {"x": "inputs.x"}), step_of("b", {"x": "a.y"})],
    [output_of("y", "b.y", "FP32", -1, -1)],
    inputs=[{"name": "x", "datatype": "FP32", "shape": [-1, -1]}],
)


def test_a_component_that_does_not_fit_makes_the_pipeline_unavailable_until_one_does(
    tmp_path: Path,
) -> None:
    two = save_identity(tmp_path / "two.onnx", "FP32", (None, 2))
    three = save_identity(tmp_path / "three.onnx", "FP32", (None, 3))
    with surroundings(session_model(two, "a"), session_model(two, "b")) as around:
        runner = runner_of(CHAIN, around)
        swap(around, three, "b", 2)
        with pytest.raises(Unavailable) as error:
            runner.run({"x": X})
        assert str(error.value) == (
            "pipeline p@1, step 'b': version 2 of b does not fit into it: "
            "step 'b', input 'x': expected FP32 [-1, 3], got 'a.y' of FP32 [-1, 2]"
        )
        swap(around, two, "b", 3)
        assert runner.run({"x": X})["y"].shape == (1, 2)


def test_two_components_that_only_fit_together_can_be_swapped_one_after_the_other(
    tmp_path: Path,
) -> None:
    two = save_identity(tmp_path / "two.onnx", "FP32", (None, 2))
    three = save_identity(tmp_path / "three.onnx", "FP32", (None, 3))
    with surroundings(session_model(two, "a"), session_model(two, "b")) as around:
        runner = runner_of(CHAIN, around)
        swap(around, three, "a", 2)
        with pytest.raises(Unavailable, match="version 2 of a does not fit"):
            runner.run({"x": np.zeros((1, 3), np.float32)})
        swap(around, three, "b", 2)
        assert runner.run({"x": np.zeros((1, 3), np.float32)})["y"].shape == (1, 3)


def test_a_pinned_component_stays_when_another_version_is_active(tmp_path: Path) -> None:
    plain = {**CHAIN, "components": {"a": {"model": "a@1"}, "b": {"model": "b"}}}
    one = save_constant(tmp_path / "one.onnx", 1)
    same = save_identity(tmp_path / "same.onnx")
    two = save_constant(tmp_path / "two.onnx", 2)
    with surroundings(session_model(one, "a"), session_model(same, "b")) as around:
        runner = runner_of(plain, around)
        around.models.add(session_model(two, "a", 2))
        assert around.models.get("a").version == 2
        assert runner.run({"x": X})["y"][0, 0] == 1
