"""Every statistical module's examples give exactly what they say."""

import doctest
import importlib
import pkgutil

import pytest

import fogline_hub.monitor
import fogline_hub.statistics

MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (fogline_hub.statistics, fogline_hub.monitor)
    for module in pkgutil.iter_modules(package.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
