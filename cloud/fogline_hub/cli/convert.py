"""`fogline convert`, `fogline optimize` and `fogline inspect`."""

from argparse import Namespace
from pathlib import Path
from typing import TypeVar

from fogline import console
from fogline.bundle import Bundle, read_bundle
from fogline.clock import SystemClock
from fogline.errors import InvalidInput
from fogline.records import Record, decode_json
from fogline.schema import Field
from fogline.summaries import Reference, accuracy_counts
from fogline_hub.convert import Conversion, ConversionResult, Parity, Verdict
from fogline_hub.convert import convert as run_conversion
from fogline_hub.convert.dataset import shown_names
from fogline_hub.convert.inspection import ModelFacts, inspect_models
from fogline_hub.convert.parity import Difference
from fogline_hub.optimize import Earning, Measurement, Optimization, OptimizationResult
from fogline_hub.optimize import optimize as run_optimization

T = TypeVar("T", bound=Record)

_YEAR_DAYS = 365
_PERIODS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "y": _YEAR_DAYS * 86_400}
_MAX_PART_BYTES = 16 * 1024 * 1024
_MARKS = {Verdict.EXACT: "exact", Verdict.WITHIN_TOLERANCE: "within tolerance"}


class BundleFacts(Record, frozen=True, kw_only=True):
    """What `inspect` tells of a bundle."""

    name: str
    digest: str
    created_at: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    variants: list[dict[str, object]]
    parity: Parity | None
    reference: dict[str, object] | None


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
        season_s=read_period(args.season),
        accept_divergence=args.accept_divergence,
    )
    with console.step(f"converting {conversion.source.name} and proving it equal"):
        result = run_conversion(conversion)
    console.emit(result, _told(result), as_json=args.json)
    return 0 if result.parity.is_allowed else 1


def optimize(argv: list[str]) -> int:
    """Exit code 0 also where nothing earned its place: that is an answer."""
    parser = console.parser(
        "fogline optimize",
        "Measures smaller variants of a bundle's model and adds those that earn their place.",
        "fogline optimize rain-bundle --data test.parquet --target rain",
        "fogline optimize rain-bundle --data test.csv --target rain --max-loss 0.5% --json",
    )
    parser.add_argument("bundle", help="folder of an unsigned bundle; it is replaced")
    parser.add_argument("--data", required=True, help="rows not trained on: Parquet, CSV or npz")
    parser.add_argument("--target", metavar="COLUMN", help="column with the actual outcome")
    parser.add_argument(
        "--max-loss",
        default="0.5%",
        help="quality that a variant may lose, and share of labels that may change (%(default)s)",
    )
    args = parser.parse_args(argv)
    optimization = Optimization(
        bundle=Path(args.bundle),
        data=Path(args.data),
        target=args.target,
        earning=Earning(max_loss=read_share(args.max_loss)),
    )
    with console.step(f"measuring variants of {optimization.bundle.name}"):
        result = run_optimization(optimization)
    console.emit(result, _optimized_text(result), as_json=args.json)
    return 0


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
        models = inspect_models(tuple(bundle.path(v.file) for v in bundle.manifest.variants))
        facts = _bundle_facts(bundle, models)
        console.emit(facts, _bundle_text(facts, models), as_json=args.json)
    else:
        (model,) = inspect_models((path,))
        console.emit(model, _model_text(model), as_json=args.json)
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


