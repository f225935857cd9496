"""Python steps are found by entry points of installed packages, by name and version."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fogline.errors import FoglineError, InvalidInput, NotFound
from fogline_edge.serving.steps import find_step
from tests.pipeline_runners import StepsPackage, runner_of, steps_package, surroundings
from tests.pipelines import Plain, definition, output_of

STEPS = """
FORM = dict(datatype="FP32", shape=(-1, 2))

class Scale:
    version = 1
    inputs = (Field(name="x", **FORM),)
    outputs = (Field(name="y", **FORM),)
    def __init__(self, factor=2.0):
        self.factor = np.float32(factor)
    def run(self, arrays):
        return {"y": arrays["x"] * self.factor}

class Scale2(Scale):
    version = 2
    def run(self, arrays):
        return {"y": arrays["x"] * self.factor + 1}

class Refuse(Scale):
    def run(self, arrays):
        raise InvalidInput("rows have to be sorted")

class Break(Scale):
    def run(self, arrays):
        raise KeyError(f"row {arrays['x'].tolist()}")

class Lists(Scale):
    def run(self, arrays):
        return {"y": [[1.0, 2.0]]}

class Nothing(Scale):
    def run(self, arrays):
        return {}

class Wide(Scale):
    def run(self, arrays):
        return {"y": np.zeros((1, 3), np.float32)}

class Spell(Scale):
    outputs = (Field(name="y", datatype="BYTES", shape=(-1,)),)
    def run(self, arrays):
        return {"y": np.array(["é", "b"])}

class Mixed(Spell):
    def run(self, arrays):
        return {"y": np.array(["a", 1], np.object_)}

class NoStep:
    version = 1

def make_unversioned(**options):
    return Scale(**options)
"""
NAMES = ["Scale", "Refuse", "Break", "Lists", "Nothing", "Wide", "Spell", "Mixed"]
ENTRIES = {name.lower(): name for name in NAMES}
X = np.array([[1, 2]], np.float32)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StepsPackage]:
    with steps_package(tmp_path, monkeypatch, "pipeline_test_steps") as made:
        yield made


def alone(step: str, datatype: str = "FP32", *shape: int, **options: object) -> Plain:
    return definition(
        [{"name": "s", "run": "c", "inputs": {"x": "inputs.x"}}],
        [output_of("y", "s.y", datatype, *shape)],
        components={"c": {"step": step, "options": options}},
    )


def test_a_step_is_made_with_its_options(package: StepsPackage) -> None:
    package.add(STEPS, ENTRIES)
    with surroundings() as around:
        assert runner_of(alone("scale@1"), around).run({"x": X})["y"].tolist() == [[2, 4]]
        scaled = runner_of(alone("scale@1", factor=3), around)
        assert scaled.run({"x": X})["y"].tolist() == [[3, 6]]
        assert scaled.steps()[0].component == "scale@1"


def test_versions_of_a_step_are_installed_beside_each_other(package: StepsPackage) -> None:
    package.add(STEPS, {"scale": "Scale"}, "steps-one")
    package.add(STEPS, {"scale": "Scale2"}, "steps-two")
    assert find_step("scale@1", {}).run({"x": X})["y"].tolist() == [[2, 4]]
    assert find_step("scale@2", {}).run({"x": X})["y"].tolist() == [[3, 5]]


def test_a_step_that_is_not_installed_is_refused_by_name(package: StepsPackage) -> None:
    package.add(STEPS, {"scale": "Scale"})
    with surroundings() as around, pytest.raises(NotFound) as error:
        runner_of(alone("shrink@1"), around)
    assert "the Python step shrink@1 is not installed; installed are: " in str(error.value)
    with pytest.raises(NotFound, match=r"scale@3 is not installed; installed are: scale@1 of "):
        find_step("scale@3", {})


def test_a_package_that_cannot_be_used_is_refused_with_its_entry_point(
    package: StepsPackage,
) -> None:
    package.add(
        STEPS, {"scale": "Scale", "gone": "Gone", "nostep": "NoStep", "loose": "make_unversioned"}
    )
    with pytest.raises(InvalidInput, match=r"'gone' cannot be imported from pipeline_test_steps"):
        find_step("gone@1", {})
    with pytest.raises(InvalidInput, match=r"nostep@1 \(pipeline_test_steps:NoStep\) cannot be"):
        find_step("nostep@1", {})
    with pytest.raises(InvalidInput, match=r"scale@1 .* with the options \['size'\]: TypeError"):
        find_step("scale@1", {"size": 3})
    with pytest.raises(NotFound, match="loose@1 is not installed; installed are: loose@None"):
        find_step("loose@1", {})


def failure(step: str, *form: object) -> FoglineError:
    with surroundings() as around, pytest.raises(FoglineError) as error:
        runner_of(alone(step, *form), around).run({"x": X})  # type: ignore[arg-type]
    return error.value


def test_what_a_step_refuses_reaches_the_caller(package: StepsPackage) -> None:
    package.add(STEPS, ENTRIES)
    error = failure("refuse@1")
    assert isinstance(error, InvalidInput)
    assert str(error) == "pipeline p@1, step 's': rows have to be sorted"


def test_a_step_that_breaks_is_at_fault_and_its_values_stay_inside(
    package: StepsPackage, caplog: pytest.LogCaptureFixture
) -> None:
    package.add(STEPS, ENTRIES)
    error = failure("break@1")
    assert type(error) is FoglineError
    assert str(error) == "pipeline p@1, step 's': the Python step break@1 failed (KeyError)"
    record = next(r for r in caplog.records if r.getMessage() == "python step failed")
    assert "pipeline_test_steps.py" in vars(record)["where"]
    assert "row [[" not in str(vars(record))


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("lists@1", "output 'y': expected an array, got list"),
        ("nothing@1", "output 'y': expected an array, got NoneType"),
        ("wide@1", "output 'y': expected FP32 [-1, 2], got FP32 [1, 3]"),
    ],
)
def test_what_a_step_gives_is_held_against_what_it_declares(
    package: StepsPackage, step: str, words: str
) -> None:
    package.add(STEPS, ENTRIES)
    error = failure(step)
    assert type(error) is FoglineError
    assert str(error).startswith("pipeline p@1, step 's': ")
    assert words in str(error)


def test_text_may_be_any_array_of_str(package: StepsPackage) -> None:
    package.add(STEPS, ENTRIES)
    with surroundings() as around:
        found = runner_of(alone("spell@1", "BYTES", -1), around).run({"x": X})
    assert found["y"].dtype == np.object_
    assert found["y"].tolist() == ["é", "b"]
    assert "an element is not str" in str(failure("mixed@1", "BYTES", -1))
