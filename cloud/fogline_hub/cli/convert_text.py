"""What `fogline convert` and `inspect` print for people."""

from fogline import console
from fogline.schema import Field
from fogline_hub.cli.bundle_facts import BundleFacts
from fogline_hub.convert import ConversionResult, Parity, Verdict
from fogline_hub.convert.dataset import shown_names
from fogline_hub.convert.inspection import ModelFacts
from fogline_hub.convert.parity import Difference

_MARKS = {Verdict.EXACT: "exact", Verdict.WITHIN_TOLERANCE: "within tolerance"}


def conversion_text(result: ConversionResult) -> str:
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
        _isolation(parity),
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


def _isolation(parity: Parity) -> str:
    held = ", ".join(parity.isolation) or "nothing"
    return f"the source was loaded in a child of its own; what held of isolation: {held}"


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


def bundle_text(facts: BundleFacts, models: tuple[ModelFacts, ...]) -> str:
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


def model_text(model: ModelFacts) -> str:
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
