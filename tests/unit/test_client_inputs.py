from typing import Any

import numpy as np
import pytest

from fogline.client.inputs import arrays_of, columns_of_rows
from fogline.errors import InvalidInput
from fogline.schema import Field, Schema


def schema(datatype: str, shape: tuple[int, ...] = (-1, 2)) -> Schema:
    return Schema(inputs=(Field(name="x", datatype=datatype, shape=shape),), outputs=())


@pytest.mark.parametrize(
    ("datatype", "value", "expected"),
    [
        ("FP32", [[1, 2.5]], np.array([[1, 2.5]], np.float32)),
        ("FP64", [[1, None]], np.array([[1, np.nan]])),
        ("INT8", [[-128, 127]], np.array([[-128, 127]], np.int8)),
        ("INT64", [[True, False]], np.array([[1, 0]], np.int64)),
        ("BOOL", [[True, False]], np.array([[True, False]])),
        ("BYTES", [["a\0", None]], np.array([["a\0", ""]], object)),
        ("FP16", np.array([[1, 2]], np.int64), np.array([[1, 2]], np.float16)),
    ],
)
def test_plain_values_take_the_models_datatype(
    datatype: str, value: Any, expected: np.ndarray
) -> None:
    made = arrays_of({"x": value}, schema(datatype))["x"]
    assert made.dtype == expected.dtype
    np.testing.assert_array_equal(made, expected)


def test_a_column_becomes_two_dimensional_where_the_model_takes_that() -> None:
    assert arrays_of({"x": [1.0, 2.0]}, schema("FP32", (-1, 1)))["x"].shape == (2, 1)
    assert arrays_of({"x": [1.0, 2.0]}, schema("FP32", (-1,)))["x"].shape == (2,)
    assert arrays_of({"x": ["a"]}, schema("BYTES", (-1, 1)))["x"].shape == (1, 1)
    assert arrays_of({"x": []}, schema("INT8", (-1, 1)))["x"].shape == (0, 1)


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("INT64", [[1.5, 2.0]]),
        ("INT8", [[128, 0]]),
        ("UINT8", [[-1, 0]]),
        ("INT64", [[2**63, 0]]),
        ("BOOL", [[1, 0]]),
        ("FP32", [["a", "b"]]),
        ("FP32", [[1], [1, 2]]),
        ("BYTES", [[1, 2]]),
        ("INT64", [[None, 1]]),
        ("FP32", [[{}, 1]]),
    ],
)
def test_nothing_wraps_around_or_is_cut_off(datatype: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=f"input 'x': not {datatype}"):
        arrays_of({"x": value}, schema(datatype))


def test_names_must_be_the_models() -> None:
    with pytest.raises(InvalidInput, match="takes 'x', got 'y'"):
        arrays_of({"y": [1]}, schema("FP32"))


def test_rows_become_columns() -> None:
    assert columns_of_rows([{"a": 1, "b": "x"}, {"b": "y", "a": 2}]) == {
        "a": [1, 2],
        "b": ["x", "y"],
    }
    with pytest.raises(InvalidInput, match="there are no rows"):
        columns_of_rows([])
    with pytest.raises(InvalidInput, match="row 1 has other names"):
        columns_of_rows([{"a": 1}, {"b": 1}])
