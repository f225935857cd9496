"""What a definition of a pipeline must be before anything is known of its components."""

import contextlib
import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.errors import FoglineError, InvalidInput, NotFound
from fogline.pipeline import (
    Pipeline,
    dependencies,
    index_steps,
    needed_steps,
    read_pipeline,
    topological_order,
)
from fogline.records import canonical_json, decode_json, to_plain
from tests.pipelines import Plain, definition, output_of, pipeline_of, step_of, tensor_of


@st.composite
def graphs(draw: st.DrawFn) -> Plain:
    """A legal pipeline: each step reads inputs, constants and steps before it; all are used."""
    count = draw(st.integers(1, 12))
    steps: list[Plain] = []
    for i in range(count):
        before = ["inputs.x", "constants.c", *(f"s{j}.y" for j in range(i))]
        names = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
        inputs: Plain = {name: draw(st.sampled_from(before)) for name in names}
        steps.append({"name": f"s{i}", "run": f"c{i}", "inputs": inputs})
    used = {ref for s in steps for ref in s["inputs"].values()}
    ends = [f"s{i}.y" for i in range(count) if f"s{i}.y" not in used]
    ends += [ref for ref in ("inputs.x", "constants.c") if ref not in used]
    outputs = [output_of(f"o{i}", ref) for i, ref in enumerate(ends)]
    return definition(
        draw(st.permutations(steps)),
        outputs,
        constants={"c": {"datatype": "FP32", "shape": [1, 2], "values": [0.5, 2.0]}},
    )


@given(graphs())
def test_graphs_whose_steps_read_only_what_is_before_them_are_accepted(plain: Plain) -> None:
    pipeline = pipeline_of(plain)
    steps = index_steps(pipeline.steps)
    order = topological_order(steps)
    assert sorted(order) == sorted(steps)
    for i, name in enumerate(order):
        assert dependencies(steps[name]) <= set(order[:i])
    assert needed_steps((o.source for o in pipeline.outputs), steps) == set(steps)


@given(graphs())
def test_a_definition_reads_back_as_it_was_written(plain: Plain) -> None:
    pipeline = pipeline_of(plain)
    data = canonical_json(to_plain(pipeline))
    assert decode_json(data, Pipeline, "pipeline") == pipeline


@given(graphs(), st.data())
def test_an_edge_back_is_refused_as_a_cycle_with_its_steps(
    plain: Plain, data: st.DataObject
) -> None:
    steps = index_steps(pipeline_of(plain).steps)
    order = topological_order(steps)
    late = data.draw(st.sampled_from(order))
    early = data.draw(st.sampled_from(sorted(needed_steps([f"{late}.y"], steps))))
    for step in plain["steps"]:
        if step["name"] == early:
            step["inputs"]["back"] = f"{late}.y"
    with pytest.raises(InvalidInput, match="wait for each other") as refused:
        pipeline_of(plain)
    assert early in str(refused.value)
    assert late in str(refused.value)


@given(graphs(), st.data())
def test_a_tensor_that_nobody_gives_is_refused_by_name(plain: Plain, data: st.DataObject) -> None:
    step = data.draw(st.sampled_from(plain["steps"]))
    ref = data.draw(st.sampled_from(["inputs.z", "constants.z", "nobody.y"]))
    step["inputs"]["more"] = ref
    with pytest.raises(InvalidInput) as refused:
        pipeline_of(plain)
    assert f"step {step['name']!r}: no tensor {ref!r}" in str(refused.value)


@given(graphs(), st.data())
def test_two_producers_of_one_tensor_are_refused(plain: Plain, data: st.DataObject) -> None:
    step = data.draw(st.sampled_from(plain["steps"]))
    plain["steps"].append(copy.deepcopy(step))
    with pytest.raises(InvalidInput, match=f"two steps are named '{step['name']}'"):
        pipeline_of(plain)


@given(graphs())
def test_a_step_that_no_output_depends_on_is_refused(plain: Plain) -> None:
    plain["steps"].append({"name": "idle", "run": "c0", "inputs": {"x": "inputs.x"}})
    with pytest.raises(InvalidInput, match="step 'idle': no output depends on it"):
        pipeline_of(plain)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(graphs(), st.data())
def test_whatever_is_written_is_a_pipeline_or_refused(plain: Plain, data: st.DataObject) -> None:
    at: Any = plain
    while isinstance(at, dict | list) and at:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if data.draw(st.booleans()) or not isinstance(at[key], dict | list) or not at[key]:
            at[key] = data.draw(JSON)
            break
        at = at[key]
    with contextlib.suppress(FoglineError):
        decode_json(msgspec.json.encode(plain), Pipeline, "pipeline")