def read_share(text: str) -> float:
    """A share of a text such as `0.5%` or `0.005`.

    Raises:
        InvalidInput: it is none between 0 and 1.

    >>> read_share("0.5%"), read_share("0.25")
    (0.005, 0.25)
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InvalidInput(f"{text[:40]!r} is no share: write 0.5% or 0.005")
    return share


def _convert_arguments(argv: list[str]) -> Namespace:
    parser = console.parser(
        "fogline convert",
        "Converts a trained model to an unsigned bundle, and proves that it answers as before.",
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


def _told(result: ConversionResult) -> str:
    parity = result.parity
    rows = [_difference_row("sample", parity)]
    rows += [_difference_row(name, probe) for name, probe in sorted(parity.probes.items())]
    columns = ("rows of", "rows", "differing", "label flips", "max difference", "note")
    verdict = _MARKS.get(parity.verdict, "DIVERGES from the original")
    lines = [
        f"{result.kind}: {verdict} ({result.plan}; {result.model_bytes} bytes)",
        "",
        console.table(rows, columns),
        "",
        f"isolation while loading: {', '.join(parity.isolation) or 'none held'}, no file system",
    ]
    if result.held_out_rows:
        share = result.held_out_correct / result.held_out_rows
        lines.append(
            f"held out: {result.held_out_correct} of {result.held_out_rows} right ({share:.1%})"
        )
    if result.bundle:
        lines.append(f"bundle: {result.bundle} (sha256 {result.digest})")
    else:
        lines += [f"  worst: {e.where} row {e.row}: {e.difference}" for e in parity.worst[:5]]
        lines.append("no bundle was written; --accept-divergence packs it all the same")
    return "\n".join(lines)


def _difference_row(name: str, found: Parity | Difference) -> dict[str, object]:
    ties = f"{found.tied_flips} of the flips are ties" if found.tied_flips else ""
    return {
        "rows of": name,
        "rows": found.rows,
        "differing": found.rows_differing,
        "label flips": found.label_flips,
        "max difference": found.max_abs_difference,
        "note": found.note if isinstance(found, Difference) and found.note else ties,
    }


def _optimized_text(result: OptimizationResult) -> str:
    rows = [_measured_row(m, result.base) for m in result.measurements]
    columns = ("variant", "bytes", "p50 us", "p10-p90", "peak MiB", "quality", "flips", "verdict")
    kept = ", ".join(result.kept) or "nothing earned its place"
    return "\n".join(
        (
            console.table(rows, columns),
            "",
            f"beside {result.base}: {kept}   (1 thread, {result.platform})",
            f"bundle: {result.bundle} (sha256 {result.digest})",
        )
    )


def _measured_row(one: Measurement, base: str) -> dict[str, object]:
    timing, quality = one.timing, one.quality
    value = "-"
    if quality is not None and quality.value is not None:
        value = f"{quality.metric} {quality.value:.4f}"
        if quality.low is not None and quality.high is not None:
            value += f" [{quality.low:.4f}, {quality.high:.4f}]"
    return {
        "variant": one.name,
        "bytes": one.size_bytes or None,
        "p50 us": timing.p50 if timing else None,
        "p10-p90": f"{timing.p10:.1f}-{timing.p90:.1f}" if timing else "-",
        "peak MiB": one.peak_memory_bytes / 2**20 if one.peak_memory_bytes else None,
        "quality": value,
        "flips": quality.label_flips if quality else None,
        "verdict": "the base"
        if one.name == base
        else f"{'kept' if one.is_kept else 'no'}: " + one.reason,
    }


def _bundle_facts(bundle: Bundle, models: tuple[ModelFacts, ...]) -> BundleFacts:
    manifest = bundle.manifest
    parity = _part(bundle, manifest.parity, Parity)
    reference = _part(bundle, manifest.reference, Reference)
    return BundleFacts(
        name=manifest.name,
        digest=bundle.digest,
        created_at=manifest.created_at.isoformat(),
        inputs=manifest.schema.inputs,
        outputs=manifest.schema.outputs,
        variants=[
            {
                "variant": v.name,
                "precision": v.precision,
                "bytes": m.size_bytes,
                "opset": ", ".join(f"{k} {n}" for k, n in m.opsets.items()),
                "operators": sum(m.operators.values()),
                "p50 us": v.measured.latency_us_p50 if v.measured else None,
                "quality": v.measured.quality if v.measured else None,
                "sha256": next(f.sha256 for f in manifest.files if f.path == v.file),
            }
            for v, m in zip(manifest.variants, models, strict=True)
        ],
        parity=parity,
        reference=None if reference is None else _reference_row(reference),
    )


def _part(bundle: Bundle, path: str, kind: type[T]) -> T | None:
    if not path:
        return None
    return decode_json(bundle.read_file(path, _MAX_PART_BYTES), kind, path)


def _field_row(side: str, field: Field) -> dict[str, object]:
    return {
        "side": side,
        "name": field.name,
        "datatype": field.datatype,
        "shape": list(field.shape),
        "role": field.role,
        "columns": shown_names(field.columns, 4) if field.columns else "",
        "labels": shown_names(field.labels, 6) if field.labels else "",
    }


def _reference_row(reference: Reference) -> dict[str, object]:
    correct, rows = accuracy_counts(reference.confusion) if reference.confusion else (0, 0)
    return {
        "rows": reference.rows,
        "season_s": reference.season_s,
        "inputs": [f.name for f in reference.inputs],
        "outputs": [f.name for f in reference.outputs],
        "labels": list(reference.labels),
        "held_out_rows": rows,
        "held_out_correct": correct,
    }


def _bundle_text(facts: BundleFacts, models: tuple[ModelFacts, ...]) -> str:
    fields = [_field_row("input", f) for f in facts.inputs]
    fields += [_field_row("output", f) for f in facts.outputs]
    lines = [
        f"{facts.name}  made {facts.created_at}  sha256 {facts.digest}",
        "",
        console.table(fields, ("side", "name", "datatype", "shape", "role", "columns", "labels")),
        "",
        console.table(
            facts.variants,
            ("variant", "precision", "bytes", "p50 us", "quality", "opset", "operators", "sha256"),
        ),
        "",
        f"operators of the first variant: {_counts(models[0].operators)}",
    ]
    if facts.parity is None:
        lines.append("parity: not proved")
    else:
        verdict = _MARKS.get(facts.parity.verdict, "DIVERGES, accepted by its maker")
        lines.append(
            f"parity: {verdict}; {facts.parity.rows_differing} of {facts.parity.rows} rows differ, "
            f"{facts.parity.label_flips} label flips, {len(facts.parity.probes)} probes"
        )
    if facts.reference is None:
        lines.append("reference: none")
    else:
        season = float(str(facts.reference["season_s"]))
        shown = f"season {season / 86_400:g} days" if season else "no season declared"
        lines.append(f"reference: {facts.reference['rows']} rows, {shown}")
    return "\n".join(lines)


def _model_text(model: ModelFacts) -> str:
    tensors = [
        {"side": side, "name": t.name, "type": t.type, "shape": f"[{', '.join(t.shape)}]"}
        for side, listed in (("input", model.inputs), ("output", model.outputs))
        for t in listed
    ]
    return "\n".join(
        (
            f"ONNX, {model.size_bytes} bytes, IR {model.ir_version}, opset "
            + ", ".join(f"{k} {n}" for k, n in model.opsets.items()),
            f"{model.parameters} parameters in {model.initializers} initializers",
            "",
            console.table(tensors, ("side", "name", "type", "shape")),
            "",
            f"operators: {_counts(model.operators)}",
        )
    )


def _counts(operators: dict[str, int]) -> str:
    return ", ".join(f"{name} x{n}" if n > 1 else name for name, n in operators.items())
