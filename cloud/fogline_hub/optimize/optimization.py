"""Looks for smaller or faster variants of a bundle's model and adds those that earn their place.

Models are made, asked and timed in a limited child, and loaded once more in a child of their own
for their memory. The bundle is written anew beside the old one and put in its place.
"""

import platform
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import msgspec

from fogline.bundle import (
    Bundle,
    BundleDraft,
    GoldenCase,
    Measured,
    Tolerance,
    Variant,
    VariantDraft,
    decode_cases,
    read_bundle,
    write_bundle,
)
from fogline.bundle.golden import MAX_GOLDEN_BYTES
from fogline.errors import InvalidInput, NotFound, Unsupported
from fogline.records import Record
from fogline.sandbox import Limits
from fogline_hub.convert.dataset import DatasetLimits
from fogline_hub.convert.job import check_left, run_job
from fogline_hub.optimize.choice import Earning, Measurement
from fogline_hub.optimize.handover import BASE, LoadJob, LoadReport, SearchJob, SearchReport

GOLDEN_MARGIN = 2.0
"""A kept variant's difference from the golden answers, times this, has to pass on a device too."""


class OptimizationLimits(Record, frozen=True, kw_only=True):
    """What one search may use."""

    child: Limits = Limits(
        memory_bytes=4 * 2**30, timeout_s=600.0, cpu_s=1200, file_bytes=2**31, network=False
    )
    data: DatasetLimits = DatasetLimits()
    timing_budget_s: float = 0.5
    """Seconds of alternating runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """What is to be made smaller.

    Attributes:
        bundle: An unsigned bundle; it is replaced.
        data: Held-out rows: Parquet, CSV or npz.
        target: Their column with the actual outcome; without it only changes are counted.
        earning: What a variant has to bring.
        limits: Bounds.
    """

    bundle: Path
    data: Path
    target: str | None = None
    earning: Earning = field(default_factory=Earning)
    limits: OptimizationLimits = field(default_factory=OptimizationLimits)


class OptimizationResult(Record, frozen=True, kw_only=True):
    """What came out."""

    bundle: str
    digest: str
    """Of the new manifest."""
    base: str
    """The variant that the others are made from and measured against."""
    kept: tuple[str, ...]
    """Variants that earned their place, beside the base."""
    measurements: tuple[Measurement, ...]
    """The base first."""
    platform: str
    duration_s: float


def optimize(optimization: Optimization) -> OptimizationResult:
    """Makes, measures and adds variants.

    Raises:
        NotFound: no such bundle or data.
        Corrupt: the bundle or the data is not what it says.
        InvalidInput: the data does not fit the model.
        Unsupported: a model with weights in files beside it, or without columns.
        Exhausted: it needed more than the limits allow.
        DeadlineExceeded: in time.
    """
    began = time.monotonic()
    folder = optimization.bundle.resolve()
    if folder == Path.cwd():
        raise InvalidInput(
            "the bundle is replaced, so it cannot be the current folder; go above it"
        )
    bundle = read_bundle(folder)
    if not optimization.data.is_file():
        raise NotFound(f"{optimization.data}: no such file")
    base = bundle.manifest.variants[0]
    if base.external_data:
        raise Unsupported(f"{base.name}: weights in files beside the model are not optimised yet")
    if not bundle.manifest.golden:
        raise InvalidInput(f"{optimization.bundle}: has no golden cases to hold variants against")
    with tempfile.TemporaryDirectory(prefix="fogline-optimize-") as scratch:
        made = Path(scratch)
        report, _ = run_job(
            "fogline_hub.optimize.child",
            _job(bundle, base, optimization),
            SearchReport,
            folder=made,
            limits=optimization.limits.child,
            what=str(optimization.bundle),
        )
        measured = tuple(
            _with_memory(m, bundle, base, made, optimization) if m.is_kept else m
            for m in report.measurements
        )
        digest = _write(bundle, base, measured, made)
    return OptimizationResult(
        bundle=str(optimization.bundle),
        digest=digest,
        base=base.name,
        kept=tuple(m.name for m in measured[1:] if m.is_kept),
        measurements=(_named(measured[0], base), *measured[1:]),
        platform=platform_text(),
        duration_s=time.monotonic() - began,
    )


def platform_text() -> str:
    """What measured: machine and runtime."""
    return (
        f"{platform.system()} {platform.machine()}, onnxruntime {metadata.version('onnxruntime')}"
    )


def _named(measured: Measurement, base: Variant) -> Measurement:
    return msgspec.structs.replace(measured, name=base.name, precision=base.precision)


def _job(bundle: Bundle, base: Variant, optimization: Optimization) -> SearchJob:
    return SearchJob(
        model=str(bundle.path(base.file).resolve()),
        golden=str(bundle.path(bundle.manifest.golden).resolve()),
        schema=bundle.manifest.schema,
        data=str(optimization.data.resolve()),
        target=optimization.target,
        earning=optimization.earning,
        timing_budget_s=optimization.limits.timing_budget_s,
        limits=optimization.limits.data,
    )


def _with_memory(
    one: Measurement, bundle: Bundle, base: Variant, folder: Path, optimization: Optimization
) -> Measurement:
    model = bundle.path(base.file) if one.name == BASE else check_left(folder, f"{one.name}.onnx")
    job = LoadJob(
        model=str(model.resolve()), golden=str(bundle.path(bundle.manifest.golden).resolve())
    )
    with tempfile.TemporaryDirectory(prefix="fogline-load-") as scratch:
        _, outcome = run_job(
            "fogline_hub.optimize.load",
            job,
            LoadReport,
            folder=Path(scratch),
            limits=optimization.limits.child,
            what=one.name,
        )
    return msgspec.structs.replace(one, peak_memory_bytes=outcome.peak_rss_bytes)


def _write(bundle: Bundle, base: Variant, measured: tuple[Measurement, ...], folder: Path) -> str:
    """Writes the bundle with its kept variants, and puts it in the place of the old one."""
    manifest = bundle.manifest
    tried = {m.name for m in measured}
    drafts = [_draft(bundle, base, _measured(measured[0]))]
    drafts += [
        VariantDraft(
            name=m.name,
            precision=m.precision,
            model=check_left(folder, f"{m.name}.onnx"),
            measured=_measured(m),
        )
        for m in measured[1:]
        if m.is_kept
    ]
    drafts += [_draft(bundle, v, v.measured) for v in manifest.variants[1:] if v.name not in tried]
    golden = decode_cases(bundle.read_file(manifest.golden, MAX_GOLDEN_BYTES), manifest.golden)
    draft = BundleDraft(
        name=manifest.name,
        created_at=manifest.created_at,
        schema=manifest.schema,
        variants=tuple(drafts),
        golden=_loosened(golden, max(m.golden_difference for m in measured if m.is_kept)),
        **{
            part: bundle.path(path)
            for part in ("reference", "reference_sample", "parity", "lineage")
            if (path := getattr(manifest, part))
        },
    )
    token = secrets.token_hex(4)
    made = bundle.folder.with_name(f".{bundle.folder.name}.{token}.new")
    old = bundle.folder.with_name(f".{bundle.folder.name}.{token}.old")
    write_bundle(made, draft)
    digest = read_bundle(made).digest
    bundle.folder.rename(old)
    made.rename(bundle.folder)
    shutil.rmtree(old)
    return digest


def _draft(bundle: Bundle, variant: Variant, measured: Measured | None) -> VariantDraft:
    folder = Path(variant.file).parent
    return VariantDraft(
        name=variant.name,
        precision=variant.precision,
        model=bundle.path(variant.file),
        external_data={
            str(Path(p).relative_to(folder)): bundle.path(p) for p in variant.external_data
        },
        measured=measured,
    )


def _measured(one: Measurement) -> Measured:
    quality, timing = one.quality, one.timing
    if quality is None or timing is None:
        raise InvalidInput(f"{one.name} was kept without being measured")
    return Measured(
        size_bytes=one.size_bytes,
        latency_us_p50=timing.p50,
        latency_us_p90=timing.p90,
        peak_memory_bytes=one.peak_memory_bytes,
        platform=platform_text(),
        rows=quality.rows,
        quality=quality.value,
        quality_metric=quality.metric,
        label_flips=quality.label_flips,
    )


def _loosened(golden: tuple[GoldenCase, ...], difference: float) -> tuple[GoldenCase, ...]:
    """The cases, passed by all kept variants: one tolerance serves the whole bundle."""
    reach = GOLDEN_MARGIN * difference
    return tuple(
        GoldenCase(
            inputs=case.inputs,
            outputs=case.outputs,
            tolerances={
                name: Tolerance(absolute=max(t.absolute, reach), relative=t.relative)
                for name, t in case.tolerances.items()
            },
        )
        for case in golden
    )
