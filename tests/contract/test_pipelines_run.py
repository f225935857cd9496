"""Pipelines on real sessions: order, branches, conditions, ends, memory, what they count."""

import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fogline.clock import wait_until
from fogline.errors import (
    DeadlineExceeded,
    FoglineError,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
)
from fogline.runtime import Interrupt
from fogline_edge.serving.pipelines import make_pipeline
from tests.models import (
    save_constant,
    save_gather,
    save_identity,
    save_slow_loop,
    save_two_inputs,
)
from tests.pipeline_runners import (
    StepsPackage,
    counts_of,
    runner_of,
    steps_package,
    surroundings,
)
from tests.pipelines import Plain, definition, output_of, pipeline_of, step_of, tensor_of

X = np.array([[0.1, 0.2], [0.9, 0.3], [0.4, 0.45], [0.6, 0.8]], np.float32)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StepsPackage]:
    with steps_package(tmp_path, monkeypatch, "pipeline_run_steps") as made:
        yield made


def constants(folder: Path, **values: float) -> list[Path]:
    return [save_constant(folder / f"{name}.onnx", value) for name, value in values.items()]


def test_tensors_are_handed_on_by_name(tmp_path: Path) -> None:
    path = save_two_inputs(tmp_path / "both.onnx")
    three = tensor_of("v", "FP32", -1, 3)
    plain = definition(
        [
            step_of("first", {"x": "inputs.v", "scale": "constants.two"}),
            step_of("second", {"x": "first.total", "scale": "inputs.w"}),
        ],
        [
            output_of("twice", "first.product", "FP32", -1, 3),
            output_of("sum", "second.total", "FP32", -1, 3),
        ],
        inputs=[three, tensor_of("w", "FP32", -1, 1)],
        constants={"two": {"datatype": "FP32", "shape": [1, 1], "values": [2]}},
        components={"first": {"model": "both"}, "second": {"model": "both@1"}},
    )
    v, w = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 1), np.float32)
    with surroundings(path) as around:
        found = runner_of(plain, around).run({"v": v, "w": w})
    assert list(found) == ["twice", "sum"]
    assert np.array_equal(found["twice"], v * 2)
    assert np.array_equal(found["sum"], v + 2 + w)


BARRIER = """
import threading
MET = threading.Barrier(2)
class Meet:
    version = 1
    inputs = (Field(name="x", datatype="FP32", shape=(-1, 2)),)
    outputs = (Field(name="y", datatype="FP32", shape=(-1, 2)),)
    def run(self, arrays):
        MET.wait(20)
        return {"y": arrays["x"]}
"""


def test_branches_run_beside_each_other(package: StepsPackage) -> None:
    package.add(BARRIER, {"meet": "Meet"})
    steps = [{"name": n, "run": "meet", "inputs": {"x": "inputs.x"}} for n in ("a", "b")]
    plain = definition(
        steps,
        [output_of("one", "a.y"), output_of("other", "b.y")],
        components={"meet": {"step": "meet@1"}},
    )
    with surroundings(threads=1) as around:
        assert np.array_equal(runner_of(plain, around).run({"x": X})["other"], X)


def test_without_free_threads_branches_run_one_after_the_other(tmp_path: Path) -> None:
    paths = constants(tmp_path, a=1, b=2, c=3)
    steps = [step_of(p.stem, {"x": "inputs.x"}) for p in paths]
    plain = definition(steps, [output_of(p.stem, f"{p.stem}.y") for p in paths])
    with surroundings(*paths, threads=0) as around:
        found = runner_of(plain, around).run({"x": X})
    assert [found[n][0, 0] for n in "abc"] == [1, 2, 3]


def slow_pipeline(*more: Plain) -> Plain:
    """Two slow branches side by side, and a step behind one of them."""
    n = tensor_of("n", "INT64")
    state = (64, 64)
    return definition(
        [
            {"name": "left", "run": "slow", "inputs": {"n": "inputs.n"}},
            {"name": "right", "run": "slow", "inputs": {"n": "inputs.n"}},
            {"name": "after", "run": "same", "inputs": {"x": "left.y"}},
        ],
        [output_of("y", "after.y", "FP32", *state), output_of("z", "right.y", "FP32", *state)],
        inputs=[{**n, "shape": []}],
        components={"slow": {"model": "slow"}, "same": {"model": "same"}},
    )


@pytest.fixture
def slow(tmp_path: Path) -> list[Path]:
    save_identity(tmp_path / "same.onnx", "FP32", (None, 64))
    return [save_slow_loop(tmp_path / "slow.onnx"), tmp_path / "same.onnx"]


FOREVER = {"n": np.array(10**9, np.int64)}


def test_a_deadline_ends_every_running_step_and_begins_no_other(slow: list[Path]) -> None:
    with surroundings(*slow) as around:
        runner = runner_of(slow_pipeline(), around)
        with pytest.raises(DeadlineExceeded, match=r"pipeline p@1, step '(left|right)'"):
            runner.run(FOREVER, deadline_s=0.2)
        assert counts_of(runner, "left").failures == counts_of(runner, "right").failures == 1
        assert counts_of(runner, "after").runs == 0
        quick = runner.run({"n": np.array(3, np.int64)}, deadline_s=20)
    assert quick["y"].shape == (64, 64)


