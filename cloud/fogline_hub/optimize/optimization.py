"""Looks for smaller or faster variants of a model and adds those that earn their place.

The bundle is written anew beside the old one and put in its place. A bare ONNX file is measured,
and its kept variants are left in a folder of their own where one is named.
"""

import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

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
from fogline.schema import Schema
from fogline_hub.optimize.cache import Cache
from fogline_hub.optimize.choice import FAMILY, Choice, Earning
from fogline_hub.optimize.handover import RowsSource
from fogline_hub.optimize.measurement import Measurement
from fogline_hub.optimize.observed import Observation
from fogline_hub.optimize.profile import HOST, Profile, read_profile
from fogline_hub.optimize.search import (
    Found,
    Progress,
    Search,
    SearchLimits,
    platform_text,
    run_search,
)
from fogline_hub.optimize.variants import BASE

INPUTS_OF_SAMPLE = "in."
"""Begins the names of a model's columns in a bundle's reference sample."""
GOLDEN_MARGIN = 2.0
"""A kept variant's difference from the golden answers, times this, has to pass on a device too."""


OptimizationLimits = SearchLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """What is to be made smaller.

    Attributes:
        bundle: An unsigned bundle, which is replaced; or an `.onnx` file, which is not.
        data: Held-out rows: Parquet, CSV or npz.
        target: Their column with the actual outcome; without it only changes are counted.
        sample: Rows to tune with; without it those of the bundle's own sample, and without
            one every fifth row of `data`, set aside for that.
        profile: Of the device; by default the machine that measures, without budgets.
        earning: What a variant has to bring.
        limits: Bounds.
        cache: Folder of finished parts; None keeps nothing.
        out: Folder, new or empty, for the kept variants of an `.onnx` file.
        observations: What live devices reported.
    """

    bundle: Path
    data: Path
    target: str | None = None
    sample: Path | None = None
    profile: Profile = field(default_factory=lambda: read_profile(HOST))
    earning: Earning = field(default_factory=Earning)
    limits: OptimizationLimits = field(default_factory=OptimizationLimits)
    cache: Path | None = None
    out: Path | None = None
    observations: tuple[Observation, ...] = ()


class OptimizationResult(Record, frozen=True, kw_only=True):
    """What came out."""

    bundle: str
    """The model as it was named."""
    digest: str
    """Of the new manifest; empty for an ONNX file."""
    base: str
    """The variant that the others are made from and measured against."""
    kept: tuple[str, ...]
    """Variants that earned their place, beside the base."""
    measurements: tuple[Measurement, ...]
    """The base first."""
    pareto: tuple[str, ...]
    """Names of those that none beats in all of size, latency, memory and loss."""
    choice: Choice
    """What a device of the profile gets."""
    profile: Profile
    earning: Earning
    family: int
    """Variants over which the error rate holds together."""
    is_complete: bool
    """False where the time budget left variants out."""
    latency_is: Literal["measured", "estimated", "observed"]
    """What the latency of the choice is for the profile's device."""
    platform: str
    """What measured."""
    duration_s: float


def optimize(
    optimization: Optimization, progress: Progress = lambda *_: None
) -> OptimizationResult:
    """Makes, measures and chooses variants, and adds them to a bundle.

    Raises:
        NotFound: no such model or data.
        Corrupt: the model or the data is not what it says.
        InvalidInput: the data does not fit the model.
        Unsupported: inputs that the data cannot fill.
        Exhausted: the model itself needed more than the limits allow.
        DeadlineExceeded: it did in time.
    """
    began = time.monotonic()
    if not optimization.data.is_file():
        raise NotFound(f"{optimization.data}: no such file")
    with _cache_folder(optimization.cache) as folder:
        if optimization.bundle.suffix == ".onnx":
            found, base, digest = _file(optimization, Cache(folder), progress)
        else:
            found, base, digest = _bundle(optimization, Cache(folder), progress)
    return _result(optimization, found, base, digest, time.monotonic() - began)


def _result(
    optimization: Optimization, found: Found, base: str, digest: str, duration_s: float
) -> OptimizationResult:
    def named(name: str) -> str:
        return base if name == BASE else name

    measured = found.measurements
    chosen = next((m for m in measured if m.name == found.choice.name), measured[0])
    return OptimizationResult(
        bundle=str(optimization.bundle),
        digest=digest,
        base=base,
        kept=tuple(m.name for m in measured[1:] if m.is_kept),
        measurements=(msgspec.structs.replace(measured[0], name=base), *measured[1:]),
        pareto=tuple(named(n) for n in found.pareto),
        choice=msgspec.structs.replace(
            found.choice, name=named(found.choice.name), nearest=named(found.choice.nearest)
        ),
        profile=optimization.profile,
        earning=optimization.earning,
        family=FAMILY,
        is_complete=found.is_complete,
        latency_is=_latency_is(chosen, optimization.profile),
        platform=platform_text(),
        duration_s=duration_s,
    )


