"""What `fogline optimize` prints for people."""

from fogline import console
from fogline_hub.optimize import Measurement, OptimizationResult

_COLUMNS = (
    "variant",
    "bytes",
    "deflated",
    "p50 us",
    "p10-p90",
    "threads us",
    "device us",
    "peak MiB",
    "quality",
    "flips",
    "loses at most",
    "front",
    "verdict",
)
_DEVICE = {
    "estimated": "device us: ESTIMATES for {name}, which is not here, by arithmetic peak alone",
    "observed": "device us: as live devices of {name} report it; the others are estimates",
}


def optimization_text(result: OptimizationResult) -> str:
    rows = [_measured_row(m, result) for m in result.measurements]
    columns = [c for c in _COLUMNS if any(row.get(c) not in (None, "-") for row in rows)]
    kept = ", ".join(result.kept) or "nothing earned its place"
    lines = [
        console.table(rows, columns),
        "",
        f"beside {result.base}: {kept}   ({result.platform})",
    ]
    if told := _DEVICE.get(result.latency_is):
        lines.append(told.format(name=result.profile.name))
    rate = f"{result.earning.alpha:g}"
    lines += [
        f"loses at most: bounds, one of {result.family} too small at a rate of at most {rate}",
        *(f"  {m.name}: {m.note}" for m in result.measurements if m.note),
        *_choice(result),
    ]
    if not result.is_complete:
        lines.append("the time budget left variants out; the same command goes on from here")
    if result.digest:
        lines.append(f"bundle: {result.bundle} (sha256 {result.digest})")
    return "\n".join(lines)


def _choice(result: OptimizationResult) -> list[str]:
    choice = result.choice
    if choice.name:
        return [f"choice: {choice.name} ({choice.reason})"]
    return [
        f"NOTHING FITS {result.profile.name}; the nearest is {choice.nearest}:",
        *(f"  {m}" for m in choice.misses),
    ]


def _measured_row(one: Measurement, result: OptimizationResult) -> dict[str, object]:
    timing, more, quality = one.timing, one.timing_threads, one.quality
    value = "-"
    if quality is not None and quality.value is not None:
        value = f"{quality.metric} {quality.value:.4f}"
        if quality.low is not None and quality.high is not None:
            value += f" [{quality.low:.4f}, {quality.high:.4f}]"
        if quality.loss and quality.loss_low is not None and quality.loss_high is not None:
            value += f" loss {quality.loss:.4f} [{quality.loss_low:.4f}, {quality.loss_high:.4f}]"
    kept = f"{'kept' if one.is_kept else 'no'}: {one.reason}"
    return {
        "variant": one.name,
        "bytes": one.size_bytes or None,
        "deflated": one.transfer_bytes or None,
        "p50 us": timing.p50 if timing else None,
        "p10-p90": f"{timing.p10:.1f}-{timing.p90:.1f}" if timing else "-",
        "threads us": f"{more.p50:.1f} at {more.threads}" if more else "-",
        "device us": one.observed_us if one.observed_us is not None else one.estimate_us,
        "peak MiB": one.peak_memory_bytes / 2**20 if one.peak_memory_bytes else None,
        "quality": value,
        "flips": quality.label_flips if quality and quality.has_labels else None,
        "loses at most": f"{one.loss_bound:.4f} {one.evidence}"
        if one.loss_bound is not None
        else "-",
        "front": "*" if one.is_pareto else "-",
        "verdict": "the base" if one.name == result.base else kept,
    }
