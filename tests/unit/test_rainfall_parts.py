"""What the demonstration decides by itself: its pace, its comparison, what it calls a failure."""

import doctest
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from examples.rainfall import comparison, pace, trainer
from examples.rainfall.checks import problems
from examples.rainfall.comparison import gain
from examples.rainfall.pace import ReplayClock
from examples.rainfall.replay import Answers, Traffic
from examples.rainfall.report import closing
from examples.rainfall.results import Results, StationResult, Stored
from examples.rainfall.weather import SEASON, Weather, read_weather
from fogline_hub.monitor import WindowReport
from fogline_hub.monitor.verdict import Verdict
from fogline_hub.monitor.window_report import AspectFinding
from fogline_hub.retrain import Retraining, State

NOW = datetime(2026, 7, 1, 15, 30, tzinfo=UTC)
DAYS, FIRST, PROMOTED = 3000, 500, 1500


@pytest.mark.parametrize("module", [comparison, pace])
def test_examples_in_docstrings_are_exact(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_the_last_day_of_the_weather_is_today() -> None:
    weather = read_weather(NOW)
    assert weather.time(weather.days - 1) == datetime(2026, 7, 1, tzinfo=UTC)
    assert weather.readings.shape == (weather.days, len(weather.columns)) == (18_159, 8)
    assert set(np.unique(weather.rain)) == {0, 1}


def test_shuffled_weather_keeps_each_day_whole() -> None:
    weather = read_weather(NOW)
    shuffled = weather.shuffled(1)
    assert not np.array_equal(shuffled.rain, weather.rain)

    def rows(one: Weather) -> list[bytes]:
        table = np.column_stack([one.readings, one.rain])
        return sorted(row.tobytes() for row in table)

    assert rows(shuffled) == rows(weather)


def test_no_station_runs_ahead_of_the_slowest() -> None:
    clock = ReplayClock(first_day=10, days=100, stations=2, max_skew_days=5)
    clock.advance(50)
    assert clock.today == 15
    clock.done(0, 14)
    clock.advance(50)
    assert clock.today == 15  # the other one is where it was
    clock.done(1, 13)
    clock.advance(50)
    assert clock.today == 19
    assert clock.wait_for(18)
    clock.stop()
    assert not clock.wait_for(99)


def test_the_interval_of_a_gain_widens_where_days_resemble_each_other() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = rng.random(1000) < 0.7, rng.random(1000) < 0.6
    independent, repeated = gain(ours, theirs), gain(np.repeat(ours, 5), np.repeat(theirs, 5))
    assert repeated.estimate == pytest.approx(independent.estimate)
    width, same = repeated.high - repeated.low, independent.high - independent.low
    assert width == pytest.approx(same, rel=0.25)  # five copies of a day are one day


def test_a_row_that_stands_for_more_days_weighs_more() -> None:
    x = np.linspace(-1, 1, 200)
    rows = pd.DataFrame({"x": np.concatenate([x, x]), "actual": [0] * 200 + [1] * 200})
    rows[trainer.WEIGHT], rows[trainer.EVENT_TIME] = [1.0] * 200 + [3.0] * 200, 0
    share = trainer.fit(rows, seed=0).predict_proba(pd.DataFrame({"x": x}))[:, 1].mean()
    assert share == pytest.approx(0.75, abs=0.05)


def report(detected: bool) -> WindowReport:
    verdict: Verdict = "drift" if detected else "no_drift"
    aspects = tuple(
        AspectFinding(
            aspect=aspect,
            verdict=verdict,
            detected=detected,
            p_value=0.5,
            effect=0.1,
            low=0.0,
            high=0.2,
            unit="rows",
            units=300.0,
            why="",
        )
        for aspect in ("input", "output", "accuracy")
    )
    return WindowReport(
        model="rain",
        version=1,
        start_us=0,
        end_us=int(SEASON.total_seconds() * 1e6),
        rows=365,
        labelled_rows=365,
        accuracy=0.8,
        reference_accuracy=0.8,
        alpha=0.05,
        aspects=aspects,
    )


def retraining(state: State) -> Retraining:
    return Retraining(
        id=1,
        model="rain",
        champion=1,
        alarm=1,
        asked_by="hub:monitor",
        state=state,
        reason="because",
        change_us=0,
        ended_us=0,
        dataset=None,
        judgement=None,
        challenger=2 if state is State.PROMOTED else None,
        rollout=None,
        created_at=NOW,
        changed_at=NOW,
    )


def results(*, promoted: bool = True, served: float = 0.8) -> Results:
    """A run of one station in which everything came out as promised."""
    rng = np.random.default_rng(3)
    rain = (rng.random(DAYS) < 0.3).astype(np.int64)
    answers = Answers.none(DAYS)
    answers.station[FIRST:], answers.version[FIRST:] = 0, 1
    answers.version[PROMOTED:] = 2 if promoted else 1
    answers.label[FIRST:] = np.where(rng.random(DAYS) < served, rain, 1 - rain)[FIRST:]
    champion = np.where(rng.random(DAYS) < 0.6, rain, 1 - rain)
    asked = DAYS - FIRST
    exact = Stored(sent=100, stored=100, rows=asked, doubled=0, dropped=0)
    station = StationResult(
        name="station1",
        traffic=Traffic(requests=asked, outcomes=asked),
        serving="rain@2" if promoted else "rain@1",
        streams={"feedback": exact, "sample": exact, "summary": exact},
        bytes_sent=1000,
    )
    return Results(
        weather=Weather(("x",), rng.random((DAYS, 1)), rain, NOW),
        first_day=FIRST,
        answers=answers,
        champion=champion,
        stations=(station,),
        retrainings=(retraining(State.PROMOTED),) if promoted else (),
        alarms=(),
        reports=(report(False),) * 20,
        window_alpha=0.05,
    )


def test_a_run_that_kept_its_promises_has_no_problems() -> None:
    assert problems(results(served=0.9), is_shuffled=False) == []
    assert problems(results(promoted=False), is_shuffled=True) == []
    assert "retrained over majority class" in closing(results())


def test_a_loop_that_did_not_close_is_a_problem() -> None:
    (problem,) = problems(results(promoted=False), is_shuffled=False)
    assert "no retrained version was promoted" in problem
    assert any(
        "do not certainly beat the majority class" in p
        for p in problems(results(served=0.6), is_shuffled=False)
    )


def test_a_station_that_stayed_behind_is_a_problem() -> None:
    found = results(served=0.9)
    behind = replace(found, stations=(replace(found.stations[0], serving="rain@1"),))
    assert problems(behind, is_shuffled=False) == ["station1 serves rain@1, and not version 2"]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (Stored(sent=100, stored=99, rows=2500, doubled=0, dropped=0), "99 are stored"),
        (Stored(sent=100, stored=100, rows=2500, doubled=1, dropped=0), "1 rows twice"),
        (Stored(sent=100, stored=100, rows=2500, doubled=0, dropped=3), "3 messages dropped"),
        (Stored(sent=100, stored=100, rows=2499, doubled=0, dropped=0), "2499 are stored"),
    ],
)
def test_what_is_lost_or_doubled_is_a_problem(counts: Stored, words: str) -> None:
    found = results(served=0.9)
    station = found.stations[0]
    station = replace(station, streams={**station.streams, "feedback": counts})
    told = problems(replace(found, stations=(station,)), is_shuffled=False)
    assert len(told) == 1
    assert words in told[0]


