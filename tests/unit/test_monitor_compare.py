"""`compare`: what it detects, names, weighs and refuses."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fogline.errors import InvalidInput
from fogline.records import canonical_json, decode_json
from fogline_hub.monitor import DriftReport, FeatureFinding, compare


def frame(rng: np.random.Generator, rows: int, columns: int = 4) -> pd.DataFrame:
    return pd.DataFrame(rng.normal(size=(rows, columns)), columns=[f"f{i}" for i in range(columns)])


def feature(report: DriftReport, name: str) -> FeatureFinding:
    return next(f for f in report.features if f.name == name)


def findings(report: DriftReport) -> dict[str, str]:
    return {q.column: q.finding for q in report.quality}


def test_a_shift_is_detected_and_named_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    reference, current = frame(rng, 3000), frame(rng, 500)
    current["f2"] += 0.5
    report = compare(reference, current)
    assert (report.detected, report.verdict, report.unit) == (True, "drift", "row")
    assert [f.name for f in report.features if f.detected] == ["f2"]
    moved = feature(report, "f2")
    assert moved.low > 0.05
    assert moved.low < moved.effect < moved.high
    wasserstein = next(e for e in moved.effect_sizes if e.measure == "wasserstein")
    assert wasserstein.low < 0.5 < wasserstein.high
    assert "f2 changed" in report.why


def test_resampled_rows_are_rarely_detected() -> None:
    rng = np.random.default_rng(1)
    pool = frame(rng, 4000)
    reference = pool.sample(2000, random_state=2)
    hits = sum(
        compare(reference, pool.sample(300, random_state=10 + i)).detected for i in range(15)
    )
    assert hits <= 4


def test_a_small_change_in_many_rows_is_detected_but_no_drift() -> None:
    rng = np.random.default_rng(2)
    reference, current = frame(rng, 200_000, 1), frame(rng, 200_000, 1)
    current["f0"] += 0.03
    report = compare(reference, current)
    assert (report.detected, report.verdict) == (True, "no_drift")


def test_many_equal_rows_are_no_drift_and_few_are_insufficient() -> None:
    rng = np.random.default_rng(3)
    assert compare(frame(rng, 20_000, 2), frame(rng, 20_000, 2)).verdict == "no_drift"
    assert compare(frame(rng, 20_000, 2), frame(rng, 100, 2)).verdict == "insufficient_data"


def test_a_broken_correlation_is_named_where_no_column_moved() -> None:
    rng = np.random.default_rng(4)
    reference, current = frame(rng, 3000), frame(rng, 200)
    reference["f1"] = 0.8 * reference["f0"] + 0.6 * reference["f1"]
    report = compare(reference, current)
    first = report.correlations[0]
    assert (first.columns, first.detected, first.verdict) == (("f0", "f1"), True, "drift")
    assert not any(f.detected for f in report.features)
    assert report.verdict == "drift"
    assert "no longer go together" in report.why


def test_categories_booleans_and_missing_values_are_compared() -> None:
    rng = np.random.default_rng(50)
    reference = pd.DataFrame(
        {
            "kind": rng.choice(["a", "b", "c"], 2000),
            "on": rng.random(2000) < 0.5,
            "gap": np.where(rng.random(2000) < 0.02, np.nan, rng.normal(size=2000)),
            "steady": rng.choice(["x", "y"], 2000),
        }
    )
    current = pd.DataFrame(
        {
            "kind": rng.choice(["a", "b", "d"], 400),
            "on": rng.random(400) < 0.8,
            "gap": np.where(rng.random(400) < 0.3, np.nan, rng.normal(size=400)),
            "steady": rng.choice(["x", "y"], 400),
        }
    )
    report = compare(reference, current)
    assert [f.name for f in report.features if f.verdict == "drift"] == ["kind", "on", "gap"]
    assert feature(report, "gap").measure == "missing"
    assert feature(report, "gap").missing_current == pytest.approx(0.3, abs=0.08)
    assert {f.name: f.kind for f in report.features}["on"] == "category"


def test_constant_columns_are_no_change_until_they_move() -> None:
    reference = pd.DataFrame({"c": np.full(500, 5.0), "x": np.arange(500.0) % 7})
    same = compare(reference, reference.iloc[:100], unit="row")
    assert feature(same, "c").p_value == 1.0
    moved = reference.assign(c=4.0)
    assert feature(compare(reference, moved, unit="row"), "c").verdict == "drift"


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_tiny_tables_say_that_they_are(rows: int) -> None:
    rng = np.random.default_rng(6)
    report = compare(frame(rng, 1000), frame(rng, rows) + 50)
    assert (report.detected, report.verdict) == (False, "insufficient_data")
    assert "rows" in report.why
    assert compare(frame(rng, rows), frame(rng, 1000)).verdict == "insufficient_data"


def test_schema_differences_are_named() -> None:
    rng = np.random.default_rng(7)
    reference, current = frame(rng, 300), frame(rng, 300)
    reference["gone"], current["new"] = 1.0, 1.0
    reference["typed"], current["typed"] = 1.0, "one"
    reference["lists"] = current["lists"] = [[1]] * 300
    current["f3"] = np.nan
    report = compare(reference, current)
    assert findings(report) == {
        "gone": "missing_column",
        "new": "new_column",
        "typed": "type_changed",
        "lists": "not_compared",
        "f3": "all_missing",
    }
    assert feature(report, "f3").verdict == "drift"


def test_pandas_pyarrow_and_mappings_give_the_same() -> None:
    rng = np.random.default_rng(8)
    reference, current = frame(rng, 500), frame(rng, 200)
    expected = compare(reference, current).to_dict()
    arrow = compare(pa.Table.from_pandas(reference), pa.Table.from_pandas(current))
    mapped = compare({n: reference[n].to_numpy() for n in reference}, dict(current))
    assert arrow.to_dict() == mapped.to_dict() == expected


def test_the_report_is_plain_json() -> None:
    rng = np.random.default_rng(9)
    report = compare(frame(rng, 300), frame(rng, 100))
    plain = json.loads(json.dumps(report.to_dict()))
    assert {"detected", "verdict", "unit", "units", "alpha", "n_reference", "n_current"} <= set(
        plain
    )
    assert {"n_effective", "features", "correlations", "quality"} <= set(plain)
    assert {"name", "kind", "verdict", "p_value", "p_adjusted", "effect"} <= set(
        plain["features"][0]
    )
    assert decode_json(canonical_json(report), DriftReport, "report") == report


def autoregressive(rng: np.random.Generator, rows: int, phi: float) -> pd.DataFrame:
    made = rng.normal(size=(rows, 3))
    for i in range(1, rows):
        made[i] = phi * made[i - 1] + (1 - phi**2) ** 0.5 * made[i]
    return pd.DataFrame(made, columns=["a", "b", "c"]).assign(at=np.arange(rows))


@pytest.mark.parametrize("time", ["at", None])
def test_rows_that_resemble_their_neighbours_are_judged_by_blocks(time: str | None) -> None:
    rng = np.random.default_rng(10)
    hits = 0
    for _ in range(12):
        rows = autoregressive(rng, 2600, 0.5)
        if time is None:
            rows = rows.drop(columns="at")
        report = compare(rows[:2000], rows[2000:], time=time)
        hits += report.detected
        assert report.unit == "block"
        assert "blocks of" in report.unit_why
    assert hits <= 3
    moved = rows[2000:].assign(a=lambda t: t["a"] + 1.5)
    assert compare(rows[:2000], moved, time=time).verdict == "drift"


def test_devices_that_share_an_offset_are_the_units() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(20):
        made = []
        for side, count in enumerate((30, 15)):
            offsets = np.repeat(rng.normal(size=(count, 2)) * 0.5, 20, axis=0)
            rows = pd.DataFrame(offsets + rng.normal(size=(count * 20, 2)), columns=["a", "b"])
            made.append(rows.assign(d=[f"{side}-{i // 20}" for i in range(count * 20)]))
        report = compare(*made, device="d")
        hits += report.detected
        assert (report.unit, report.units, report.units_reference) == ("device", 15, 30)
    assert hits <= 4


def seasonal(rng: np.random.Generator, years: int) -> pd.DataFrame:
    day = np.arange(years * 100)
    heat = 2 * np.sin(2 * np.pi * day / 100) + rng.normal(size=len(day))
    names = np.array(["spring", "summer", "autumn", "winter"])
    return pd.DataFrame(
        {"heat": heat, "day": day.astype(float), "part": names[day % 100 // 25], "month": "m"}
    )


@pytest.mark.parametrize("season", [100.0, "part"])
def test_seasons_are_no_drift_and_whole_ones_are_the_units(season: float | str) -> None:
    rng = np.random.default_rng(12)
    rows = seasonal(rng, 30)
    report = compare(rows[:2000], rows[2000:], time="day", season=season)
    assert (report.unit, report.units, report.units_reference) == ("season", 10, 20)
    assert not report.detected
    moved = rows[2000:].assign(heat=lambda t: t["heat"] + 1)
    assert compare(rows[:2000], moved, time="day", season=season).verdict == "drift"


def test_a_part_of_a_season_is_compared_with_the_same_part_of_others() -> None:
    rng = np.random.default_rng(13)
    rows = seasonal(rng, 31)
    report = compare(rows[:3000], rows[3020:3050], time="day", season=100.0)
    assert (report.unit, report.units, report.units_reference) == ("season", 1, 30)
    assert not report.detected
    assert report.unit_why.startswith("the same")


def test_too_few_seasons_are_insufficient() -> None:
    rng = np.random.default_rng(14)
    rows = seasonal(rng, 6)
    report = compare(rows[:500], rows[500:].assign(heat=9.0), time="day", season=100.0)
    assert report.verdict == "insufficient_data"
    assert "too few" in report.why


def test_parts_of_a_season_without_times_are_matched_by_weights() -> None:
    rng = np.random.default_rng(15)
    rows = seasonal(rng, 40).drop(columns="day").sample(frac=1, random_state=1)
    current = rows[:600]
    current = current[current["part"] != "winter"]
    matched = compare(rows[600:], current, season="part")
    assert not matched.detected
    assert feature(compare(rows[600:], current), "heat").detected


def test_weights_undo_a_biased_sample() -> None:
    rng = np.random.default_rng(16)
    reference, traffic = frame(rng, 5000), frame(rng, 5000)
    keep = np.where(traffic["f0"] > 1, 0.5, 0.1)
    taken = rng.random(5000) < keep
    sample = traffic[taken].assign(w=1 / keep[taken])
    assert compare(reference, sample.drop(columns="w"), unit="row").detected
    by_name = compare(reference, sample, weights="w", unit="row")
    by_array = compare(
        reference, sample.drop(columns="w"), weights=sample["w"].to_numpy(), unit="row"
    )
    assert not by_name.detected
    assert by_name.n_effective < len(sample)
    assert by_name.to_dict() == by_array.to_dict()


def test_single_and_double_precision_of_the_same_values_are_equal() -> None:
    values = np.tile([0.1, 0.2, 0.3], 400)
    report = compare({"x": values}, {"x": values.astype(np.float32)}, unit="row")
    assert not report.detected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"time": "nope"}, "no column 'nope'"),
        ({"device": "nope"}, "no column 'nope'"),
        ({"weights": "nope"}, "no column 'nope'"),
        ({"season": "nope"}, "no column 'nope'"),
        ({"season": 10.0}, "needs the column of times"),
        ({"unit": "device"}, "needs the column"),
        ({"weights": [1.0]}, r"shape \(1,\) for 50 rows"),
        ({"weights": [-1.0] * 50}, "not negative"),
        ({"weights": [0.0] * 50}, "all weights are zero"),
        ({"weights": ["x"] * 50}, "must be numbers"),
        ({"alpha": 0.0}, "must lie in"),
        ({"min_effect": 2.0}, "must lie in"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], said: str) -> None:
    rng = np.random.default_rng(17)
    with pytest.raises(InvalidInput, match=said):
        compare(frame(rng, 50), frame(rng, 50), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reference", "current", "said"),
    [
        ({"a": [1.0]}, {"b": [1.0]}, "no comparable column in common"),
        ({"a": []}, {"a": [1.0]}, "reference: the table has no rows"),
        ({"a": [1.0]}, {"a": []}, "current: the table has no rows"),
        ("text", {"a": [1.0]}, "is no table"),
        ({"a": [1.0], "b": [1.0, 2.0]}, {"a": [1.0]}, "reference"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(
    reference: object, current: object, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        compare(reference, current)


def test_times_must_be_times() -> None:
    table = {"a": [1.0, 2.0], "t": ["monday", "tuesday"]}
    with pytest.raises(InvalidInput, match="holds no times"):
        compare(table, table, time="t")
    table = {"a": [1.0, 2.0], "t": [1.0, None]}
    with pytest.raises(InvalidInput, match="1 rows have no 't'"):
        compare(table, table, time="t")


def test_the_library_needs_neither_the_hub_nor_pandas() -> None:
    code = (
        "import sys, fogline_hub.monitor; taken = {'pandas', 'sqlalchemy', 'deltalake', "
        "'starlette', 'onnxruntime', 'grpc', 'httpx', 'paho', 'tuf'} & set(sys.modules); "
        "sys.exit(sorted(taken) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
