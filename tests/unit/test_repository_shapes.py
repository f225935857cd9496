"""A declaration held against the model's own tensors, and the shapes between them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.errors import InvalidInput
from fogline.schema import Field, Schema
from fogline_edge.serving.repository.config_file import parse_config
from fogline_edge.serving.repository.declaration import declare
from fogline_edge.serving.repository.runner import DeclaredRunner
from fogline_edge.serving.repository.shapes import Fitted, Reshape, fit


def field(name: str, shape: tuple[int, ...], datatype: str = "FP32") -> Field:
    return Field(name=name, datatype=datatype, shape=shape)


OWN = Schema(
    inputs=(field("x", (-1, 4)), field("n", (-1,), "INT64")),
    outputs=(field("label", (-1,), "INT64"), field("p", (-1, 3))),
)


def fitted(text: str, own: Schema = OWN, labels: Mapping[str, Any] | None = None) -> Fitted:
    declaration = declare(parse_config(text.encode(), "config.pbtxt"), "m")
    return fit(declaration, own, labels or {}, "model m@1")


INPUTS = """
input { name: "n" data_type: TYPE_INT64 dims: 1 reshape { shape: [ ] } }
input { name: "x" data_type: TYPE_FP32 dims: 4 }
"""
BOUND = "parameters {{ key: 'input_{}:x' value {{ string_value: '{}' }} }}\n"
OUTPUTS = """
output { name: "p" data_type: TYPE_FP32 dims: 3 }
"""


def test_clients_see_the_declared_shapes_and_only_declared_outputs() -> None:
    made = fitted("max_batch_size: 8" + INPUTS + OUTPUTS)
    assert [(f.name, f.shape) for f in made.schema.inputs] == [("n", (-1, 1)), ("x", (-1, 4))]
    assert [(f.name, f.shape) for f in made.schema.outputs] == [("p", (-1, 3))]
    assert made.reshape_inputs == {"n": Reshape(has_rows=True, source=(1,), target=())}
    assert made.max_rows == 8


def test_without_batching_dims_are_whole_shapes() -> None:
    made = fitted(
        "input { name: 'n' data_type: TYPE_INT64 dims: 2 }"
        "input { name: 'x' data_type: TYPE_FP32 dims: [ 2, 4 ] }"
    )
    assert [f.shape for f in made.schema.inputs] == [(2,), (2, 4)]
    assert made.max_rows is None


def test_without_tensors_the_models_own_are_served() -> None:
    assert fitted("max_batch_size: 8").schema == OWN
    assert fitted("").schema == OWN


def test_labels_and_bounds_go_to_their_fields() -> None:
    text = (
        "parameters { key: 'input_minimum:n' value { string_value: '0' } }"
        "parameters { key: 'input_maximum:n' value { string_value: '9' } }"
    )
    made = fitted(text, labels={"p": ("a", "b", "c")})
    n = made.schema.inputs[1]
    assert (n.minimum, n.maximum) == (0, 9)
    assert made.schema.outputs[1].labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input { name: 'x' data_type: TYPE_FP32 dims: [ -1, 4 ] }", r"inputs \['n'\] are not"),
        (INPUTS.replace("dims: 4", "dims: 5") + "max_batch_size: 1", r"declared \[-1,5\]"),
        (INPUTS.replace("FP32", "FP64") + "max_batch_size: 1", "declared FP64, the model's is"),
        (INPUTS.replace("'x'", "'z'").replace('"x"', '"z"') + "max_batch_size: 1", "are not decl"),
        (INPUTS + "max_batch_size: 1" + OUTPUTS.replace('"p"', '"q"'), "'q': the model has none"),
        ("max_batch_size: 1" + OUTPUTS * 2, "declared twice"),
        (INPUTS.replace("dims: 1", "dims: 2") + "max_batch_size: 1", "do not hold the same"),
        (BOUND.format("maximum", 1).replace(":x", ":z"), r"\['z'\]"),
        (
            BOUND.format("minimum", 2) + BOUND.format("maximum", 1),
            "minimum is above its maximum",
        ),
    ],
)
def test_what_does_not_agree_with_the_model_is_said(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        fitted(text)


def test_batching_needs_a_free_first_dimension() -> None:
    own = Schema(inputs=(field("x", (1, 4)),), outputs=(field("y", (1, 3)),))
    with pytest.raises(InvalidInput, match=r"first dimension of 'x'.* is not free; declare 0"):
        fitted("max_batch_size: 8", own)


def test_labels_need_not_be_as_many_as_classes() -> None:
    assert fitted("", labels={"p": ("a", "b")}).schema.outputs[1].labels == ("a", "b")


def test_a_dimension_of_one_is_added_for_a_model_without_batches() -> None:
    own = Schema(inputs=(field("data", (1, 3, 8, 8)),), outputs=(field("scores", (1, 10, 1, 1)),))
    made = fitted(
        "input { name: 'data' data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 8, 8 ]"
        "  reshape { shape: [ 1, 3, 8, 8 ] } }"
        "output { name: 'scores' data_type: TYPE_FP32 dims: [ 10 ]"
        "  reshape { shape: [ 1, 10, 1, 1 ] } }",
        own,
    )
    assert [f.shape for f in (*made.schema.inputs, *made.schema.outputs)] == [(3, 8, 8), (10,)]
    assert made.reshape_inputs["data"].apply((3, 8, 8)) == (1, 3, 8, 8)
    assert made.reshape_outputs["scores"].apply((1, 10, 1, 1)) == (10,)


class Twice:
    """A model that answers with what it got, doubled."""

    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()

    def __init__(self) -> None:
        self.got: dict[str, tuple[int, ...]] = {}

    def run(
        self,
        arrays: Mapping[str, Any],
        outputs: Sequence[str] | None = None,
        deadline_s: object = None,
        interrupt: object = None,
    ) -> dict[str, Any]:
        self.got = {name: array.shape for name, array in arrays.items()}
        return dict.fromkeys(outputs or (), arrays["x"] * 2)

    def close(self) -> None:
        self.got = {}


def test_arrays_are_reshaped_on_their_way_in_and_out() -> None:
    own = Schema(inputs=(field("x", (-1, 2, 2)),), outputs=(field("y", (-1, 2, 2)),))
    made = fitted(
        "max_batch_size: 3 "
        "input { name: 'x' data_type: TYPE_FP32 dims: 4 reshape { shape: [ 2, 2 ] } }"
        "output { name: 'y' data_type: TYPE_FP32 dims: 4 reshape { shape: [ 2, 2 ] } }",
        own,
    )
    inner = Twice()
    runner = DeclaredRunner(inner, made, "model m@1")
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    answer = runner.run({"x": x})
    assert inner.got == {"x": (3, 2, 2)}
    assert answer["y"].tolist() == (x * 2).tolist()
    with pytest.raises(InvalidInput, match="model m@1: 4 rows, at most 3"):
        runner.run({"x": np.zeros((4, 4), np.float32)})


dims = st.lists(st.sampled_from([-1, 1, 2, 3, 6]), max_size=5).map(tuple)


@given(dims, st.lists(st.integers(1, 5), min_size=6, max_size=6), st.booleans())
def test_a_reshape_and_its_reverse_are_each_others_end(
    source: tuple[int, ...], sizes: list[int], has_rows: bool
) -> None:
    parts = [d for d in source if d != -1]
    target = tuple(-1 if d == -1 else 1 for d in source) if not parts else source[::-1]
    if [d == -1 for d in target] != [d == -1 for d in source]:
        target = source
    there, back = Reshape(has_rows, source, target), Reshape(has_rows, target, source)
    shape = tuple(sizes[:has_rows]) + tuple(
        sizes[i] if d == -1 else d for i, d in enumerate(source)
    )
    assert back.apply(there.apply(shape)) == shape
