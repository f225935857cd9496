"""`fogline pipeline check`: what a definition is, and what can be seen of its components."""

import json
from pathlib import Path
from typing import Any

import pytest

from fogline.cli import main
from tests.models import save_constant, save_identity

DEFINITION = """
name = "two"
[[inputs]]
name = "x"
datatype = "FP32"
shape = [-1, 2]
[[outputs]]
name = "y"
datatype = "FP32"
shape = [-1, 2]
from = "b.y"
[components]
a = { model = "a", path = "a.onnx" }
b = { model = "b@4", path = "b.onnx" }
[[steps]]
name = "b"
run = "b"
inputs = { x = "a.y" }
[[steps]]
name = "a"
run = "a"
inputs = { x = "inputs.x" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.toml").write_text(DEFINITION)
    save_constant(tmp_path / "a.onnx", 1)
    save_constant(tmp_path / "b.onnx", 2)
    return tmp_path


def report(folder: Path, capsys: pytest.CaptureFixture[str], code: int) -> dict[str, Any]:
    assert main(["pipeline", "check", str(folder), "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_definition_whose_models_fit_passes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(folder, capsys, 0)
    assert (found["pipeline"], found["problem"], found["steps"]) == ("two", "", ["a", "b"])
    assert [c["state"] for c in found["components"]] == ["there", "there"]


def test_models_that_do_not_fit_are_told_with_their_steps(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_identity(folder / "b.onnx", "FP32", (None, 3))
    assert "step 'b', input 'x': expected FP32 [-1, 3]" in report(folder, capsys, 1)["problem"]
    assert main(["pipeline", "check", str(folder)]) == 1
    assert "two: cannot be served: step 'b'" in capsys.readouterr().out


def test_what_is_missing_is_told_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "b.onnx").unlink()
    assert "component 'b': " in report(folder, capsys, 1)["problem"]
    text = DEFINITION.replace('model = "b@4", path = "b.onnx"', 'step = "shrink@1"')
    (folder / "pipeline.toml").write_text(text)
    problem = report(folder, capsys, 1)["problem"]
    assert "component 'b': the Python step shrink@1 is not installed" in problem


def test_models_of_a_device_are_not_looked_at(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pipeline.toml").write_text(DEFINITION.replace(', path = "b.onnx"', ""))
    states = {c["part"]: c["state"] for c in report(folder, capsys, 0)["components"]}
    assert states == {"a": "there", "b": "not looked at"}


def test_what_is_no_definition_is_invalid_input(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pipeline.toml").write_text(DEFINITION.replace("inputs.x", "a.y"))
    assert main(["pipeline", "check", str(folder)]) == 2
    assert "the steps a -> a wait for each other" in capsys.readouterr().err
    (folder / "pipeline.toml").write_text(DEFINITION.replace('"a.onnx"', '"../a.onnx"'))
    assert "leads out of" in report(folder, capsys, 1)["problem"]