def test_one_failed_request_is_a_problem() -> None:
    found = results(served=0.9)
    traffic = Traffic(requests=2500, outcomes=2500, failures=1, first_failure="asking about day 7")
    broken = replace(found, stations=(replace(found.stations[0], traffic=traffic),))
    (problem,) = problems(broken, is_shuffled=False)
    assert "1 of 2500 requests failed, the first one asking about day 7" in problem


def test_more_detections_than_the_stated_rate_allows_are_a_problem() -> None:
    found = results(promoted=False)
    few = replace(found, reports=(report(True),) * 2 + (report(False),) * 40)
    assert problems(few, is_shuffled=True) == []
    many = replace(found, reports=(report(True),) * 9 + (report(False),) * 33)
    (problem,) = problems(many, is_shuffled=True)
    assert "9 of 42 windows were called changed" in problem


def test_a_retraining_without_change_is_a_problem() -> None:
    found = replace(results(promoted=False), retrainings=(retraining(State.REJECTED),))
    (problem,) = problems(found, is_shuffled=True)
    assert "although nothing changed" in problem


def test_the_chart_is_drawn_without_a_display(tmp_path: Path) -> None:
    from examples.rainfall.chart import draw

    draw(results(), tmp_path / "years.png")
    assert (tmp_path / "years.png").read_bytes().startswith(b"\x89PNG")
