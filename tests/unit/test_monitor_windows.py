"""Closed windows judged from summaries alone."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fogline.errors import InvalidInput
from fogline.records import canonical_json, decode_json
from fogline.summaries import Partial, Reference, Scope, build_reference
from fogline_hub.monitor import WindowReport, judge_window

DAY_US = 86_400 * 10**6
YEAR = 360


def weather(rng: np.random.Generator, days: int, phi: float = 0.5) -> NDArray[np.float64]:
    """Two seasonal, autocorrelated columns and one that is neither."""
    noise = rng.normal(size=(days, 3))
    for i in range(1, days):
        noise[i, :2] = phi * noise[i - 1, :2] + (1 - phi**2) ** 0.5 * noise[i, :2]
    noise[:, :2] += 1.5 * np.sin(2 * np.pi * np.arange(days) / YEAR)[:, None]
    return noise


def columns(rows: NDArray[np.float64]) -> dict[str, NDArray[np.generic]]:
    return {name: rows[:, j] for j, name in enumerate(("dew", "heat", "wind"))}


def reference(rows: NDArray[np.float64], season: bool = True) -> Reference:
    predicted = (rows[:, 2] > 0).astype(np.int64)
    return build_reference(
        columns(rows),
        {"label": predicted},
        labels=("0", "1"),
        held_out=(np.where(np.arange(len(rows)) % 5 == 0, 1 - predicted, predicted), predicted),
        season_s=YEAR * 86_400.0 if season else 0.0,
    )


def parts(
    known: Reference, rows: NDArray[np.float64], wrong_each: int = 5, days: int = 5
) -> list[Partial]:
    """One partial every few days; every `wrong_each`-th day was predicted wrongly."""
    made = []
    for start in range(0, len(rows), days):
        taken = rows[start : start + days]
        scope = Scope(
            model="rain", version=3, window_start_us=start * DAY_US, window_us=days * DAY_US
        )
        partial = Partial(known, scope)
        predicted = (taken[:, 2] > 0).astype(np.int64)
        partial.add(columns(taken), {"label": predicted}, requests=len(taken))
        wrong = np.arange(start, start + len(taken)) % wrong_each == 0
        partial.add_labelled(np.where(wrong, 1 - predicted, predicted), predicted)
        made.append(partial)
    return made


def test_a_window_without_change_is_never_called_drift() -> None:
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(25):
        rows = weather(rng, 6 * YEAR)
        known = reference(rows[: 5 * YEAR])
        report = judge_window(known, parts(known, rows[5 * YEAR :]))
        called += any(a.verdict == "drift" for a in report.aspects)
    assert called <= 4


def test_a_moved_column_is_named_and_a_fallen_accuracy_measured() -> None:
    rng = np.random.default_rng(1)
    rows = weather(rng, 6 * YEAR)
    known = reference(rows[: 5 * YEAR])
    now = rows[5 * YEAR :].copy()
    now[:, 2] += 1.0
    report = judge_window(known, parts(known, now, wrong_each=2))
    drifted = report.aspect("input")
    assert [c.name for c in drifted.columns if c.verdict == "drift"] == ["wind"]
    assert "wind changed" in drifted.why
    assert report.aspect("output").verdict == "drift"
    fall = report.aspect("accuracy")
    assert (fall.verdict, fall.detected) == ("drift", True)
    assert fall.low < 0.3 < fall.high
    assert (report.labelled_rows, report.rows) == (YEAR, YEAR)
    assert report.accuracy == pytest.approx(0.5)
    assert decode_json(canonical_json(report), WindowReport, "report") == report


def test_plenty_of_equal_rows_are_no_drift() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(40_000, 3))
    known = reference(rows[:20_000], season=False)
    report = judge_window(known, parts(known, rows[20_000:], days=500))
    assert {a.verdict for a in report.aspects} == {"no_drift"}


def test_a_part_of_a_season_is_not_compared_with_whole_ones() -> None:
    rng = np.random.default_rng(3)
    rows = weather(rng, 6 * YEAR)
    known = reference(rows[: 5 * YEAR])
    report = judge_window(known, parts(known, rows[5 * YEAR : 5 * YEAR + 120]))
    assert {a.verdict for a in report.aspects} == {"insufficient_data"}
    assert "0.33 seasons" in report.aspect("input").why


def test_too_few_sub_windows_say_nothing() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(2000, 3))
    known = reference(rows[:1000], season=False)
    report = judge_window(known, parts(known, rows[1000:] + 9, days=250))
    assert report.aspect("input").verdict == "insufficient_data"
    assert "are needed" in report.aspect("input").why


def test_order_and_division_of_the_partials_do_not_matter() -> None:
    rng = np.random.default_rng(5)
    rows = weather(rng, 6 * YEAR)
    known = reference(rows[: 5 * YEAR])
    made = parts(known, rows[5 * YEAR :])
    halves = [
        part
        for i in range(0, YEAR, 5)
        for part in _halves(known, rows[5 * YEAR + i : 5 * YEAR + i + 5], i)
    ]
    expected = judge_window(known, made)
    shuffled = [halves[i] for i in rng.permutation(len(halves))]
    found = judge_window(known, shuffled)
    assert [c.p_value for c in found.aspect("input").columns] == [
        c.p_value for c in expected.aspect("input").columns
    ]


def _halves(known: Reference, rows: NDArray[np.float64], day: int) -> list[Partial]:
    made = []
    for taken in (rows[:2], rows[2:]):
        scope = Scope(model="rain", version=3, window_start_us=day * DAY_US, window_us=5 * DAY_US)
        partial = Partial(known, scope)
        partial.add(columns(taken), {})
        made.append(partial)
    return made


def test_without_outcomes_accuracy_is_insufficient() -> None:
    rng = np.random.default_rng(6)
    known = build_reference(columns(rng.normal(size=(500, 3))))
    report = judge_window(known, _halves(known, rng.normal(size=(5, 3)), 0))
    assert "no held-out outcome" in report.aspect("accuracy").why
    assert (report.accuracy, report.reference_accuracy) == (None, None)
    assert report.aspect("output").verdict == "insufficient_data"


def test_no_summaries_are_refused() -> None:
    with pytest.raises(InvalidInput, match="without summaries"):
        judge_window(Reference(), [])