def test_a_run_can_be_cancelled_from_outside(slow: list[Path]) -> None:
    with surroundings(*slow) as around:
        runner = runner_of(slow_pipeline(), around)
        interrupt = Interrupt()
        errors: list[FoglineError] = []

        def work() -> None:
            try:
                runner.run(FOREVER, deadline_s=60, interrupt=interrupt)
            except FoglineError as e:
                errors.append(e)

        thread = threading.Thread(target=work)
        thread.start()
        entries = around.models.entries
        assert wait_until(lambda: any(e.in_flight for e in entries()), timeout_s=20)
        interrupt.trigger()
        thread.join(20)
        assert isinstance(errors[0], Unavailable)
        assert "was cancelled" in str(errors[0])
        assert not any(e.in_flight for e in entries())


def test_the_first_error_ends_the_other_branches(tmp_path: Path, slow: list[Path]) -> None:
    save_gather(tmp_path / "pick.onnx")
    plain = definition(
        [
            step_of("slow", {"n": "inputs.n"}),
            step_of("pick", {"x": "constants.four", "i": "inputs.i"}),
        ],
        [output_of("y", "slow.y", "FP32", 64, 64), output_of("z", "pick.y", "FP32", -1)],
        inputs=[{"name": "n", "datatype": "INT64", "shape": []}, tensor_of("i", "INT64", -1)],
        constants={"four": {"datatype": "FP32", "shape": [4], "values": [1, 2, 3, 4]}},
    )
    with surroundings(slow[0], tmp_path / "pick.onnx") as around:
        runner = runner_of(plain, around)
        began = time.monotonic()
        with pytest.raises(InvalidInput) as error:
            runner.run({**FOREVER, "i": np.array([9])}, deadline_s=60)
        assert time.monotonic() - began < 30
    assert str(error.value).startswith("pipeline p@1, step 'pick': model pick@1: the Gather node")


KEEP = """
SEEN = []
class Keep:
    version = 2
    def __init__(self, shape=2):
        self.inputs = (Field(name="x", datatype="FP32", shape=(-1, shape)),)
        self.outputs = (Field(name="y", datatype="FP32", shape=(-1, shape)),)
    def run(self, arrays):
        SEEN.append(arrays["x"])
        return {"y": arrays["x"]}
class Write(Keep):
    def run(self, arrays):
        arrays["x"] += 1
        return {"y": arrays["x"]}
"""
EACH = {"keep": "Keep", "write": "Write"}


def seen() -> list[np.ndarray]:
    import pipeline_run_steps  # type: ignore[import-not-found]

    found: list[np.ndarray] = pipeline_run_steps.SEEN
    return found


def test_tensors_change_hands_without_copies(tmp_path: Path, package: StepsPackage) -> None:
    package.add(KEEP, EACH)
    (same,) = [save_identity(tmp_path / "same.onnx")]
    plain = definition(
        [
            {"name": "first", "run": "keep", "inputs": {"x": "inputs.x"}},
            step_of("same", {"x": "first.y"}),
            {"name": "last", "run": "keep", "inputs": {"x": "same.y"}},
        ],
        [output_of("y", "last.y"), output_of("x", "first.y")],
        components={"keep": {"step": "keep@2"}, "same": {"model": "same"}},
    )
    with surroundings(same) as around:
        found = runner_of(plain, around).run({"x": X})
    first, last = seen()
    assert np.shares_memory(first, X)
    assert np.shares_memory(found["x"], X)
    assert np.shares_memory(found["y"], last)
    assert not np.shares_memory(found["y"], X)
    assert not any(a.flags.writeable for a in (first, last, found["x"], found["y"]))
    assert X.flags.writeable


def test_a_step_that_writes_into_its_inputs_fails_and_changes_nothing(
    package: StepsPackage,
) -> None:
    package.add(KEEP, EACH)
    plain = definition(
        [{"name": "s", "run": "write", "inputs": {"x": "inputs.x"}}],
        [output_of("y", "s.y")],
        components={"write": {"step": "write@2"}},
    )
    before = X.copy()
    with surroundings() as around, pytest.raises(FoglineError) as error:
        runner_of(plain, around).run({"x": X})
    assert str(error.value).startswith("pipeline p@1, step 's': the Python step write@2 writes")
    assert np.array_equal(X, before)


RELEASE = """
import gc, weakref
MADE, ALIVE = [], []
class Make:
    version = 1
    inputs = (Field(name="x", datatype="FP32", shape=(-1, 2)),)
    outputs = (Field(name="y", datatype="FP32", shape=(-1, 2)),)
    def run(self, arrays):
        ALIVE.append([made() is not None for made in MADE])
        out = arrays["x"] + 1
        MADE.append(weakref.ref(out))
        return {"y": out}
"""


