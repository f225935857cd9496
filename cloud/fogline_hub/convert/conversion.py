"""Turns a trained model and a sample into an unsigned bundle, by a limited child.

This process reads neither the source nor the sample; it holds what the child left against the
bundle's rules and packs it.
"""

import re
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from fogline.bundle import BundleDraft, VariantDraft, decode_cases, read_bundle, write_bundle
from fogline.bundle.golden import MAX_GOLDEN_BYTES
from fogline.errors import Conflict, Corrupt, InvalidInput, NotFound
from fogline.ids import check_name
from fogline.records import Record, canonical_json
from fogline.sandbox import Limits, Mechanism, temporary_folder
from fogline_hub.convert.dataset import DatasetLimits, file_digest
from fogline_hub.convert.handover import (
    GOLDEN,
    MODEL,
    SAMPLE,
    ConversionJob,
    ConversionReport,
)
from fogline_hub.convert.isolation import conversion_room
from fogline_hub.convert.job import check_left, read_left, run_job
from fogline_hub.convert.parity import Parity
from fogline_hub.convert.source import check_source

MAX_SAMPLE_BYTES = 64 * 1024 * 1024
BASE_VARIANT = "fp32"
"""The converted model itself, in whatever precision it needs."""


class ConversionLimits(Record, frozen=True, kw_only=True):
    """What one conversion may use."""

    child: Limits = Limits(
        memory_bytes=4 * 2**30,
        timeout_s=600.0,
        cpu_s=1200,
        file_bytes=2**31,
        threads=1024,
        disk_bytes=2**33,
        network=False,
    )
    data: DatasetLimits = DatasetLimits()
    without: frozenset[Mechanism] = frozenset()
    """Mechanisms of isolation that are not to be used, on a machine where one is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What is to be converted.

    Attributes:
        source: File of the trained model.
        sample: Parquet, CSV or npz with rows that it was trained on.
        out: Folder of the bundle, which must not exist or be empty.
        created_at: The bundle's time, aware.
        name: The model's name; the source's without its suffix if empty.
        target: Column of the sample with the actual labels; never an input.
        holdout: Rows that it was not trained on, with the target, for the expected accuracy.
        labels: Names of the classes, in the order of a network's class output; empty where the
            model knows them, or the target is their number.
        season_s: Length of the season in seconds, with which live traffic is compared; 0 for none.
        accept_divergence: Pack a model whose answers are not the original's.
        limits: Bounds.
    """

    source: Path
    sample: Path
    out: Path
    created_at: datetime
    name: str = ""
    target: str | None = None
    holdout: Path | None = None
    labels: tuple[str, ...] = ()
    season_s: float = 0.0
    accept_divergence: bool = False
    limits: ConversionLimits = field(default_factory=ConversionLimits)


class ConversionResult(Record, frozen=True, kw_only=True):
    """What came out."""

    bundle: str
    """The folder; empty when the verdict is not allowed, and then nothing was written."""
    digest: str
    """Of the manifest."""
    name: str
    parity: Parity
    framework: str
    kind: str
    plan: str
    model_bytes: int
    held_out_rows: int
    held_out_correct: int
    duration_s: float


