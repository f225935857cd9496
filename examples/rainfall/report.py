"""The closing tables. Pure: results in, text out."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from examples.rainfall.comparison import Gain
from examples.rainfall.results import Flags, Results, year_of
from fogline import console
from fogline_hub.monitor import WindowReport

WORDS = {"drift": "drift", "no_drift": "no drift", "insufficient_data": "insufficient data"}


def closing(results: Results) -> str:
    parts = ["stations", stations(results), "", "verdicts by year", verdicts(results)]
    if results.retrainings:
        parts += ["", "retrainings", retrainings(results)]
    return "\n".join([*parts, "", *accuracies(results)])


def stations(results: Results) -> str:
    rows = []
    for number, station in enumerate(results.stations):
        mine = results.answers.version[results.answers.station == number]
        answered = {v: int((mine == v).sum()) for v in results.versions}
        sample = station.streams["sample"]
        sent = sum(s.sent for s in station.streams.values())
        rows.append(
            {
                "station": station.name,
                "serves": station.serving,
                "answered by": ", ".join(f"v{v}: {n}" for v, n in answered.items()),
                "requests": station.traffic.requests,
                "failed": station.traffic.failures,
                "messages sent": sent,
                "stored": sum(s.stored for s in station.streams.values()),
                "samples stored": sample.rows,
                "outcomes stored": station.streams["feedback"].rows,
                "KiB over the air": round(station.bytes_sent / 1024),
            }
        )
    return console.table(rows, list(rows[0]))


def verdicts(results: Results) -> str:
    """Neighbouring years with the same verdicts share a line."""
    rows = []
    ordered = sorted(results.reports, key=lambda r: (r.version, r.start_us))
    for key, group in groupby(ordered, key=_verdicts_of):
        run = list(group)
        years = sorted({year_of(r) for r in run})
        rows.append(
            {
                "years": f"{years[0]}-{years[-1]}" if len(years) > 1 else f"{years[0]}",
                "version": key[0],
                "rows": sum(r.rows for r in run),
                "accuracy": _pooled_accuracy(run),
                **dict(zip(("input", "output", "accuracy fell"), key[1:], strict=True)),
            }
        )
    return console.table(rows, list(rows[0])) if rows else "(no window was judged)"


def retrainings(results: Results) -> str:
    rows: list[dict[str, object]] = []
    for one in sorted(results.retrainings, key=lambda r: r.id):
        dataset, judged = one.dataset, one.judgement
        rows.append(
            {
                "id": one.id,
                "of": f"v{one.champion}",
                "state": one.state.value,
                "challenger": f"v{one.challenger}" if one.challenger else "-",
                "trained on": dataset.train_rows if dataset else None,
                "judged on": dataset.holdout_rows if dataset else None,
                "challenger's": judged.accuracy_challenger if judged else None,
                "champion's": judged.accuracy_champion if judged else None,
                "constant's": judged.accuracy_constant if judged else None,
                "why": one.reason,
            }
        )
    return console.table(rows, list(rows[0]))


def accuracies(results: Results) -> Iterator[str]:
    """Pooled accuracy before and after promotion."""
    if not results.after.any():
        all_days = _share(results.served_right(), results.asked)
        yield f"the first version answered all days: {all_days}"
        return
    before = results.asked & ~results.after
    yield f"first version, until promotion   {_share(results.served_right(), before)}"
    yield f"first version, had it stayed     {_share(results.champion_right(), results.after)}"
    yield f"majority class, after promotion  {_share(results.constant_right(), results.after)}"
    yield f"retrained, after promotion       {_share(results.served_right(), results.after)}"
    yield f"retrained over first version     {_gain(results.over_champion())}"
    yield f"retrained over majority class    {_gain(results.over_constant())}"


def _verdicts_of(report: WindowReport) -> tuple[object, ...]:
    told = (WORDS[report.aspect(name).verdict] for name in ("input", "output", "accuracy"))
    return report.version, *told


def _pooled_accuracy(run: list[WindowReport]) -> float | None:
    labelled = [r for r in run if r.accuracy is not None]
    if not labelled:
        return None
    weights = [r.labelled_rows for r in labelled]
    return round(float(np.average([r.accuracy or 0.0 for r in labelled], weights=weights)), 3)


def _share(right: Flags, among: Flags) -> str:
    return f"{right[among].mean():.3f} of {int(among.sum())} days" if among.any() else "no days"


def _gain(found: Gain) -> str:
    return f"{found.estimate:+.3f} ({found.low:+.3f} to {found.high:+.3f}, 95 %)"
