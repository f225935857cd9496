"""The comparison of two models' answers, and the probes that are put to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.errors import InvalidInput
from fogline_hub.convert.frame import Frame
from fogline_hub.convert.parity import Answers, Tolerance, Verdict, compare, judge
from fogline_hub.convert.probes import UNSEEN, boundaries, static_probes

LIMITS = Tolerance()


def _answers(numbers: list[list[float]], labels: list[int], dtype: type = np.float64) -> Answers:
    return Answers(
        labels=np.array(labels), numbers=np.array(numbers, dtype=float), dtype=np.dtype(dtype)
    )


def test_the_same_answers_are_exact() -> None:
    one = _answers([[0.25, 0.75]], [1])
    assert judge(compare(one, one, LIMITS), {}, LIMITS).verdict is Verdict.EXACT


def test_answers_rounded_to_the_served_type_are_exact() -> None:
    truth = _answers([[0.1, 0.9]], [1])
    served = Answers(
        labels=truth.labels,
        numbers=truth.numbers.astype(np.float32).astype(float),
        dtype=np.dtype(np.float32),
    )
    assert compare(truth, served, LIMITS).difference.is_exact


def test_a_difference_within_the_tolerance_is_told_and_allowed() -> None:
    parity = judge(
        compare(_answers([[0.3, 0.7]], [1]), _answers([[0.300001, 0.699999]], [1]), LIMITS),
        {},
        LIMITS,
    )
    assert parity.verdict is Verdict.WITHIN_TOLERANCE
    assert parity.is_allowed
    assert parity.max_abs_difference == pytest.approx(1e-6)


def test_a_flip_between_two_even_classes_is_a_tie_and_counted() -> None:
    found = compare(
        _answers([[0.500001, 0.499999]], [0]), _answers([[0.499999, 0.500001]], [1]), LIMITS
    )
    assert (found.difference.label_flips, found.difference.tied_flips) == (1, 1)
    assert found.difference.rows_differing == 0


def test_a_flip_of_a_sure_label_diverges_even_with_equal_numbers() -> None:
    truth = _answers([[0.9, 0.1], [0.2, 0.8]], [0, 1])
    parity = judge(compare(truth, _answers([[0.9, 0.1], [0.2, 0.8]], [0, 0]), LIMITS), {}, LIMITS)
    assert parity.verdict is Verdict.DIVERGES
    assert not parity.is_allowed
    assert [(e.where, e.row, e.is_flip) for e in parity.worst] == [("sample", 1, True)]


def test_a_probe_alone_can_make_it_diverge() -> None:
    truth = _answers([[0.9, 0.1]], [0])
    off = _answers([[0.8, 0.2]], [0])
    parity = judge(
        compare(truth, truth, LIMITS), {"boundaries": compare(truth, off, LIMITS)}, LIMITS
    )
    assert parity.verdict is Verdict.DIVERGES
    assert parity.rows_differing == 0
    assert parity.probes["boundaries"].rows_differing == 1


def test_an_answer_that_is_no_number_diverges_unless_the_original_says_so_too() -> None:
    hole = _answers([[float("nan"), 1.0]], [1])
    assert compare(hole, hole, LIMITS).difference.rows_differing == 0
    found = compare(_answers([[0.5, 1.0]], [1]), hole, LIMITS)
    assert found.difference.rows_differing == 1
    assert judge(found, {}, LIMITS).worst[0].difference is None


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="shape"):
        compare(_answers([[1.0]], [0]), _answers([[1.0, 0.0]], [0]), LIMITS)


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=20),
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=20),
)
def test_counts_stay_within_the_rows(left: list[float], right: list[float]) -> None:
    rows = min(len(left), len(right))
    labels = [0] * rows
    found = compare(
        _answers([[v] for v in left[:rows]], labels),
        _answers([[v] for v in right[:rows]], labels),
        LIMITS,
    ).difference
    assert 0 <= found.rows_differing <= rows
    assert found.label_flips == 0
    assert np.isfinite(found.max_abs_difference)


def _frame() -> Frame:
    rng = np.random.default_rng(0)
    city = np.empty(50, dtype=object)
    city[:] = rng.choice(["Ulm", "Jena"], 50).tolist()
    return {"x": rng.normal(size=50), "y": rng.normal(size=50) * 1e6, "city": city}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threshold", [0.1, -0.37, 0.0, 1e-30])
def test_boundaries_ends_one_ulp_on_both_sides_of_a_threshold(
    dtype: type, threshold: float
) -> None:
    def step(frame: Frame) -> np.ndarray:
        return (frame["x"] > threshold)[:, None].astype(float)

    rows = boundaries(_frame(), step, np.random.default_rng(1), np.dtype(dtype))
    assert rows is not None
    near: list[np.ndarray] = np.split(rows["x"].astype(dtype), 2)
    low, high = near
    assert np.array_equal(np.nextafter(np.minimum(low, high), dtype(np.inf)), np.maximum(low, high))
    assert ((low.astype(float) > threshold) != (high.astype(float) > threshold)).all()


def test_boundaries_of_a_constant_model_are_none() -> None:
    nothing = boundaries(
        _frame(), lambda f: np.zeros((len(f["x"]), 1)), np.random.default_rng(0), np.dtype("f8")
    )
    assert nothing is None


def test_static_probes_change_one_column_of_real_rows_and_leave_the_sample_alone() -> None:
    sample = _frame()
    before = {n: c.copy() for n, c in sample.items()}
    probes = static_probes(sample, np.random.default_rng(0))
    assert set(probes) == {"extremes", "missing_numbers", "missing_texts", "unseen_categories"}
    holes = np.isnan(probes["missing_numbers"].rows["x"]).astype(int)
    holes += np.isnan(probes["missing_numbers"].rows["y"])
    assert (holes == 1).all()
    assert set(probes["unseen_categories"].rows["city"]) == {UNSEEN}
    assert np.abs(probes["extremes"].rows["y"]).max() > 5 * np.abs(before["y"]).max()
    assert all(np.array_equal(before[n], sample[n]) for n in sample)


def test_a_sample_of_numbers_alone_has_no_text_probes() -> None:
    sample = {"x": np.arange(5.0)}
    assert set(static_probes(sample, np.random.default_rng(0))) == {"extremes", "missing_numbers"}
