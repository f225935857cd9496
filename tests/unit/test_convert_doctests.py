"""The examples in the docstrings of conversion and optimisation."""

import doctest

import pytest

from fogline_hub.cli import convert as command
from fogline_hub.convert import parity, served
from fogline_hub.optimize import quality


@pytest.mark.parametrize("module", [command, parity, quality, served])
def test_examples_hold(module: object) -> None:
    done = doctest.testmod(module)  # type: ignore[arg-type]
    assert done.attempted
    assert not done.failed