BASE = definition([step_of("a", {"x": "inputs.x"})], [output_of("y", "a.y")])


def refused(**changes: Any) -> str:
    with pytest.raises(InvalidInput) as error:
        pipeline_of({**BASE, **changes})
    return str(error.value)


def test_every_part_must_be_used() -> None:
    assert "input 'z': no step uses it" in refused(inputs=[tensor_of("x"), tensor_of("z")])
    assert "component 'b': no step uses it" in refused(
        components={"a": {"model": "a"}, "b": {"model": "b"}}
    )
    constant = {"datatype": "FP32", "shape": [], "values": [1]}
    assert "constant 'c': no step uses it" in refused(constants={"c": constant})


def test_a_step_needs_a_component_that_is_there() -> None:
    steps = [{"name": "a", "run": "z", "inputs": {"x": "inputs.x"}}]
    assert "step 'a': no component 'z'; there are: a" in refused(steps=steps)


def test_a_tensor_without_its_producer_is_explained() -> None:
    assert "'x' is no tensor's name; write inputs.NAME" in refused(steps=[step_of("a", {"x": "x"})])


def test_a_step_cannot_take_the_name_of_what_is_no_step() -> None:
    steps = [{"name": "inputs", "run": "a", "inputs": {"x": "inputs.x"}}]
    assert "cannot be named 'inputs'" in refused(steps=steps, outputs=[output_of("y", "inputs.y")])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"when": {"tensor": "inputs.x", "measure": "max", "below": 0.5}},
            "a.y may all be missing",
        ),
        ({"optional": True}, "a.y may all be missing"),
        ({"unless": ["b"]}, "a.y may all be missing"),
    ],
)
def test_an_output_that_may_be_missing_is_refused(more: Plain, words: str) -> None:
    steps = [step_of("a", {"x": "inputs.x"}, **more), step_of("b", {"x": "inputs.x"})]
    outputs = [output_of("y", "a.y"), output_of("z", "b.y")]
    with pytest.raises(InvalidInput, match=words):
        pipeline_of(definition(steps, outputs))


WHEN = {"tensor": "inputs.x", "measure": "max", "below": 0.5}


@pytest.mark.parametrize(
    ("steps", "source"),
    [
        (
            [
                step_of("a", {"x": "inputs.x"}),
                step_of("b", {"x": "inputs.x"}, when=WHEN),
            ],
            ["b.y", "a.y"],
        ),
        (
            [
                step_of("a", {"x": "inputs.x"}, when=WHEN),
                step_of("b", {"x": "inputs.x"}, unless=["a"]),
            ],
            ["a.y", "b.y"],
        ),
        (
            [
                step_of("a", {"x": "inputs.x"}, when=WHEN),
                step_of("c", {"x": "inputs.x"}, when=WHEN, unless=["a"]),
                step_of("b", {"x": "inputs.x"}, unless=["a", "c"]),
            ],
            ["a.y", "c.y", "b.y"],
        ),
        ([step_of("a", {"x": "inputs.x"}, optional=True)], ["a.y", "inputs.x"]),
    ],
)
def test_a_choice_is_whole_when_one_is_always_there_or_steps_in(
    steps: list[Plain], source: list[str]
) -> None:
    assert pipeline_of(definition(steps, [output_of("y", source)]))


def test_a_step_that_steps_in_for_one_that_is_not_listed_does_not_make_a_choice_whole() -> None:
    steps = [
        step_of("a", {"x": "inputs.x"}, when=WHEN),
        step_of("b", {"x": "inputs.x"}, unless=["a"]),
        step_of("c", {"x": "inputs.x"}, when=WHEN),
    ]
    outputs = [output_of("y", ["c.y", "b.y"]), output_of("z", ["a.y", "inputs.x"])]
    with pytest.raises(InvalidInput, match=r"output 'y': c.y, b.y may all be missing"):
        pipeline_of(definition(steps, outputs))


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ({"tensor": "inputs.x"}, "a condition has"),
        ({"tensor": "inputs.x", "below": 1, "one_of": [1]}, "a condition has"),
        ({"tensor": "inputs.x", "measure": "max", "one_of": [1]}, "not their max"),
        ({"tensor": "inputs.x", "one_of": [1, "a"]}, "mixes types"),
    ],
)
def test_a_condition_that_says_nothing_or_too_much_is_refused(when: Plain, words: str) -> None:
    assert words in refused(steps=[step_of("a", {"x": "inputs.x"}, when=when)])


