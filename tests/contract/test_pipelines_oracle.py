"""Random pipelines on real sessions give each row what it would get if it came alone.

The oracle is a few lines: it takes one row through the graph, step by step, with sets and sums.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fogline.tensors import Array
from fogline_edge.serving.pipelines import Surroundings
from tests.models import save_graph, tensor
from tests.pipeline_runners import counts_of, runner_of, surroundings
from tests.pipelines import Plain, definition, output_of

MODELS = (0, 1, 5)
"""What each model adds; all is in small whole numbers, so that sums are exact."""


def save_sum(path: Path, plus: int) -> Path:
    """`y = a + b + plus` for FP32 [-1, 2]."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Add", ["sum", "plus"], ["y"]),
    ]
    constant = helper.make_tensor("plus", TensorProto.FLOAT, [], [plus])
    inputs = [tensor("a", "FP32", (None, 2)), tensor("b", "FP32", (None, 2))]
    return save_graph(path, nodes, inputs, [tensor("y", "FP32", (None, 2))], [constant])


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    folder = tmp_path_factory.mktemp("sums")
    with surroundings(*(save_sum(folder / f"m{n}.onnx", n) for n in MODELS)) as made:
        yield made


@st.composite
def pipelines(draw: st.DrawFn) -> Plain:
    steps: list[Plain] = []
    for i in range(draw(st.integers(1, 7))):
        before = ["inputs.x", *(f"s{j}.y" for j in range(i))]
        ref = st.sampled_from(before)
        choice = st.lists(ref, min_size=1, max_size=3, unique=True)
        step: Plain = {
            "name": f"s{i}",
            "run": f"m{draw(st.sampled_from(MODELS))}",
            "inputs": {"a": draw(choice), "b": draw(choice)},
        }
        if draw(st.booleans()):
            bound = draw(st.integers(-20, 20)) + 0.5
            kind = draw(st.sampled_from(["below", "at_least"]))
            measure = draw(st.sampled_from(["max", "min", "margin"]))
            step["when"] = {"tensor": draw(ref), "measure": measure, kind: bound}
        if i and draw(st.booleans()):
            others = st.sampled_from([f"s{j}" for j in range(i)])
            step["unless"] = draw(st.lists(others, min_size=1, max_size=2, unique=True))
        steps.append(step)
    outputs = [output_of(f"o{i}", [f"s{i}.y", "inputs.x"]) for i in range(len(steps))]
    return definition(draw(st.permutations(steps)), outputs)


@st.composite
def requests(draw: st.DrawFn) -> Array:
    count = draw(st.integers(0, 8))
    numbers = st.integers(-12, 12)
    rows = draw(st.lists(st.tuples(numbers, numbers), min_size=count, max_size=count))
    return np.array(rows, np.float32).reshape(-1, 2)


def alone(plain: Plain, row: Array) -> dict[str, Array]:
    """What each step gives for one row; those that do not run are left out."""
    found = {"inputs.x": row}
    for step in sorted(plain["steps"], key=lambda s: s["name"]):
        if not holds(step.get("when"), found):
            continue
        if any(f"{other}.y" in found for other in step.get("unless", ())):
            continue
        firsts = [
            next((found[r] for r in refs if r in found), None) for refs in step["inputs"].values()
        ]
        if firsts[0] is not None and firsts[1] is not None:
            found[f"{step['name']}.y"] = firsts[0] + firsts[1] + int(step["run"][1:])
    return found


def holds(when: Any, found: dict[str, Array]) -> bool:
    if when is None:
        return True
    if when["tensor"] not in found:
        return False
    value = found[when["tensor"]]
    measures = {"max": value.max(), "min": value.min(), "margin": value.max() - value.min()}
    measured = measures[when["measure"]]
    return bool(measured < when["below"] if "below" in when else measured >= when["at_least"])


@given(pipelines(), requests())
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_each_row_gets_what_it_would_get_alone(
    around: Surroundings, plain: Plain, rows: Array
) -> None:
    runner = runner_of(plain, around)
    found = runner.run({"x": rows})
    expected = [alone(plain, row) for row in rows]
    for step in plain["steps"]:
        ref, output = f"{step['name']}.y", f"o{step['name'][1:]}"
        wanted = [e.get(ref, row) for e, row in zip(expected, rows, strict=True)]
        assert found[output].tolist() == [w.tolist() for w in wanted]
        if len(rows):
            assert counts_of(runner, step["name"]).rows == sum(ref in e for e in expected)
    assert not any(entry.in_flight for entry in around.models.entries())


@given(pipelines(), requests(), st.data())
@settings(max_examples=50, deadline=None)
def test_a_few_wanted_outputs_are_those_of_the_whole(
    around: Surroundings, plain: Plain, rows: Array, data: st.DataObject
) -> None:
    runner = runner_of(plain, around)
    names = [o["name"] for o in plain["outputs"]]
    wanted = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    some, whole = runner.run({"x": rows}, wanted), runner.run({"x": rows})
    assert list(some) == wanted
    assert all(np.array_equal(some[name], whole[name]) for name in wanted)