def test_a_tensor_that_nobody_reads_any_more_leaves_memory(package: StepsPackage) -> None:
    package.add(RELEASE, {"make": "Make"})
    names = ["a", "b", "c", "d"]
    steps = [
        {"name": n, "run": "make", "inputs": {"x": f"{before}.y" if before else "inputs.x"}}
        for n, before in zip(names, [None, *names], strict=False)
    ]
    plain = definition(steps, [output_of("y", "d.y")], components={"make": {"step": "make@1"}})
    with surroundings() as around:
        runner_of(plain, around).run({"x": X})
    import pipeline_run_steps

    alive: list[list[bool]] = pipeline_run_steps.ALIVE
    made: list[weakref.ref[np.ndarray]] = pipeline_run_steps.MADE
    assert alive == [[], [True], [False, True], [False, False, True]]
    assert all(m() is None for m in made)


PROBE = """
PROBE = SEEN = None
class Probe:
    version = 1
    inputs = (Field(name="x", datatype="FP32", shape=(-1, 2)),)
    outputs = (Field(name="y", datatype="FP32", shape=(-1, 2)),)
    def run(self, arrays):
        SEEN.append(PROBE())
        return {"y": arrays["x"]}
"""


def test_a_component_is_given_back_when_its_last_step_is_over(
    tmp_path: Path, package: StepsPackage
) -> None:
    package.add(PROBE, {"probe": "Probe"})
    before: list[Plain] = [
        {"name": "first", "run": "probe", "inputs": {"x": "inputs.x"}},
        {"name": "a1", "run": "a", "inputs": {"x": "first.y"}},
        {"name": "middle", "run": "probe", "inputs": {"x": "a1.y"}},
        {"name": "a2", "run": "a", "inputs": {"x": "middle.y"}},
        {"name": "last", "run": "probe", "inputs": {"x": "a2.y"}},
    ]
    parts = {"a": {"model": "a"}, "probe": {"step": "probe@1"}}
    plain = definition(before, [output_of("y", "last.y")], components=parts)
    with surroundings(*constants(tmp_path, a=1)) as around:
        runner = runner_of(plain, around)
        import pipeline_run_steps

        held: list[int] = []
        pipeline_run_steps.SEEN = held
        pipeline_run_steps.PROBE = lambda: sum(e.in_flight for e in around.models.entries())
        runner.run({"x": X})
    assert held == [0, 1, 0]


def test_only_the_steps_that_the_wanted_outputs_need_are_run(tmp_path: Path) -> None:
    paths = constants(tmp_path, a=1, b=2)
    steps = [step_of("a", {"x": "inputs.x"}), step_of("b", {"x": "a.y"})]
    plain = definition(steps, [output_of("a", "a.y"), output_of("b", "b.y")])
    with surroundings(*paths) as around:
        runner = runner_of(plain, around)
        assert list(runner.run({"x": X}, ["a"])) == ["a"]
        assert [counts_of(runner, n).runs for n in "ab"] == [1, 0]
        with pytest.raises(NotFound, match="pipeline p@1 has no output 'z'"):
            runner.run({"x": X}, ["z"])


def test_a_tensor_that_does_not_fit_at_a_run_is_refused_with_step_and_tensor(
    tmp_path: Path, package: StepsPackage
) -> None:
    package.add(KEEP, EACH)
    (a,) = constants(tmp_path, a=1)
    plain = definition(
        [
            {"name": "k", "run": "keep", "inputs": {"x": "inputs.x"}},
            step_of("a", {"x": "k.y"}),
        ],
        [output_of("y", "a.y")],
        inputs=[tensor_of("x", "FP32", -1, -1)],
        components={"keep": {"step": "keep@2", "options": {"shape": -1}}, "a": {"model": "a"}},
    )
    with surroundings(a) as around:
        runner = runner_of(plain, around)
        with pytest.raises(InvalidInput) as error:
            runner.run({"x": np.zeros((1, 3), np.float32)})
    assert str(error.value) == (
        "pipeline p@1, step 'a': input 'x': expected FP32 [-1, 2], got FP32 [1, 3]"
    )


def test_a_pipeline_cannot_be_a_component_of_one(tmp_path: Path) -> None:
    (a,) = constants(tmp_path, a=1)
    plain = definition([step_of("a", {"x": "inputs.x"})], [output_of("y", "a.y")])
    outer = definition([step_of("p", {"x": "inputs.x"})], [output_of("y", "p.y")], name="q")
    with surroundings(a) as around:
        around.models.add(make_pipeline(pipeline_of(plain), around))
        with pytest.raises(Unsupported, match="p is a pipeline; pipelines are not nested"):
            make_pipeline(pipeline_of(outer), around)


def test_many_pipelines_share_a_few_threads_without_waiting_for_each_other(tmp_path: Path) -> None:
    paths = constants(tmp_path, a=1, b=2, c=3, d=4)
    steps = [step_of(p.stem, {"x": "inputs.x"}) for p in paths]
    plain = definition(steps, [output_of(p.stem, f"{p.stem}.y") for p in paths])
    with surroundings(*paths, threads=1) as around:
        runner = runner_of(plain, around)
        answers: list[float] = []

        def work() -> None:
            found = (runner.run({"x": X}) for _ in range(200))
            answers.extend(sum(float(a[0, 0]) for a in one.values()) for one in found)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert answers == [10.0] * 800
