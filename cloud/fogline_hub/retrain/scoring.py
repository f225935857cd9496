"""Champion and challenger answer the held-out rows, in a limited child: `python -m` this module."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fogline.bundle import Bundle, read_bundle
from fogline.errors import Corrupt
from fogline.records import Record
from fogline.runtime import ModelPlan, Session
from fogline.sandbox import Limits
from fogline.schema import column_names
from fogline.summaries import CategoryIndex
from fogline.tensors import DATATYPES
from fogline_hub.convert.job import run_job, serve_job
from fogline_hub.retrain.folder import JobFolder
from fogline_hub.retrain.interface import ACTUAL, WEIGHT, label_of
from fogline_hub.retrain.judge import Judgement, judge

LIMITS = Limits(memory_bytes=4 * 2**30, timeout_s=300.0, cpu_s=600, file_bytes=2**28, network=False)
BATCH_ROWS = 1024
RUN_DEADLINE_S = 60.0


class ScoringJob(Record, frozen=True, kw_only=True):
    """Paths are absolute; `constant` is a label."""

    champion: str
    challenger: str
    holdout: str
    constant: str


class ScoringReport(Record, frozen=True, kw_only=True):
    """Whether each held-out row was answered rightly, and its weight."""

    champion: tuple[bool, ...]
    challenger: tuple[bool, ...]
    constant: tuple[bool, ...]
    weights: tuple[float, ...]


def score(folder: JobFolder, constant: str, alpha: float) -> Judgement:
    """Judges the challenger's bundle against the champion's on the held-out rows.

    Raises:
        FoglineError: a model cannot answer them; see `convert.job.run_job`.
    """
    job = ScoringJob(
        champion=str(folder.parent.resolve()),
        challenger=str(folder.bundle.resolve()),
        holdout=str(folder.holdout.resolve()),
        constant=constant,
    )
    scratch = folder.renew(folder.scoring)
    module = "fogline_hub.retrain.scoring"
    report, _ = run_job(
        module,
        job,
        ScoringReport,
        folder=scratch,
        limits=LIMITS,
        what="scoring champion and challenger",
    )
    return judge(
        np.array(report.challenger, dtype=np.bool_),
        np.array(report.champion, dtype=np.bool_),
        np.array(report.constant, dtype=np.bool_),
        np.array(report.weights, dtype=np.float64),
        alpha=alpha,
    )


def run(job: ScoringJob, folder: Path) -> ScoringReport:  # noqa: ARG001 - leaves no file
    """The child: asks the preferred variant of both."""
    rows = pq.read_table(job.holdout)
    columns = {n: rows[n].to_numpy(zero_copy_only=False) for n in rows.column_names}
    champion, challenger = read_bundle(Path(job.champion)), read_bundle(Path(job.challenger))
    index = CategoryIndex(label_of(champion.manifest).labels)
    actual = _codes(columns[ACTUAL], index)
    return ScoringReport(
        champion=_right(champion, columns, actual, index),
        challenger=_right(challenger, columns, actual, index),
        constant=tuple((actual == index.code(job.constant)).tolist()),
        weights=tuple(columns[WEIGHT].tolist()),
    )


def _right(
    bundle: Bundle,
    columns: dict[str, NDArray[Any]],
    actual: NDArray[np.int64],
    index: CategoryIndex,
) -> tuple[bool, ...]:
    manifest = bundle.manifest
    variant = manifest.variants[0]
    session = Session.open(bundle.path(variant.file), ModelPlan(), label=variant.file)
    output = label_of(manifest).name
    right: list[bool] = []
    for start in range(0, len(actual), BATCH_ROWS):
        part = slice(start, start + BATCH_ROWS)
        tensors = {
            f.name: _tensor([columns[n][part] for n in column_names(f)], f.datatype, len(f.shape))
            for f in manifest.schema.inputs
        }
        answers = session.run(tensors, [output], deadline_s=RUN_DEADLINE_S)[output].reshape(-1)
        if len(answers) != len(actual[part]):
            raise Corrupt(f"{variant.file}: {len(answers)} answers for {len(actual[part])} rows")
        right += (_codes(answers, index) == actual[part]).tolist()
    return tuple(right)


def _tensor(columns: list[NDArray[Any]], datatype: str, rank: int) -> NDArray[Any]:
    """[rows] or [rows, columns] in the schema's type."""
    typed = [c.astype(DATATYPES[datatype], copy=False) for c in columns]
    return typed[0] if rank == 1 else np.ascontiguousarray(np.stack(typed, axis=1))


def _codes(values: NDArray[Any], index: CategoryIndex) -> NDArray[np.int64]:
    return index.codes(values)


if __name__ == "__main__":
    sys.exit(serve_job(ScoringJob, run))