@pytest.mark.parametrize(
    ("constant", "words"),
    [
        ({"datatype": "FP8", "shape": [], "values": [1]}, "no datatype 'FP8'"),
        ({"datatype": "INT8", "shape": [2], "values": [1]}, "holds 2 values, not 1"),
        ({"datatype": "INT8", "shape": [1], "values": [128]}, "value 0 is no INT8"),
        ({"datatype": "UINT8", "shape": [1], "values": [-1]}, "value 0 is no UINT8"),
        ({"datatype": "BYTES", "shape": [1], "values": [1]}, "value 0 is no BYTES"),
        ({"datatype": "BOOL", "shape": [1], "values": [1]}, "value 0 is no BOOL"),
        ({"datatype": "FP32", "shape": [1], "values": [True]}, "value 0 is no FP32"),
        ({"datatype": "FP32", "shape": [2], "values": [1, 1e39]}, "value 1 is no FP32"),
        ({"datatype": "FP16", "shape": [1], "values": [70000]}, "value 0 is no FP16"),
    ],
)
def test_a_constant_holds_exactly_what_it_says(constant: Plain, words: str) -> None:
    assert words in refused(constants={"c": constant})


@pytest.mark.parametrize(
    ("component", "words"),
    [
        ({}, "either a `model` or a Python `step`"),
        ({"model": "a", "step": "b@1"}, "either a `model` or a Python `step`"),
        ({"model": "a@latest"}, "model 'a@latest': write NAME, or NAME@3"),
        ({"step": "b"}, "step 'b': write NAME@1"),
        ({"model": "a", "options": {"k": 1}}, "only a Python step takes options"),
        ({"step": "b@1", "path": "b.py"}, "installed on the device"),
        ({"model": "a", "visible": True}, "`visible` is for what `path` brings"),
    ],
)
def test_a_component_is_one_thing(component: Plain, words: str) -> None:
    assert words in refused(components={"a": component})


TOML = """
name = "cascade"

[[inputs]]
name = "x"
datatype = "FP32"
shape = [-1, 4]

[[outputs]]
name = "label"
datatype = "INT64"
shape = [-1]
from = ["big.label", "small.label"]

[components]
small = { model = "small", path = "small.onnx" }
big = { model = "big@2" }

[[steps]]
name = "small"
run = "small"
inputs = { x = "inputs.x" }

[[steps]]
name = "big"
run = "big"
inputs = { x = "inputs.x" }
when = { tensor = "small.probabilities", measure = "max", below = 0.9 }
"""


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"model": "m", "path": "1"}, {"model": "m@1", "path": "2"},
         "components 'a' and 'b' bring model m@1 from '1' and from '2'"),
        ({"model": "m", "path": "1", "visible": True}, {"model": "m@2", "path": "2"},
         "components 'a' and 'b' bring model m, and only one of them says `visible`"),
        ({"model": "p", "path": "1"}, {"model": "m"},
         "component 'a': its model has the pipeline's own name 'p'"),
    ],
)  # fmt: skip
def test_components_never_bring_two_models_of_one_name(
    first: Plain, second: Plain, words: str
) -> None:
    steps = [step_of("a", {"x": "inputs.x"}), step_of("b", {"x": "a.y"})]
    plain = definition(steps, [output_of("y", "b.y")], components={"a": first, "b": second})
    with pytest.raises(InvalidInput, match=words):
        pipeline_of(plain)


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "pipeline.toml").write_text(TOML)
    pipeline = read_pipeline(tmp_path)
    file = tmp_path / "other.json"
    file.write_bytes(canonical_json(to_plain(pipeline)))
    assert read_pipeline(file) == pipeline
    assert pipeline.steps[1].when is not None


def test_a_file_that_is_no_definition_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no pipeline.toml or pipeline.json"):
        read_pipeline(tmp_path)
    file = tmp_path / "pipeline.toml"
    file.write_text(TOML + "colour = 1\n")
    with pytest.raises(InvalidInput, match=r"pipeline.toml: .*colour"):
        read_pipeline(tmp_path)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match=r"pipeline.toml"):
        read_pipeline(tmp_path)
    (tmp_path / "pipeline.json").write_text("{}")
    with pytest.raises(InvalidInput, match="keep one of them"):
        read_pipeline(tmp_path)
    with pytest.raises(InvalidInput, match=r"defined in a .toml or .json file"):
        read_pipeline(tmp_path / "model.onnx")
    with pytest.raises(NotFound, match="no such file"):
        read_pipeline(tmp_path / "nothing.toml")
