import numpy as np
import pytest

from fogline.errors import InvalidInput
from fogline.records import canonical_json, convert, decode_json
from fogline.schema import Field, Schema, check_inputs, column_names, columns_of


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
