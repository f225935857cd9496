"""Merge laws, cells and messages of the summaries."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fogline.errors import Corrupt, InvalidInput
from fogline.records import canonical_json, decode_json
from fogline.summaries import (
    CategoryCells,
    CategoryIndex,
    LatencyBuckets,
    NumberCells,
    Partial,
    Reference,
    ReferenceLimits,
    Scope,
    accuracy_counts,
    build_reference,
    cell_counts,
)
from fogline.wire import fleet_pb2

SCOPE = Scope(model="rain", version=1, variant="fp32", generation=7, window_us=1000)
Batch = tuple[
    Mapping[str, NDArray[np.generic]], Mapping[str, NDArray[np.generic]], list[str], list[int]
]


def reference() -> Reference:
    rng = np.random.default_rng(5)
    return build_reference(
        {
            "wind": rng.normal(size=500),
            "few": rng.integers(0, 3, size=500),
            "constant": np.full(500, 2.5),
            "station": np.array(["north", "south", "south", "east"] * 125),
            "wet": np.array([True, False] * 250),
        },
        {"label": rng.integers(0, 2, size=500), "score": rng.random(500)},
        labels=("0", "1"),
        held_out=([0, 1, 1, 0], [0, 1, 0, 0]),
        season_s=86400.0,
    )


REFERENCE = reference()
FLOATS = st.floats(width=64, allow_nan=True, allow_infinity=True)
WORDS = st.sampled_from(["north", "south", "west", "", "0"])


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    n = draw(st.integers(0, 7))
    inputs: dict[str, NDArray[np.generic]] = {
        "wind": np.array(draw(st.lists(FLOATS, min_size=n, max_size=n)), dtype=np.float64),
        "few": np.array(draw(st.lists(st.integers(-2, 5), min_size=n, max_size=n)), np.int64),
        "constant": np.array(draw(st.lists(FLOATS, min_size=n, max_size=n)), dtype=np.float64),
        "station": np.array(draw(st.lists(WORDS, min_size=n, max_size=n)), dtype=object),
        "unknown": np.zeros(n),
    }
    labels = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    outputs: dict[str, NDArray[np.generic]] = {
        "label": np.array(labels, np.int64),
        "score": np.full(n, 0.5, np.float32),
    }
    return inputs, outputs, draw(st.lists(WORDS, min_size=n, max_size=n)), labels


def counted(*parts: Batch) -> Partial:
    partial = Partial(REFERENCE, SCOPE)
    for inputs, outputs, actual, predicted in parts:
        n = len(predicted)
        partial.add(
            inputs, outputs, requests=1, latency_us=[3.0], event_us=np.arange(n) + 5, rows=n
        )
        partial.add_labelled(np.array(actual, dtype=object), np.array(predicted))
    return partial


def integers(partial: Partial) -> bytes:
    """The message without its float moments, which merge within a stated error only."""
    message = partial.to_message()
    for field in (*message.inputs, *message.outputs):
        field.ClearField("sum")
        field.ClearField("sum_squares")
    return message.SerializeToString(deterministic=True)


@given(batches(), batches(), batches())
@settings(max_examples=40, deadline=None)
def test_merging_is_associative_and_commutative_and_equals_the_whole(
    a: Batch, b: Batch, c: Batch
) -> None:
    parts = [counted(x) for x in (a, b, c)]
    left = parts[0].merge(parts[1]).merge(parts[2])
    right = parts[0].merge(parts[1].merge(parts[2]))
    swapped = parts[2].merge(parts[0]).merge(parts[1])
    whole = counted(a, b, c)
    assert integers(left) == integers(right) == integers(swapped) == integers(whole)
    for name in ("wind", "few", "constant"):
        merged, once = (p.inputs.numbers.moments(name) for p in (left, whole))
        scale = max(1.0, once.sum_squares)
        assert abs(merged.sum_squares - once.sum_squares) <= 1e-9 * scale
        assert abs(merged.sum - once.sum) <= 1e-9 * scale


@given(batches())
@settings(max_examples=40, deadline=None)
def test_an_empty_partial_is_the_identity_and_messages_keep_everything(a: Batch) -> None:
    partial = counted(a)
    empty = Partial(REFERENCE, SCOPE)
    assert empty.is_empty
    assert partial.merge(empty).to_message() == partial.to_message()
    assert empty.merge(partial).to_message() == partial.to_message()
    message = fleet_pb2.Summary.FromString(partial.to_message().SerializeToString())
    assert Partial.from_message(message, REFERENCE).to_message() == partial.to_message()


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_message_is_read_or_refused_as_corrupt(data: bytes) -> None:
    message = fleet_pb2.Summary()
    with contextlib.suppress(DecodeError):
        message.ParseFromString(data)
    with contextlib.suppress(Corrupt):
        Partial.from_message(message, REFERENCE)


BREAKS: dict[str, Callable[[fleet_pb2.Summary], object]] = {
    "unknown column": lambda m: m.inputs.add(name="nobody"),
    "column twice": lambda m: m.inputs.append(m.inputs[0]),
    "too few cells": lambda m: m.inputs[0].bins.pop(),
    "too many cells": lambda m: m.inputs[3].categories.append(1),
    "huge count": lambda m: m.inputs[0].bins.__setitem__(0, 2**60),
    "moments": lambda m: setattr(m.inputs[0], "sum", float("nan")),
    "bounds": lambda m: setattr(m.inputs[0], "maximum", -5.0),
    "labels": lambda m: m.confusion.labels.__setitem__(0, "9"),
    "latency": lambda m: m.latency.buckets.extend([1] * 60),
    "times": lambda m: setattr(m, "first_event_us", m.last_event_us + 1),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_message_is_corrupt(how: str) -> None:
    partial = Partial(REFERENCE, SCOPE)
    partial.add({"wind": np.ones(3)}, rows=3, event_us=[5])
    partial.add_labelled([1], [1])
    message = partial.to_message()
    Partial.from_message(message, REFERENCE)
    BREAKS[how](message)
    with pytest.raises(Corrupt):
        Partial.from_message(message, REFERENCE)


@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=60),
    st.lists(FLOATS, max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_cells_are_half_open_intervals(training: list[float], values: list[float]) -> None:
    field = build_reference({"x": np.array(training)}).inputs[0]
    expected = [0] * (len(field.edges) + 1)
    for v in values:
        if np.isfinite(v):
            expected[sum(v > e for e in field.edges)] += 1
    assert cell_counts(np.array(values), field.edges).tolist() == expected
    assert sum(field.counts) == len(training)


NUMERIC = ("float16", "float32", "float64", "int8", "uint64")


@given(
    edges=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=6, unique=True),
    columns=st.lists(
        st.tuples(st.sampled_from(NUMERIC), st.lists(FLOATS, min_size=3, max_size=3)),
        min_size=1,
        max_size=4,
    ),
    times=st.sampled_from([1, 400]),
)
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of what the test casts
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_columns_of_any_type_are_counted_as_if_each_value_were_by_itself(
    edges: list[float], columns: list[tuple[str, list[float]]], times: int
) -> None:
    """Values at the edges and next to them too; 400 times is more than is counted at once."""
    ascending = tuple(sorted(edges))
    cells = NumberCells([str(i) for i in range(len(columns))], [ascending] * len(columns))
    given = {}
    for i, (kind, values) in enumerate(columns):
        near = [v for e in edges for v in (e, np.nextafter(e, -np.inf), np.nextafter(e, np.inf))]
        given[str(i)] = np.tile(np.array((values + near) * 2)[:18].astype(kind), times)
    rows = min(map(len, given.values()))
    given = {name: column[:rows] for name, column in given.items()}
    cells.add(given)
    for name, column in given.items():
        expected = cell_counts(column, ascending)
        assert cells.counts(name).tolist() == expected.tolist()
        assert cells.missing_of(name) == rows - expected.sum()
        finite = column.astype(np.float64)
        finite = finite[np.isfinite(finite)]
        moments = cells.moments(name)
        assert (moments.minimum, moments.maximum) == (
            finite.min(initial=np.inf),
            finite.max(initial=-np.inf),
        )


def test_a_frequent_value_has_a_cell_of_its_own() -> None:
    column = np.array([1.0] * 90 + list(np.linspace(0, 2, 10)))
    edges = build_reference({"x": column}).inputs[0].edges
    cells = [cell_counts(np.array([v]), edges).argmax() for v in (0.99, 1.0, 1.01)]
    assert len(set(cells)) == 3


def test_a_constant_column_that_moves_either_way_leaves_its_cell() -> None:
    field = build_reference({"x": np.full(10, 4.0)}).inputs[0]
    assert [cell_counts(np.array([v]), field.edges).tolist() for v in (3.0, 4.0, 5.0)] == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
    ]


def test_the_reference_of_float32_columns_keeps_ties_where_they_are() -> None:
    column = np.array([0.1, 0.2, 0.3] * 100, dtype=np.float32)
    field = build_reference({"x": column}).inputs[0]
    assert tuple(cell_counts(column, field.edges).tolist()) == field.counts


def test_kinds_follow_the_types_and_can_be_given() -> None:
    kinds = {f.name: f.kind for f in (*REFERENCE.inputs, *REFERENCE.outputs)}
    assert kinds == {
        "wind": "number",
        "few": "number",
        "constant": "number",
        "station": "category",
        "wet": "category",
        "label": "category",
        "score": "number",
    }
    made = build_reference({"few": [3, 3, 1]}, kinds={"few": "category"})
    assert made.inputs[0].categories == ("3", "1")


def test_categories_beyond_the_bound_share_the_last_cell() -> None:
    words = ["a"] * 5 + ["b"] * 3 + ["c", "d", ""]
    made = build_reference({"w": words}, limits=ReferenceLimits(max_categories=2))
    field = made.inputs[0]
    assert (field.categories, field.counts, field.missing) == (("a", "b"), (5, 3, 2), 1)


def test_any_object_is_a_category_by_its_text() -> None:
    cells = CategoryCells("w", ("[1]", "a"))
    cells.add(np.array([[1], "a", "a", "b", None], dtype=object))
    assert (cells.counts.tolist(), cells.missing) == ([1, 2, 1], 1)


def test_columns_beyond_the_bound_are_counted_as_omitted() -> None:
    columns = {f"x{i}": [1.0] for i in range(5)}
    made = build_reference(columns, columns, limits=ReferenceLimits(max_fields=7))
    assert (len(made.inputs), len(made.outputs), made.omitted) == (5, 2, 3)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"a": [1.0], "b": [1.0, 2.0]}, "shapes"),
        ({"a": [[1.0]]}, "shapes"),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(inputs: dict[str, list], said: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InvalidInput, match=said):
        build_reference(inputs)


def test_a_kind_for_an_unknown_column_is_refused() -> None:
    with pytest.raises(InvalidInput, match="nobody"):
        build_reference({"a": [1.0]}, kinds={"nobody": "number"})


@pytest.mark.parametrize("columns", [{"wind": np.array(["calm"])}, {"wind": np.ones((1, 2))}])
def test_columns_of_the_wrong_type_or_shape_are_refused(
    columns: dict[str, NDArray[np.generic]],
) -> None:
    with pytest.raises(InvalidInput, match="wind"):
        Partial(REFERENCE, SCOPE).add(columns)


def test_the_reference_survives_json_and_refuses_what_does_not_fit() -> None:
    data = canonical_json(REFERENCE)
    assert decode_json(data, Reference, "reference") == REFERENCE
    for old, new in (
        (b'"counts":[', b'"counts":[1,'),
        (b'"labels":["0","1"]', b'"labels":["0"]'),
        (b'"labels":["0","1"]', b'"labels":["0","0"]'),
    ):
        with pytest.raises(Corrupt):
            decode_json(data.replace(old, new, 1), Reference, "reference")


@pytest.mark.parametrize(
    ("labels", "values", "codes"),
    [
        (("0", "1"), np.array([True, False]), [1, 0]),
        (("0", "1"), np.array([1.0, 0.0, np.nan]), [1, 0, -1]),
        (("false", "true"), np.array([0, 1]), [0, 1]),
        (("dry", "wet"), np.array(["wet", b"dry", "fog", None], dtype=object), [1, 0, 2, -1]),
        (("a", "1", "true"), np.array([1]), [1]),
    ],
)  # fmt: skip
def test_labels_are_found_however_an_application_spells_them(
    labels: tuple[str, ...], values: NDArray[np.generic], codes: list[int]
) -> None:
    assert CategoryIndex(labels).codes(values).tolist() == codes


def test_confusion_counts_and_unlabelled_values() -> None:
    partial = Partial(REFERENCE, SCOPE)
    partial.add_labelled(["1", "0", "7", ""], [1, 1, 1, 0])
    assert partial.confusion.counts.tolist() == [0, 1, 0, 1]
    assert (partial.confusion.unlabelled_values, partial.confusion.correct) == (2, 1)
    assert accuracy_counts(REFERENCE.confusion) == (3, 4)
    with pytest.raises(InvalidInput, match="1 actuals for 2"):
        partial.add_labelled([1], [1, 0])


def test_latency_quantiles_lie_in_their_bucket() -> None:
    buckets = LatencyBuckets()
    buckets.add(np.array([0.5, 1, 3, 3, 1000, 1e30]))
    assert buckets.counts[[0, 1, 2, 10, 39]].tolist() == [1, 1, 2, 1, 1]
    assert 2 <= buckets.quantile_us(0.5) <= 4
    assert np.isnan(LatencyBuckets().quantile_us(0.5))


def test_failures_are_requests_too_and_scopes_join() -> None:
    first = Partial(REFERENCE, SCOPE)
    first.add_failures(2)
    later = replace(SCOPE, variant="int8", generation=8, window_start_us=3000)
    merged = first.merge(Partial(REFERENCE, later))
    assert (merged.requests, merged.failures) == (2, 2)
    assert merged.scope == Scope(model="rain", version=1, window_us=4000)
    with pytest.raises(InvalidInput, match="rain@1 and rain@2"):
        first.merge(Partial(REFERENCE, Scope(model="rain", version=2)))
