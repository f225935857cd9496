"""One picture: accuracy and drift over the years. The only importer of matplotlib."""

from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.rainfall.results import Flags, Results
from examples.rainfall.weather import SEASON
from fogline_hub.monitor import WindowReport
from fogline_hub.monitor.window_report import Aspect

LEGEND = {"loc": "lower left", "fontsize": 8, "frameon": False}


def draw(results: Results, path: Path) -> None:
    """Writes the picture; the suffix of `path` says in what form."""
    mpl.use("agg")  # needs no display
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _accuracy(above, results)
    _drift(below, results)
    for axes in (above, below):
        _mark_versions(axes, results)
        axes.grid(alpha=0.25)
        axes.xaxis_date()
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def _accuracy(axes: Axes, results: Results) -> None:
    """Points are whole seasons, counted from the first replayed day."""
    for right, label, style in (
        (results.champion_right(), "the first version, had it stayed", "C7--"),
        (results.constant_right(), "always the majority class", "C7:"),
        (results.served_right(), "what the stations answered", "C0-o"),
    ):
        times, shares = _by_season(results, right)
        axes.plot(times, shares, style, label=label, markersize=3)
    axes.set_ylabel("accuracy")
    axes.legend(**LEGEND)


def _drift(axes: Axes, results: Results) -> None:
    colors: dict[Aspect, str] = {"input": "C1", "output": "C2"}
    for aspect, color in colors.items():
        for version in sorted({r.version for r in results.reports}):
            mine = [r for r in results.reports if r.version == version]
            found = [r.aspect(aspect) for r in mine]
            times = dates.date2num([_middle(r) for r in mine])
            label = f"{aspect}s" if version == min(r.version for r in results.reports) else None
            effects = np.array([f.effect for f in found])
            is_drift = np.array([f.verdict == "drift" for f in found], dtype=np.bool_)
            axes.plot(times, effects, f"{color}-", label=label)
            axes.plot(times[is_drift], effects[is_drift], f"{color}o", markersize=4)
    axes.set_ylabel("share of rows that moved\n(the column that moved most)")
    axes.set_ylim(bottom=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            title="dots: verdict drift", title_fontsize=8, **{**LEGEND, "loc": "upper left"}
        )


def _mark_versions(axes: Axes, results: Results) -> None:
    for version in results.versions[1:]:
        time = dates.date2num(results.weather.time(results.first_answered_by(version)))
        axes.axvline(time, color="C3", linewidth=1)
        axes.annotate(
            f"v{version}", (time, 1), xycoords=("data", "axes fraction"), color="C3", fontsize=9
        )


def _by_season(results: Results, right: Flags) -> tuple[list[float], list[float]]:
    days = np.flatnonzero(results.asked)
    season = ((days - days[0]) * 86_400 / SEASON.total_seconds()).astype(np.int64)
    times, shares = [], []
    for number in np.unique(season):
        mine = days[season == number]
        times.append(float(dates.date2num(results.weather.time(int(mine[len(mine) // 2])))))
        shares.append(float(right[mine].mean()))
    return times, shares


def _middle(report: WindowReport) -> datetime:
    return datetime.fromtimestamp((report.start_us + report.end_us) / 2e6, UTC)
