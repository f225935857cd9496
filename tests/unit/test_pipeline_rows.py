"""Rows of tensors between steps: cut, put together, and the conditions that choose them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fogline.errors import InvalidInput
from fogline.pipeline import Condition
from fogline.records import convert
from fogline.tensors import Array
from fogline_edge.serving.pipelines.conditions import rows_that_meet
from fogline_edge.serving.pipelines.rows import (
    NO_ROWS,
    Rows,
    Value,
    common_rows,
    cut,
    put_together,
    rows_left,
    rows_where,
)

MASKS = st.lists(st.booleans(), min_size=1, max_size=20).map(np.array)


def as_mask(rows: Rows | None, total: int) -> Array:
    mask = np.full(total, rows is None)
    if rows is not None:
        mask[rows.index] = True
    return mask


@st.composite
def several_masks(draw: st.DrawFn, most: int = 4) -> list[Array]:
    total = draw(st.integers(1, 20))
    one = st.lists(st.booleans(), min_size=total, max_size=total).map(np.array)
    return draw(st.lists(one, min_size=1, max_size=most))


@given(MASKS)
def test_rows_say_what_a_mask_says(mask: Array) -> None:
    assert np.array_equal(as_mask(rows_where(mask), len(mask)), mask)


@given(several_masks(2))
def test_common_rows_are_in_both(masks: list[Array]) -> None:
    one, other = masks[0], masks[-1]
    found = common_rows(rows_where(one), rows_where(other))
    assert np.array_equal(as_mask(found, len(one)), one & other)


@given(several_masks())
def test_rows_left_are_in_none(masks: list[Array]) -> None:
    found = rows_left([rows_where(mask) for mask in masks])
    assert np.array_equal(as_mask(found, len(masks[0])), ~np.logical_or.reduce(masks))


@given(several_masks())
def test_each_row_comes_from_the_first_that_holds_it(masks: list[Array]) -> None:
    total = len(masks[0])
    wholes = [np.arange(total * 2).reshape(total, 2) + 1000 * i for i in range(len(masks) + 1)]
    values = []
    for whole, mask in zip(wholes, masks, strict=False):
        rows = rows_where(mask)
        if rows is None or len(rows):  # a tensor of no rows is none
            values.append(Value(cut(Value(whole), rows), rows))
    values.append(Value(wholes[-1]))
    found = put_together(values)
    assert found.rows is None
    chosen = [next((i for i, m in enumerate(masks) if m[r]), len(masks)) for r in range(total)]
    assert np.array_equal(found.array, np.stack([wholes[i][r] for r, i in enumerate(chosen)]))


@given(several_masks())
def test_what_nobody_holds_stays_open(masks: list[Array]) -> None:
    whole = np.arange(len(masks[0]))
    rows = [r for r in map(rows_where, masks) if r is None or len(r)]
    if not rows:
        return
    found = put_together([Value(cut(Value(whole), r), r) for r in rows])
    assert np.array_equal(as_mask(found.rows, len(whole)), np.logical_or.reduce(masks))
    assert np.array_equal(found.array, whole[np.logical_or.reduce(masks)])


@given(several_masks(2))
def test_a_cut_of_a_cut_is_a_cut(masks: list[Array]) -> None:
    whole = np.arange(len(masks[0]))
    outer, inner = rows_where(masks[0]), rows_where(masks[0] & masks[-1])
    if inner is NO_ROWS or outer is NO_ROWS:  # steps without rows have no tensors
        return
    once = Value(cut(Value(whole), outer), outer)
    assert np.array_equal(cut(once, inner), whole[masks[0] & masks[-1]])


def test_rows_that_lie_together_are_not_copied() -> None:
    whole = np.arange(12).reshape(6, 2)
    part = cut(Value(whole), Rows(6, np.array([2, 3, 4])))
    assert np.shares_memory(part, whole)
    assert not np.shares_memory(cut(Value(whole), Rows(6, np.array([0, 3]))), whole)
    assert put_together([Value(whole), Value(whole + 1)]).array is whole


def test_other_numbers_of_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="5 rows meet a condition on 6 rows"):
        cut(Value(np.zeros(5)), Rows(6, np.array([0])))
    with pytest.raises(InvalidInput, match="rows meet a condition"):
        common_rows(Rows(6, np.array([0])), Rows(5, np.array([0])))
    with pytest.raises(InvalidInput, match="a scalar cannot be cut"):
        cut(Value(np.array(1.0)), Rows(6, np.array([0])))


def test_rows_of_other_shapes_are_not_put_together() -> None:
    some = Value(np.zeros((1, 3), np.float32), Rows(2, np.array([0])))
    for other in (np.zeros((2, 4), np.float32), np.zeros((2, 3), np.int64)):
        with pytest.raises(InvalidInput, match="cannot be put together"):
            put_together([some, Value(other)])


def met(array: Array, **condition: object) -> list[bool]:
    read = convert({"tensor": "s.y", **condition}, Condition, "condition")
    found: list[bool] = as_mask(rows_that_meet(read, Value(array)), len(array)).tolist()
    return found


FLOATS = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 8), st.integers(2, 5)), elements=st.floats(width=32)
)


@given(FLOATS, st.floats(-2, 2))
def test_below_and_at_least_divide_all_rows_between_them(rows: Array, bound: float) -> None:
    for measure in ("max", "min", "margin"):
        low = met(rows, measure=measure, below=bound)
        high = met(rows, measure=measure, at_least=bound)
        assert [not m for m in low] == high


def test_measures_are_of_each_row() -> None:
    rows = np.array([[0.1, 0.7, 0.2], [0.4, 0.35, 0.25]], np.float32)
    assert met(rows, measure="max", below=0.5) == [False, True]
    assert met(rows, measure="min", at_least=0.2) == [False, True]
    assert met(rows, measure="margin", below=0.1) == [False, True]
    assert met(rows[:, :1], at_least=0.2) == [False, True]
    assert met(rows[:, 0], at_least=0.05, below=0.2) == [True, False]


def test_what_is_no_number_is_never_sure() -> None:
    rows = np.array([[np.nan, 0.99]], np.float32)
    assert met(rows, measure="max", below=0.5) == [True]
    assert met(rows, measure="max", at_least=0.5) == [False]


def test_values_are_compared_by_kind() -> None:
    assert met(np.array(["cat", "dog"], np.object_), one_of=["cat", "cow"]) == [True, False]
    assert met(np.array([1, 2, 3]), one_of=[3, 1]) == [True, False, True]
    assert met(np.array([True, False]), one_of=[False]) == [False, True]


def test_a_condition_of_a_request_holds_for_all_of_it_or_none() -> None:
    rows = np.array([0.2, 0.8])
    assert met(rows, at_least=0.5, by="any") == [True, True]
    assert met(rows, at_least=0.5, by="all") == [False, False]
    assert met(rows, at_least=0.1, by="all") == [True, True]
    assert met(rows, at_least=0.9, by="any") == [False, False]


def test_no_rows_meet_nothing_by_row() -> None:
    condition = convert({"tensor": "s.y", "below": 1}, Condition, "condition")
    assert rows_that_meet(condition, Value(np.zeros(0))) is NO_ROWS


def test_rows_of_a_part_are_numbered_as_in_the_whole() -> None:
    condition = convert({"tensor": "s.y", "below": 1}, Condition, "condition")
    found = rows_that_meet(condition, Value(np.array([0, 2, 0]), Rows(9, np.array([1, 4, 7]))))
    assert found is not None
    assert found.index.tolist() == [1, 7]
    assert found.total == 9


def test_a_tensor_without_such_a_measure_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match=r"'s.y' of shape \[2, 3\] has no value of each row"):
        met(np.zeros((2, 3)), below=1)
    with pytest.raises(InvalidInput, match="has no margin"):
        met(np.zeros((2, 1)), measure="margin", below=1)
