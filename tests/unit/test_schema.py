from typing import Any

import numpy as np
import pytest

from fogline.errors import InvalidInput
from fogline.records import canonical_json, convert, decode_json
from fogline.schema import Field, Schema, check_inputs, column_names, columns_of
from fogline.tensors import DATATYPES


def field(name: str, shape: tuple[int, ...], datatype: str = "FP32") -> Field:
    return Field(name=name, datatype=datatype, shape=shape)


SCHEMA = Schema(
    inputs=(field("x", (-1, 3)), field("n", (-1,), "INT64"), field("k", (2,), "BOOL")),
    outputs=(field("y", (-1, 1)),),
)


def arrays(rows: int = 4) -> dict[str, np.ndarray]:
    return {
        "x": np.zeros((rows, 3), np.float32),
        "n": np.zeros(rows, np.int64),
        "k": np.zeros(2, np.bool_),
    }


def test_rows_are_the_free_first_dimension() -> None:
    assert check_inputs(SCHEMA, arrays(4)) == 4
    assert check_inputs(SCHEMA, arrays(0)) == 0


def test_without_a_free_dimension_rows_are_the_fixed_batch_or_one() -> None:
    fixed = Schema(inputs=(field("x", (2, 3)),), outputs=())
    assert check_inputs(fixed, {"x": np.zeros((2, 3), np.float32)}) == 2
    scalar = Schema(inputs=(field("x", ()),), outputs=())
    assert check_inputs(scalar, {"x": np.zeros((), np.float32)}) == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"x": np.zeros((4, 3))}, r"m@1, input 'x': expected FP32 \[-1,3\], got FP64 \[4,3\]"),
        ({"x": np.zeros((4, 2), np.float32)}, r"got FP32 \[4,2\]"),
        ({"x": np.zeros(4, np.float32)}, r"got FP32 \[4\]"),
        ({"n": np.zeros(3, np.int64)}, "expected 4 rows as in the inputs before it, got 3"),
        ({"k": np.zeros(3, np.bool_)}, r"expected BOOL \[2\], got BOOL \[3\]"),
        ({"z": np.zeros(3)}, "expected the inputs 'x', 'n', 'k': unknown 'z'"),
    ],
)
def test_a_mismatch_names_model_tensor_expected_and_got(
    change: dict[str, np.ndarray], text: str
) -> None:
    with pytest.raises(InvalidInput, match=text):
        check_inputs(SCHEMA, arrays() | change, "m@1")


def test_a_missing_input_is_named() -> None:
    given = arrays()
    del given["n"]
    with pytest.raises(InvalidInput, match="missing 'n'"):
        check_inputs(SCHEMA, given)


def test_columns_have_the_names_that_the_schema_promises() -> None:
    wide = np.arange(6, dtype=np.float32).reshape(2, 3)
    named = Field(name="x", datatype="FP32", shape=(-1, 3), columns=("a", "b", "c"))
    cases = [
        (field("x", (-1, 3)), wide, ("x[0]", "x[1]", "x[2]")),
        (named, wide, ("a", "b", "c")),
        (field("x", (-1,)), wide[:, 0], ("x",)),
        (field("x", (-1, 1)), wide[:, :1], ("x",)),
    ]
    for of, array, names in cases:
        got = list(columns_of(of, array))
        assert tuple(n for n, _ in got) == names == column_names(of)
        for i, (_, values) in enumerate(got):
            assert values.tolist() == wide[:, i].tolist()
    assert list(columns_of(field("x", (-1, 2, 2)), np.zeros((3, 2, 2)))) == []


def test_a_schema_survives_json() -> None:
    assert decode_json(canonical_json(SCHEMA), Schema, "schema") == SCHEMA


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"name": "x", "datatype": "BF16", "shape": [1]}, "no datatype 'BF16'"),
        ({"name": "x", "datatype": "FP32", "shape": [-2]}, ">= -1"),
        ({"name": "", "datatype": "FP32", "shape": []}, "length >= 1"),
        ({"name": "x", "datatype": "FP32", "shape": [-1, 3], "columns": ["a"]}, "width of 3"),
        ({"name": "x", "datatype": "FP32", "shape": [-1, 2], "columns": ["a", "a"]}, "twice"),
    ],
)
def test_a_wrong_field_is_refused(value: object, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        convert(value, Field, "field")


def test_a_name_twice_is_refused() -> None:
    plain = {"name": "x", "datatype": "FP32", "shape": [1]}
    with pytest.raises(InvalidInput, match="input name stands twice"):
        convert({"inputs": [plain, plain], "outputs": []}, Schema, "schema")


BOUNDED = Field(name="x", datatype="FP32", shape=(-1,), minimum=0, maximum=0.1)


def check(field_: Field, array: np.ndarray) -> None:
    check_inputs(Schema(inputs=(field_,), outputs=()), {"x": array}, "m@1")


@pytest.mark.parametrize("values", [[0.0, 0.1], [], [0.05], [-0.0]])
def test_values_within_declared_bounds_pass(values: list[float]) -> None:
    check(BOUNDED, np.array(values, np.float32))  # 0.1 is more than 0.1 where it has 32 bits


@pytest.mark.parametrize("values", [[0.11], [-0.001], [0.05, np.nan], [np.inf], [0.05, -np.inf]])
def test_values_outside_of_declared_bounds_are_refused_and_not_told(values: list[float]) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(BOUNDED, np.array(values, np.float32))
    assert "m@1, input 'x': expected values from 0 to 0.1" in str(caught.value)
    assert not any(str(v) in str(caught.value) for v in values if v != 0.05)


@pytest.mark.parametrize(
    ("datatype", "bounds", "right", "wrong"),
    [
        ("INT64", {"minimum": -(2**63), "maximum": 2**53 + 1}, 2**53 + 1, 2**53 + 2),
        ("UINT64", {"maximum": 2**64 - 2}, 2**64 - 2, 2**64 - 1),
        ("INT8", {"minimum": -300}, -128, None),
        ("FP16", {"maximum": 1e300}, 6e4, np.nan),
        ("FP64", {"minimum": 1}, 1.0, 0.999),
    ],
)
def test_bounds_are_exact_in_every_datatype(
    datatype: str, bounds: dict[str, Any], right: float, wrong: float | None
) -> None:
    one = Field(name="x", datatype=datatype, shape=(-1,), **bounds)
    assert one == decode_json(canonical_json(one), Field, "field")
    check(one, np.array([right], DATATYPES[datatype]))
    if wrong is not None:
        with pytest.raises(InvalidInput, match="expected values"):
            check(one, np.array([wrong], DATATYPES[datatype]))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"datatype": "BYTES", "maximum": 1}, "a BYTES has no minimum or maximum"),
        ({"datatype": "BOOL", "maximum": 1}, "a BOOL has no"),
        ({"datatype": "INT64", "maximum": 1.5}, "bound of INT64 is a whole number"),
        ({"datatype": "FP32", "minimum": 2, "maximum": 1}, "minimum is above its maximum"),
        ({"datatype": "FP64", "maximum": 2**70}, "at most 64 bits"),
        ({"datatype": "FP64", "maximum": float("nan")}, "finite"),
        ({"datatype": "FP64", "minimum": float("-inf")}, "finite"),
    ],
)
def test_bounds_that_cannot_be_right_are_refused(value: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        convert({"name": "x", "shape": [], **value}, Field, "field")
