"""Which variants earn their place."""

from pathlib import Path

import numpy as np
import pytest

from fogline_hub.convert.parity import Answers
from fogline_hub.optimize.base_answers import read_kept_answers, write_answers
from fogline_hub.optimize.choice import Earning, Measurement, Timing, judge, screen
from fogline_hub.optimize.quality import Quality, rate
from fogline_hub.optimize.timing import alternate

RULES = Earning()


def _one(
    size: int = 1000, p50: float = 100.0, loss: float = 0.0, flips: int = 0, p10: float = 95.0
) -> Measurement:
    quality = Quality(rows=1000, metric="accuracy", value=0.9, loss=loss, label_flips=flips)
    timing = Timing(p10=p10, p50=p50, p90=p50 + 10, runs=100)
    return Measurement(name="v", precision="v", size_bytes=size, timing=timing, quality=quality)


@pytest.mark.parametrize(
    ("variant", "is_kept", "reason"),
    [
        (_one(size=500), True, "smaller"),
        (_one(size=500, p50=130), False, "neither"),
        (_one(size=960), False, "neither"),
        (_one(p50=80), True, "faster"),
        (_one(p50=80, size=1100), False, "neither"),
        (_one(size=500, loss=0.006), False, "loses 0.0060 of accuracy"),
        (_one(size=500, flips=6), False, "flips 6 of 1000 labels"),
        (_one(size=500, flips=5), True, "smaller"),
    ],
)
def test_a_variant_is_kept_for_what_it_brings(
    variant: Measurement, is_kept: bool, reason: str
) -> None:
    found = judge(_one(), variant, RULES)
    assert found[0] is is_kept
    assert found[1].startswith(reason)


def test_a_gain_inside_the_noise_is_not_faster() -> None:
    noisy = _one(p50=100, p10=50)
    assert judge(noisy, _one(p50=80), RULES)[0] is False


def test_a_variant_without_a_measurement_is_never_kept() -> None:
    bare = Measurement(name="v", precision="v", size_bytes=1, reason="larger")
    assert judge(_one(), bare, RULES) == (False, "larger")


def test_a_larger_file_is_turned_away_before_it_is_measured() -> None:
    assert screen(1100, 1000, RULES).startswith("larger")
    assert screen(900, 1000, RULES) == ""


def test_accuracy_is_told_with_its_loss_and_intervals() -> None:
    numbers = np.zeros((4, 2))
    base = Answers(labels=np.array([0, 1, 1, 0]), numbers=numbers)
    variant = Answers(labels=np.array([0, 1, 0, 0]), numbers=numbers + 0.25)
    found = rate(base, variant, labels=np.array([0, 1, 1, 1]))
    assert (found.value, found.loss, found.label_flips) == (0.5, 0.25, 1)
    assert found.max_difference == 0.25
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.5 < found.high


def test_r2_of_a_regressor_falls_with_the_variant_s_error() -> None:
    actual = np.arange(10.0)
    base = Answers(labels=None, numbers=actual[:, None])
    off = Answers(labels=None, numbers=actual[:, None] + 1)
    found = rate(base, off, values=actual)
    assert found.metric == "r2"
    assert found.loss == pytest.approx(1 / np.var(actual))


def test_without_actual_values_only_changes_are_counted() -> None:
    one = Answers(labels=np.array([0]), numbers=np.ones((1, 2)))
    found = rate(one, one)
    assert (found.metric, found.value, found.label_flips) == ("agreement", 1.0, 0)


def test_alternating_runs_take_turns() -> None:
    order: list[str] = []
    timings = alternate(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")},
        budget_s=60,
        max_rounds=4,
    )
    assert order[-8:] == ["a", "b"] * 4
    assert timings["a"].runs == 4
    assert timings["a"].p10 <= timings["a"].p50 <= timings["a"].p90


@pytest.mark.parametrize("labels", [None, np.array([1, 0, 2])])
def test_the_bases_answers_are_read_as_they_were_written(
    tmp_path: Path, labels: np.ndarray | None
) -> None:
    numbers = np.array([[0.1, np.nan], [np.inf, -0.0], [1e-300, 2.0]])
    told = Answers(labels=labels, numbers=numbers, dtype=np.dtype(np.float32))
    write_answers(tmp_path / "answers.npz", told)
    read = read_kept_answers(tmp_path / "answers.npz")
    assert read.numbers.tobytes() == numbers.tobytes()
    assert read.dtype == np.float32
    assert (read.labels is None) is (labels is None)
    assert labels is None or np.array_equal(np.asarray(read.labels), labels)
