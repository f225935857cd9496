"""The examples in the docstrings, and what the parent of a conversion imports."""

import doctest
import subprocess
import sys

import pytest

from fogline_hub.cli import convert as command
from fogline_hub.convert import parity, served
from fogline_hub.optimize import quality


@pytest.mark.parametrize("module", [command, parity, quality, served])
def test_examples_hold(module: object) -> None:
    done = doctest.testmod(module)  # type: ignore[arg-type]
    assert done.attempted
    assert not done.failed


def test_a_hub_that_converts_loads_no_framework_into_its_own_process() -> None:
    code = (
        "import sys, fogline_hub.convert, fogline_hub.optimize; "
        "heavy = {'onnx', 'onnxruntime', 'sklearn', 'skl2onnx', 'pyarrow', 'joblib'}; "
        "sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
