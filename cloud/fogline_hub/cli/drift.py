"""`fogline drift compare`: two files, no hub."""

import re
from argparse import Namespace
from pathlib import Path

from fogline import console
from fogline.errors import InvalidInput
from fogline_hub.monitor import DriftReport
from fogline_hub.monitor import compare as compare_tables
from fogline_hub.monitor.files import read_table

_PERIODS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 365 * 86_400}
_SHOWN_PAIRS = 10
_WORDS = {"drift": "DRIFT", "no_drift": "no drift", "insufficient_data": "insufficient data"}


def compare(argv: list[str]) -> int:
    """Exit code 0 whatever the verdict; with `--exit-code` 1 where it is drift."""
    args = _arguments(argv)
    with console.step(f"comparing {Path(args.current).name} with {Path(args.reference).name}"):
        report = compare_tables(
            read_table(Path(args.reference)),
            read_table(Path(args.current)),
            weights=args.weights,
            time=args.time,
            device=args.device,
            season=read_season(args.season),
            unit=args.unit,
            alpha=args.alpha,
            min_effect=args.min_effect,
        )
    console.emit(report, report_text(report), as_json=args.json)
    return 1 if args.exit_code and report.verdict == "drift" else 0


def _arguments(argv: list[str]) -> Namespace:
    parser = console.parser(
        "fogline drift compare",
        "Tells whether the rows of one file have drifted from those of another.\n"
        "P(anything detected, though nothing changed) is at most alpha, over all columns together.",
        "fogline drift compare train.parquet today.parquet",
        "fogline drift compare train.csv live.csv --time at --season 365d --json",
        "fogline drift compare train.parquet samples.parquet --weights weight --device station",
    )
    parser.add_argument("reference", help="what was trained on: Parquet or CSV")
    parser.add_argument("current", help="the same columns now")
    parser.add_argument(
        "--weights", metavar="COL", help="column with sampling weights, 1 / probability"
    )
    parser.add_argument("--time", metavar="COL", help="column with event times")
    parser.add_argument("--device", metavar="COL", help="column with the device's name")
    parser.add_argument(
        "--season",
        metavar="P",
        help="the season's length (365d, 24h, or a number in the unit of the times), or the "
        "column that names its parts",
    )
    parser.add_argument(
        "--unit",
        choices=("auto", "row", "block", "device"),
        default="auto",
        help="what is independent; by default it is found out",
    )
    parser.add_argument(
        "--min-effect",
        metavar="D",
        type=float,
        default=0.05,
        help="share of rows that must have moved to matter (default 0.05)",
    )
    parser.add_argument(
        "--alpha",
        metavar="A",
        type=float,
        default=0.05,
        help="chance of a false detection (default 0.05)",
    )
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 on drift")
    return parser.parse_args(argv)


def read_season(text: str | None) -> str | float | None:
    """A length in seconds, a bare number, or a column's name.

    >>> read_season("24h"), read_season("365"), read_season("month"), read_season(None)
    (86400.0, 365.0, 'month', None)

    Raises:
        InvalidInput: a length that is not above zero.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?)([smhdwy]?)", text)
    if found is None:
        return text
    length = float(found[1]) * _PERIODS_S.get(found[2], 1)
    if length <= 0:
        raise InvalidInput(f"--season {text}: a season's length must be positive")
    return length


def report_text(report: DriftReport) -> str:
    """The report for people."""
    scope = (
        f"{report.n_current} rows against {report.n_reference}; {report.units} units: "
        f"{report.unit_why}"
    )
    rows = [
        {
            "column": f.name,
            "kind": f.kind,
            "verdict": _WORDS[f.verdict],
            "moved": f"{f.effect:.1%}",
            "interval": f"{f.low:.1%} to {f.high:.1%}",
            "p (family-wise)": f.p_adjusted,
            "missing": f"{f.missing_reference:.1%} -> {f.missing_current:.1%}",
        }
        for f in report.features
    ]
    parts = [
        f"{_WORDS[report.verdict]}: {console.printable(report.why)}",
        scope,
        f"alpha {report.alpha:g}, smallest effect that matters {report.min_effect:.0%} of rows",
        "",
        console.table(rows, list(rows[0])),
    ]
    changed = [c for c in report.correlations if c.detected][:_SHOWN_PAIRS]
    if changed:
        pairs = [
            {
                "correlation": " and ".join(c.columns),
                "verdict": _WORDS[c.verdict],
                "before": c.before,
                "after": c.after,
                "p (family-wise)": c.p_adjusted,
            }
            for c in changed
        ]
        parts += ["", console.table(pairs, list(pairs[0]))]
    if report.quality:
        notes = [
            {"column": q.column, "finding": q.finding, "detail": q.detail} for q in report.quality
        ]
        parts += ["", console.table(notes, list(notes[0]))]
    return "\n".join(parts)
