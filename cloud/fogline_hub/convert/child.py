"""The child of a conversion: `python -m fogline_hub.convert.child`, a job on stdin.

All that touches the source happens here: a pickle is code, and an ONNX file is hostile input too.
Leaves `model.onnx`, `golden.pb`, `reference_sample.parquet` and the report in its folder.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fogline.bundle import encode_cases
from fogline.errors import FoglineError, InvalidInput, Unsupported
from fogline.summaries import accuracy_counts
from fogline_hub.convert import registry
from fogline_hub.convert.dataset import (
    Column,
    Dataset,
    file_bytes,
    file_digest,
    read_dataset,
    write_parquet,
)
from fogline_hub.convert.frame import Frame
from fogline_hub.convert.golden import make_golden
from fogline_hub.convert.handover import (
    GOLDEN,
    MODEL,
    SAMPLE,
    ConversionJob,
    ConversionReport,
)
from fogline_hub.convert.job import serve_job
from fogline_hub.convert.lineage import (
    DataOrigin,
    Lineage,
    machine,
    package_versions,
    python_version,
)
from fogline_hub.convert.parity import Parity
from fogline_hub.convert.proof import Proof, prove
from fogline_hub.convert.reference import make_reference
from fogline_hub.convert.served import ServedModel
from fogline_hub.convert.source import Candidate, TakesLabels, Trained


@dataclass(frozen=True, slots=True)
class _Data:
    """The tables, and the model's columns of them."""

    sample: Dataset
    rows: Frame
    holdout: Dataset | None
    held_out: tuple[Frame, Column] | None


@dataclass(frozen=True, slots=True)
class _Converted:
    candidate: Candidate
    proof: Proof


def convert(job: ConversionJob, folder: Path) -> ConversionReport:
    """Loads, converts, proves, and writes the parts of a bundle into `folder`."""
    sample = read_dataset(Path(job.sample), job.limits)
    source = Path(job.source)
    trained = registry.load(job.framework, source)
    if job.labels:
        if not isinstance(trained, TakesLabels):
            raise InvalidInput(f"{source.name}: the model names its classes itself; drop --labels")
        trained.name_labels(job.labels)
    data = _Data(sample, trained.select(sample, job.target), *_holdout(job, trained))
    made = _best(trained, data.rows, folder)
    with ServedModel(folder / MODEL, made.candidate.schema) as served:
        reference, kept = make_reference(
            served, data.rows, holdout=data.held_out, season_s=job.season_s
        )
        golden = make_golden(
            made.candidate.schema,
            made.proof.served_rows,
            made.proof.original,
            made.proof.parity.tolerance,
            served.run(data.rows),
        )
    (folder / GOLDEN).write_bytes(encode_cases(golden))
    write_parquet(folder / SAMPLE, kept)
    correct, rows = accuracy_counts(reference.confusion) if reference.confusion else (0, 0)
    return ConversionReport(
        schema=made.candidate.schema,
        parity=made.proof.parity,
        reference=reference,
        lineage=_lineage(job, trained, made.candidate, data),
        held_out_rows=rows,
        held_out_correct=correct,
    )


def _holdout(
    job: ConversionJob, trained: Trained
) -> tuple[Dataset | None, tuple[Frame, Column] | None]:
    if job.holdout is None:
        return None, None
    if job.target is None:
        raise InvalidInput("held-out data needs --target, the column with the actual labels")
    held = read_dataset(Path(job.holdout), job.limits)
    return held, (trained.select(held, job.target), held.column(job.target))


def _best(trained: Trained, rows: Frame, folder: Path) -> _Converted:
    """The first way whose answers are the original's, else the one with the fewest that are not."""
    refusals: list[FoglineError] = []
    best: _Converted | None = None
    for attempt in trained.candidates(rows):
        try:
            candidate = attempt()
            (folder / MODEL).write_bytes(candidate.model)
            with ServedModel(folder / MODEL, candidate.schema) as served:
                made = _Converted(
                    candidate,
                    prove(
                        trained,
                        served,
                        rows,
                        lengths=candidate.lengths,
                        takes_no_rows=candidate.takes_no_rows,
                    ),
                )
        except (Unsupported, InvalidInput) as e:
            refusals.append(e)
            continue
        if made.proof.parity.is_allowed:
            return made
        if best is None or _badness(made.proof.parity) < _badness(best.proof.parity):
            best = made
    if best is None:
        raise refusals[0]
    (folder / MODEL).write_bytes(best.candidate.model)
    return best


def _badness(parity: Parity) -> tuple[int, int]:
    return parity.rows_differing, sum(p.rows_differing for p in parity.probes.values())


def _lineage(job: ConversionJob, trained: Trained, candidate: Candidate, data: _Data) -> Lineage:
    source = Path(job.source)
    return Lineage(
        source=source.name,
        source_sha256=file_digest(source),
        source_bytes=file_bytes(source),
        framework=trained.framework,
        kind=trained.kind[:1000],
        plan=candidate.plan,
        sample=_origin(data.sample),
        holdout=None if data.holdout is None else _origin(data.holdout),
        target=job.target,
        packages=package_versions(tuple(trained.packages)),
        python=python_version(),
        machine=machine(),
        created_at=job.created_at,
    )


def _origin(data: Dataset) -> DataOrigin:
    return DataOrigin(
        name=data.name,
        sha256=data.sha256,
        rows=data.total_rows,
        rows_used=data.rows,
        columns=tuple(data.columns),
    )


def main(_: Sequence[str] = ()) -> int:
    return serve_job(ConversionJob, convert)


if __name__ == "__main__":
    sys.exit(main())