def convert(conversion: Conversion) -> ConversionResult:
    """Converts, proves and packs.

    Returns:
        The verdict, and the bundle where it is allowed.

    Raises:
        NotFound: no such source or data.
        Unsupported: what cannot be converted, and why.
        InvalidInput: source, sample and options do not fit each other.
        Corrupt: source or data is not what its name says.
        Conflict: `out` exists.
        Exhausted: it needed more than the limits allow.
        DeadlineExceeded: in time.
    """
    began = time.monotonic()
    framework = check_source(conversion.source)
    name = conversion.name or _name_of(conversion.source)
    check_name(name, "model name")
    _check_paths(conversion)
    with temporary_folder("fogline-convert-") as folder:
        report, outcome = run_job(
            "fogline_hub.convert.child",
            _job(conversion, framework),
            ConversionReport,
            folder=folder,
            limits=conversion.limits.child,
            what=str(conversion.source),
            room=conversion_room(
                folder, conversion.source, _data(conversion), conversion.limits.without
            ),
        )
        _check_origin(conversion, report)
        parity = msgspec.structs.replace(
            report.parity,
            isolation=tuple(sorted(outcome.isolation)),
            accepted_divergence=conversion.accept_divergence and not report.parity.is_allowed,
        )
        digest = _pack(conversion, name, report, parity, folder) if parity.is_allowed else ""
        size = check_left(folder, MODEL).stat().st_size
    return ConversionResult(
        bundle=str(conversion.out) if digest else "",
        digest=digest,
        name=name,
        parity=parity,
        framework=framework,
        kind=report.lineage.kind,
        plan=report.lineage.plan,
        model_bytes=size,
        held_out_rows=report.held_out_rows,
        held_out_correct=report.held_out_correct,
        duration_s=time.monotonic() - began,
    )


def _pack(
    conversion: Conversion, name: str, report: ConversionReport, parity: Parity, folder: Path
) -> str:
    golden = decode_cases(read_left(folder, GOLDEN, MAX_GOLDEN_BYTES), GOLDEN)
    draft = BundleDraft(
        name=name,
        created_at=conversion.created_at,
        schema=report.schema,
        variants=(
            VariantDraft(
                name=BASE_VARIANT, precision=BASE_VARIANT, model=check_left(folder, MODEL)
            ),
        ),
        golden=golden,
        reference=canonical_json(report.reference),
        reference_sample=read_left(folder, SAMPLE, MAX_SAMPLE_BYTES),
        parity=canonical_json(parity),
        lineage=canonical_json(report.lineage),
    )
    write_bundle(conversion.out, draft)
    return read_bundle(conversion.out).digest


def _job(conversion: Conversion, framework: str) -> ConversionJob:
    holdout = conversion.holdout
    return ConversionJob(
        source=str(conversion.source.resolve()),
        framework=framework,
        sample=str(conversion.sample.resolve()),
        holdout=None if holdout is None else str(holdout.resolve()),
        target=conversion.target,
        labels=conversion.labels,
        season_s=conversion.season_s,
        created_at=conversion.created_at,
        limits=conversion.limits.data,
    )


def _data(conversion: Conversion) -> tuple[Path, ...]:
    holdout = conversion.holdout
    return (conversion.sample,) if holdout is None else (conversion.sample, holdout)


def _check_origin(conversion: Conversion, report: ConversionReport) -> None:
    """Holds what the lineage says of files against the files; its writer may be a stranger."""
    lineage = report.lineage
    said = [(conversion.sample, lineage.sample.sha256)]
    if conversion.source.is_file():
        said.append((conversion.source, lineage.source_sha256))
    if conversion.holdout is not None:
        said.append((conversion.holdout, lineage.holdout.sha256 if lineage.holdout else ""))
    for path, digest in said:
        if file_digest(path) != digest:
            raise Corrupt(f"{path}: changed during the conversion, or the child's report is false")


def _check_paths(conversion: Conversion) -> None:
    """Tells early what would else be told after the work."""
    if conversion.out.resolve() == Path.cwd():
        raise InvalidInput("the bundle's folder cannot be the current one; name a new folder")
    for path in (conversion.sample, conversion.holdout):
        if path is not None and not path.is_file():
            raise NotFound(f"{path}: no such file")
    if conversion.holdout is not None and conversion.target is None:
        raise InvalidInput("held-out data needs --target, the column with the actual labels")
    if conversion.out.exists() and (not conversion.out.is_dir() or any(conversion.out.iterdir())):
        raise Conflict(
            f"{conversion.out} exists and is not empty; choose another folder, or remove it"
        )


def _name_of(source: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", source.stem).strip("-._")[:63] or "model"
