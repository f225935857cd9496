"""The examples in docstrings give exactly what they say."""

import doctest
import importlib

import pytest

MODULES = ("labels", "confusion", "numeric", "reference")


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"fogline.summaries.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