def _latency_is(one: Measurement, profile: Profile) -> Literal["measured", "estimated", "observed"]:
    if one.observed_us is not None:
        return "observed"
    return "measured" if profile.is_host else "estimated"


@contextmanager
def _cache_folder(cache: Path | None) -> Iterator[Path]:
    if cache is not None:
        yield cache.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="fogline-optimize-") as scratch:
        yield Path(scratch).resolve()


def _search(
    optimization: Optimization,
    model: Path,
    *,
    schema: Schema | None = None,
    golden: Path | None = None,
    sample: Path | None = None,
) -> Search:
    sample = optimization.sample or sample
    return Search(
        model=model.resolve(),
        schema=schema,
        golden=golden.resolve() if golden else None,
        rows=RowsSource(
            data=str(optimization.data.resolve()),
            sample=str(sample.resolve()) if sample else "",
            sample_prefix="" if optimization.sample else INPUTS_OF_SAMPLE,
            target=optimization.target,
            limits=optimization.limits.data,
        ),
        earning=optimization.earning,
        profile=optimization.profile,
        limits=optimization.limits,
        observations=optimization.observations,
    )


def _file(optimization: Optimization, cache: Cache, progress: Progress) -> tuple[Found, str, str]:
    """An ONNX file; kept variants are copied to `out`, a folder each."""
    model, out = optimization.bundle, optimization.out
    if not model.is_file():
        raise NotFound(f"{model}: no such file")
    if out is not None and out.exists() and any(out.iterdir()):
        raise InvalidInput(f"{out}: is not empty; name a new folder")
    found, files = run_search(_search(optimization, model), cache, progress)
    for one in found.measurements[1:] if out is not None else ():
        if one.is_kept and out is not None:
            place = out / one.name
            place.mkdir(parents=True)
            for name in (files[one.name].name, *one.external):
                shutil.copyfile(files[one.name].with_name(name), place / name)
    return found, "fp32", ""


def _bundle(optimization: Optimization, cache: Cache, progress: Progress) -> tuple[Found, str, str]:
    """A bundle, which gets the kept variants."""
    folder = optimization.bundle.resolve()
    if folder == Path.cwd():
        raise InvalidInput(
            "the bundle is replaced, so it cannot be the current folder; go above it"
        )
    if optimization.out is not None:
        raise InvalidInput("a bundle is replaced in its place, so there is no folder to name")
    bundle = read_bundle(folder)
    base = bundle.manifest.variants[0]
    if base.is_pipeline:
        raise Unsupported(f"{optimization.bundle}: a pipeline has no weights; name its models")
    if not bundle.manifest.golden:
        raise InvalidInput(f"{optimization.bundle}: has no golden cases to hold variants against")
    search = _search(
        optimization,
        bundle.path(base.file),
        schema=bundle.manifest.schema,
        golden=bundle.path(bundle.manifest.golden),
        sample=bundle.path(kept) if (kept := bundle.manifest.reference_sample) else None,
    )
    found, files = run_search(search, cache, progress)
    return found, base.name, _write(bundle, base, found, files)


def _write(bundle: Bundle, base: Variant, found: Found, files: Mapping[str, Path]) -> str:
    """Writes the bundle with its kept variants, and puts it in the place of the old one."""
    manifest, measured = bundle.manifest, found.measurements
    tried = {m.name for m in measured}
    drafts = [_draft(bundle, base, _measured(measured[0]))]
    drafts += [
        VariantDraft(
            name=m.name,
            precision=m.precision,
            model=files[m.name],
            external_data={n: files[m.name].with_name(n) for n in m.external},
            measured=_measured(m),
        )
        for m in _distinct(measured)
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


def _distinct(measured: Sequence[Measurement]) -> list[Measurement]:
    """Kept variants, each file once: a device finds out itself with which plan it runs best."""
    kept: dict[str, Measurement] = {}
    for one in measured[1:]:
        if one.is_kept:
            kept.setdefault(one.sha256, one)
    return list(kept.values())


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
