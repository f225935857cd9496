"""`fogline convert` and `fogline inspect`."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from fogline import console
from fogline.bundle import read_bundle
from fogline.clock import SystemClock
from fogline.errors import InvalidInput
from fogline.records import to_plain
from fogline_hub.cli.bundle_facts import bundle_facts, pipeline_facts
from fogline_hub.cli.convert_text import (
    bundle_text,
    conversion_text,
    model_text,
)
from fogline_hub.convert import Conversion, ConversionResult
from fogline_hub.convert import convert as run_conversion
from fogline_hub.convert.inspection import inspect_models

_YEAR_DAYS = 365
_PERIODS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "y": _YEAR_DAYS * 86_400}


def convert(argv: list[str]) -> int:
    """Exit code 0 where the verdict is allowed, else 1."""
    args = _convert_arguments(argv)
    conversion = Conversion(
        source=Path(args.source),
        sample=Path(args.sample),
        out=Path(args.out),
        created_at=SystemClock().now(),
        name=args.name,
        target=args.target,
        holdout=Path(args.holdout) if args.holdout else None,
        labels=tuple(args.labels.split(",")) if args.labels else (),
        season_s=read_period(args.season),
        accept_divergence=args.accept_divergence,
    )
    with console.step(f"converting {conversion.source.name} and proving it equal"):
        result = run_conversion(conversion)
    console.emit(_flat(result), conversion_text(result), as_json=args.json)
    return 0 if result.parity.is_allowed else 1


def _flat(result: ConversionResult) -> dict[str, Any]:
    """The result with the parity's fields beside its own, as scripts read it."""
    plain: dict[str, Any] = to_plain(result)
    parity: dict[str, Any] = plain.pop("parity")
    return plain | parity


def inspect(argv: list[str]) -> int:
    parser = console.parser(
        "fogline inspect",
        "Shows what a bundle or an ONNX file holds, without running it.",
        "fogline inspect rain-bundle/",
        "fogline inspect model.onnx --json",
    )
    parser.add_argument("path", help="folder of a bundle, or an ONNX file")
    args = parser.parse_args(argv)
    path = Path(args.path)
    if path.is_dir():
        bundle = read_bundle(path)
        if any(v.is_pipeline for v in bundle.manifest.variants):
            console.emit(*pipeline_facts(bundle), as_json=args.json)
            return 0
        models = inspect_models(tuple(bundle.path(v.file) for v in bundle.manifest.variants))
        facts = bundle_facts(bundle, models)
        console.emit(facts, bundle_text(facts, models), as_json=args.json)
    else:
        (model,) = inspect_models((path,))
        console.emit(model, model_text(model), as_json=args.json)
    return 0


def read_period(text: str) -> float:
    """Seconds of a text such as `365d`, `1y` or `3600`; 0 for the empty text.

    Raises:
        InvalidInput: it is none.

    >>> read_period("365d"), read_period("1y"), read_period("90"), read_period("")
    (31536000.0, 31536000.0, 90.0, 0.0)
    """
    if not text:
        return 0.0
    number, unit = (text[:-1], text[-1]) if text[-1] in _PERIODS_S else (text, "s")
    try:
        seconds = float(number) * _PERIODS_S[unit]
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 1e12:
        raise InvalidInput(f"season {text[:40]!r}: write seconds, or a number with s, m, h, d or y")
    return seconds


def _convert_arguments(argv: list[str]) -> Namespace:
    parser = console.parser(
        "fogline convert",
        "Converts a trained model to an unsigned bundle, and proves that it answers as before.\n"
        "A pickle is code: it is loaded without network, files or processes, or not at all.",
        "fogline convert rain.joblib --sample train.parquet --target rain --out rain-bundle",
        "fogline convert rain.pkl --sample a.csv --target rain --holdout b.csv --out rain-bundle",
        "fogline convert model.onnx --sample rows.npz --out bundle --json",
    )
    parser.add_argument(
        "source", help=".pkl or .joblib of a scikit-learn estimator or Pipeline, or an .onnx file"
    )
    parser.add_argument(
        "--sample", required=True, metavar="DATA", help="rows of training data: Parquet, CSV or npz"
    )
    parser.add_argument("--target", metavar="COLUMN", help="column with the actual labels")
    parser.add_argument(
        "--labels",
        default="",
        metavar="A,B,...",
        help="a network's classes, in the order of its output, where the target is their name",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the bundle, new")
    parser.add_argument("--name", default="", help="the model's name; by default the file's")
    parser.add_argument(
        "--holdout", metavar="DATA", help="rows not trained on, for the expected accuracy"
    )
    parser.add_argument(
        "--season", default="", metavar="TIME", help="length of the data's season, such as 365d"
    )
    parser.add_argument(
        "--accept-divergence",
        action="store_true",
        help="pack the model although its answers differ; the bundle says so",
    )
    return parser.parse_args(argv)
