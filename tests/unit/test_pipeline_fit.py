"""Whether components of a pipeline fit together: names, datatypes, ranks, fixed dimensions."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.pipeline import pipeline_misfit
from fogline.records import convert
from fogline.schema import Schema
from fogline.tensors import DATATYPES
from tests.pipelines import Plain, definition, output_of, pipeline_of, step_of, tensor_of

FORMS = st.tuples(
    st.sampled_from(sorted(DATATYPES)), st.lists(st.integers(1, 9), min_size=1, max_size=3)
)


def schema(inputs: list[Plain], outputs: list[Plain]) -> Schema:
    return convert({"inputs": inputs, "outputs": outputs}, Schema, "schema")


@st.composite
def fitting(draw: st.DrawFn) -> tuple[Plain, dict[str, Plain]]:
    """A chain with side inputs, and what its components take and give; dimensions may be free."""
    forms = [draw(FORMS) for _ in range(draw(st.integers(2, 6)))]
    steps, interfaces, given_by = [], {}, {"inputs.x": forms[0]}
    for i, form in enumerate(forms[1:]):
        refs = draw(st.lists(st.sampled_from(sorted(given_by)), max_size=2, unique=True))
        refs = list(dict.fromkeys([list(given_by)[-1], *refs]))
        takes = [tensor_of(f"t{j}", *freed(draw, given_by[ref])) for j, ref in enumerate(refs)]
        steps.append(step_of(f"s{i}", {f"t{j}": ref for j, ref in enumerate(refs)}))
        interfaces[f"s{i}"] = {"inputs": takes, "outputs": [tensor_of("y", form[0], *form[1])]}
        given_by[f"s{i}.y"] = form
    outputs = [output_of("y", list(given_by)[-1], *freed(draw, forms[-1]))]
    plain = definition(steps, outputs, inputs=[tensor_of("x", forms[0][0], *forms[0][1])])
    return plain, interfaces


def freed(draw: st.DrawFn, form: tuple[str, list[int]]) -> Any:
    return form[0], *(draw(st.sampled_from([-1, dim])) for dim in form[1])


def misfit(plain: Plain, interfaces: dict[str, Plain]) -> str:
    schemas = {key: convert(value, Schema, key) for key, value in interfaces.items()}
    return pipeline_misfit(pipeline_of(plain), schemas)


@given(fitting())
def test_what_declares_the_same_forms_fits(case: tuple[Plain, dict[str, Plain]]) -> None:
    assert misfit(*case) == ""


@given(fitting(), st.data())
def test_another_datatype_rank_or_dimension_is_refused_with_step_and_tensor(
    case: tuple[Plain, dict[str, Plain]], data: st.DataObject
) -> None:
    plain, interfaces = copy.deepcopy(case)
    key = data.draw(st.sampled_from(sorted(interfaces)))
    tensor = data.draw(st.sampled_from(interfaces[key]["inputs"]))
    change = data.draw(st.sampled_from(["datatype", "rank", "dimension"]))
    if change == "datatype":
        other = sorted(set(DATATYPES) - {tensor["datatype"]})
        tensor["datatype"] = data.draw(st.sampled_from(other))
    elif change == "rank":
        tensor["shape"] = [*tensor["shape"], -1]
    else:
        tensor["shape"] = [10, *tensor["shape"][1:]]  # no form has a 10
    found = misfit(plain, interfaces)
    assert found.startswith(
        f"step {key!r}, input {tensor['name']!r}: expected {tensor['datatype']}"
    )


X = tensor_of("x")
Y = tensor_of("y")
ONE = schema([X], [Y])
BASE = definition([step_of("a", {"x": "inputs.x"})], [output_of("y", "a.y")])


def test_inputs_of_other_names_are_refused_with_both_lists() -> None:
    found = pipeline_misfit(pipeline_of(BASE), {"a": schema([X, tensor_of("z")], [Y])})
    assert found == "step 'a': a takes 'x', 'z', the step gives it 'x'"


def test_an_output_that_a_component_does_not_give_is_refused() -> None:
    found = pipeline_misfit(pipeline_of(BASE), {"a": schema([X], [tensor_of("label")])})
    assert found == "output 'y': no tensor 'a.y': a gives 'label'"


def test_a_missing_component_is_refused_unless_its_step_is_optional() -> None:
    assert pipeline_misfit(pipeline_of(BASE), {}) == ("step 'a': its component 'a' is not there")
    steps = [step_of("a", {"x": "inputs.x"}, optional=True)]
    plain = definition(steps, [output_of("y", ["a.y", "inputs.x"])])
    assert pipeline_misfit(pipeline_of(plain), {}) == ""


def test_an_output_of_unknown_rank_may_be_anything() -> None:
    given_unknown = schema([X], [{"name": "y", "datatype": "FP32", "shape": []}])
    assert pipeline_misfit(pipeline_of(BASE), {"a": given_unknown}) == ""


def test_every_alternative_has_to_fit() -> None:
    when = {"tensor": "a.y", "measure": "max", "below": 0.5}
    steps = [step_of("a", {"x": "inputs.x"}), step_of("b", {"x": "inputs.x"}, when=when)]
    plain = definition(steps, [output_of("y", ["b.y", "a.y"])])
    wide = schema([X], [tensor_of("y", "FP32", -1, 3)])
    found = pipeline_misfit(pipeline_of(plain), {"a": ONE, "b": wide})
    assert found == "output 'y': expected FP32 [-1, 2], got 'b.y' of FP32 [-1, 3]"


def cascade(when: Plain, outputs: list[Plain], b: Schema | None = None) -> str:
    steps = [step_of("a", {"x": "inputs.x"}), step_of("b", {"x": "inputs.x"}, when=when)]
    plain = definition(steps, [output_of("y", ["b.y", "inputs.x"]), output_of("z", "a.y")])
    plain["outputs"][1].update(datatype=outputs[0]["datatype"], shape=outputs[0]["shape"])
    return pipeline_misfit(pipeline_of(plain), {"a": schema([X], outputs), "b": b or ONE})


@pytest.mark.parametrize(
    ("when", "output", "words"),
    [
        ({"below": 0.5}, tensor_of("y", "FP32", -1, 3), "has no single value a row"),
        ({"below": 0.5}, tensor_of("y", "BYTES", -1), "not above or below anything"),
        ({"one_of": ["cat"]}, tensor_of("y", "INT64", -1), "no INT64"),
        ({"one_of": [1]}, tensor_of("y", "BYTES", -1), "no BYTES"),
        ({"measure": "max", "below": 0.5}, tensor_of("y", "FP32", -1), "no max of each row"),
        ({"measure": "margin", "below": 1}, tensor_of("y", "FP32", -1, 2, 2), "no margin"),
        ({"below": 0.5}, tensor_of("y", "FP32", -1, 1), ""),
        ({"one_of": ["cat"]}, tensor_of("y", "BYTES", -1), ""),
        ({"one_of": [True]}, tensor_of("y", "BOOL", -1), ""),
        ({"measure": "max", "below": 0.5}, tensor_of("y", "FP32", -1, 3), ""),
    ],
)
def test_a_condition_has_to_suit_its_tensor(when: Plain, output: Plain, words: str) -> None:
    found = cascade({"tensor": "a.y", **when}, [output])
    assert words in found
    assert bool(found) == bool(words)


def test_a_condition_on_a_tensor_that_is_not_given_is_refused() -> None:
    found = cascade({"tensor": "a.other", "below": 1}, [tensor_of("y", "FP32", -1)])
    assert found == "step 'b', its condition: no tensor 'a.other': a gives 'y'"


def test_a_fixed_number_of_rows_cannot_be_routed_row_by_row() -> None:
    fixed = schema([tensor_of("x", "FP32", 4, 2)], [tensor_of("y", "FP32", 4, 2)])
    when = {"tensor": "a.y", "measure": "max", "below": 0.5}
    found = cascade(when, [tensor_of("y", "FP32", -1, 2)], fixed)
    assert "step 'b', input 'x': it runs on some rows of a request" in found
    assert cascade({**when, "by": "any"}, [tensor_of("y", "FP32", -1, 2)], fixed) == ""
