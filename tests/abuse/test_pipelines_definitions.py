"""Definitions that are as large as their bounds allow, or made to be slow, are read or refused."""

import json
import time
from typing import Any

import pytest

from fogline.errors import Corrupt, FoglineError
from fogline.pipeline import Pipeline
from fogline.records import decode_json
from tests.pipelines import Plain, definition, output_of

CPU_S = 20.0
"""Far more than any of these takes."""


def read(plain: Plain) -> Pipeline:
    """Decodes as from a bundle, within the ceiling."""
    began = time.process_time()
    try:
        return decode_json(json.dumps(plain).encode(), Pipeline, "pipeline.json")
    finally:
        assert time.process_time() - began < CPU_S


def step(name: str, inputs: dict[str, Any], **more: Any) -> Plain:
    return {"name": name, "run": "c", "inputs": inputs, **more}


PARTS = {"c": {"model": "c"}}


def test_as_many_steps_inputs_and_alternatives_as_there_may_be() -> None:
    steps = []
    for i in range(256):
        refs = [f"s{j}.y" for j in range(max(0, i - 16), i)] or ["inputs.x"]
        inputs = {f"t{k}": refs for k in range(64)}
        steps.append(step(f"s{i}", {**inputs, "x": "inputs.x"}))
    assert read(definition(steps, [output_of("y", "s255.y")], components=PARTS))


def test_choices_that_depend_on_choices_are_looked_at_once() -> None:
    when = {"tensor": "inputs.x", "measure": "max", "below": 0.5}
    steps: list[Plain] = []
    source: Any = "inputs.x"
    for i in range(120):
        inputs = {f"t{k}": source for k in range(16)}
        steps += [step(f"a{i}", inputs, when=when), step(f"b{i}", inputs, unless=[f"a{i}"])]
        source = [f"a{i}.y", f"b{i}.y"]
    assert read(definition(steps, [output_of("y", source)], components=PARTS))


def test_a_cycle_through_all_steps_is_refused_in_few_words() -> None:
    steps = [step(f"s{i}", {"x": f"s{(i + 1) % 256}.y", "z": "inputs.x"}) for i in range(256)]
    with pytest.raises(Corrupt, match="wait for each other") as error:
        read(definition(steps, [output_of("y", "s0.y")], components=PARTS))
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": [step(f"s{i}", {"x": "inputs.x"}) for i in range(257)]},
        {"constants": {"c": {"datatype": "INT8", "shape": [2**16, 2**16], "values": []}}},
        {"constants": {"c": {"datatype": "BYTES", "shape": [3], "values": ["x" * 500_000] * 3}}},
        {"constants": {"c": {"datatype": "INT64", "shape": [1], "values": [2**70]}}},
        {"inputs": []},
        {"name": "../p"},
        {"components": {"c": {"model": "c" * 100}}},
        {"outputs": [output_of("y", ["s.y"] * 17)]},
    ],
)
def test_what_is_beyond_a_bound_is_refused(changes: Plain) -> None:
    plain = definition([step("s", {"x": "inputs.x"})], [output_of("y", "s.y")], components=PARTS)
    if "constants" in changes:
        plain["steps"][0]["inputs"]["z"] = "constants.c"
    with pytest.raises(FoglineError) as error:
        read({**plain, **changes})
    assert len(str(error.value)) < 2000
