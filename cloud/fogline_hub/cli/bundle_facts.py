"""What `fogline inspect` tells of a bundle."""

from typing import TypeVar

from fogline import console
from fogline.bundle import Bundle, unpack_pipeline
from fogline.records import Record, decode_json, to_plain
from fogline.schema import Field
from fogline.summaries import Reference, accuracy_counts
from fogline_hub.convert import Parity
from fogline_hub.convert.inspection import ModelFacts

T = TypeVar("T", bound=Record)

_MAX_PART_BYTES = 16 * 1024 * 1024


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


def bundle_facts(bundle: Bundle, models: tuple[ModelFacts, ...]) -> BundleFacts:
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


def pipeline_facts(bundle: Bundle) -> tuple[dict[str, object], str]:
    """What `inspect` tells of a bundle whose variants are pipelines: for programs, and for people.

    Raises:
        Corrupt: a definition is not one, or not that of the manifest.
    """
    variants = {}
    lines = [f"{bundle.manifest.name}: a pipeline, digest {bundle.digest}"]
    for variant in bundle.manifest.variants:
        pipeline = unpack_pipeline(bundle, variant.name)
        variants[variant.name] = to_plain(pipeline)
        rows = [
            {"step": step.name, "component": pipeline.components[step.run].ref}
            for step in pipeline.steps
        ]
        lines += [f"variant {variant.name}", console.table(rows, ("step", "component"))]
    facts: dict[str, object] = {
        "name": bundle.manifest.name,
        "digest": bundle.digest,
        "pipelines": variants,
    }
    return facts, "\n".join(lines)


def _part(bundle: Bundle, path: str, kind: type[T]) -> T | None:
    if not path:
        return None
    return decode_json(bundle.read_file(path, _MAX_PART_BYTES), kind, path)


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
