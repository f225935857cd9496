"""Rows to train on and rows to judge on, as one query of the lake gives them.

Every row is a sample whose outcome is known, whichever version answered it. What is held out is the
newest stretch of event time, so a challenger is judged on what it will meet next, and no row of it
is trained on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fogline.bundle import Manifest
from fogline.durable import write_durably
from fogline.errors import Unavailable
from fogline.records import canonical_json
from fogline.schema import Field
from fogline.summaries import CategoryIndex
from fogline.tensors import DATATYPES
from fogline_hub.convert.dataset import file_digest
from fogline_hub.lake import Lake
from fogline_hub.lake.captured import samples
from fogline_hub.lake.tables import FEEDBACK, samples_table
from fogline_hub.retrain.folder import JobFolder
from fogline_hub.retrain.interface import (
    ACTUAL,
    EVENT_TIME,
    WEIGHT,
    input_columns,
    is_text,
    label_of,
)
from fogline_hub.retrain.judge import MIN_EFFECTIVE
from fogline_hub.retrain.records import DatasetFacts

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEYS = ("device", "prediction_id", "row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Event times in Unix microseconds.

    Training rows are from `since_us` on, held-out ones from `holdout_us`, none from `until_us`.
    """

    since_us: int
    holdout_us: int
    until_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Not enough to go on yet, and what is missing."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Usable rows and the counts of those left out; columns of a dataset, in event time."""

    table: pa.Table
    repeated: int
    incomplete: int
    unknown_labels: int


def span_of(
    *, watermark_us: int, lateness_s: float, holdout_s: float, history_s: float, change_us: int
) -> Span | Waiting:
    """The stretch of event time to take, once the held-out part lies after the change.

    Outcomes of the last `lateness_s` are still on their way, so it ends before them.
    """
    until_us = watermark_us - round(lateness_s * 1e6)
    holdout_us = until_us - round(holdout_s * 1e6)
    if holdout_us <= change_us:
        days = (change_us - holdout_us) / 86_400e6
        return Waiting(reason=f"the held-out window has to lie after the change: {days:.1f} days")
    since_us = max(change_us, holdout_us - round(history_s * 1e6))
    return Span(since_us=since_us, holdout_us=holdout_us, until_us=until_us)


def gather(
    lake: Lake, manifest: Manifest, span: Span, *, min_rows: int, max_rows: int, folder: JobFolder
) -> DatasetFacts | Waiting:
    """Writes the dataset, once there are enough rows.

    Args:
        lake: With samples and feedback.
        manifest: The champion's.
        span: Which event times.
        min_rows: Training rows that are needed.
        max_rows: Rows kept of each part: the newest to train on, the oldest to judge on, so that
            the two parts stay next to each other.
        folder: Its `dataset` and `judging` are made anew.

    Raises:
        Unsupported: the model is no classifier with named columns.
        Corrupt, Unavailable: the lake cannot be read, or the disk failed.
    """
    label = label_of(manifest)
    versions = {n: lake.table(n).version() for n in (samples_table(manifest.name), FEEDBACK)}
    rows = _usable(lake, manifest, label, span)
    times = rows.table[EVENT_TIME].cast(pa.int64())
    before = pc.less(times, span.holdout_us)
    train, holdout = rows.table.filter(before), rows.table.filter(pc.invert(before))
    if train.num_rows < min_rows or holdout.num_rows < MIN_EFFECTIVE:
        return Waiting(
            reason=f"{train.num_rows} of {min_rows} labelled rows to train on, "
            f"{holdout.num_rows} of {MIN_EFFECTIVE} to judge on"
        )
    kept = train.slice(max(0, train.num_rows - max_rows)), holdout.slice(0, max_rows)
    _write(folder, *kept)
    facts = DatasetFacts(
        model=manifest.name,
        columns=tuple(input_columns(manifest)),
        since_us=span.since_us,
        holdout_us=span.holdout_us,
        until_us=span.until_us,
        train_rows=kept[0].num_rows,
        holdout_rows=kept[1].num_rows,
        repeated=rows.repeated,
        incomplete=rows.incomplete,
        unknown_labels=rows.unknown_labels,
        beyond_bound=rows.table.num_rows - kept[0].num_rows - kept[1].num_rows,
        constant=_most_frequent(kept[0], label),
        lake_versions={n: -1 if v is None else v for n, v in versions.items()},
        train_sha256=file_digest(folder.train),
        holdout_sha256=file_digest(folder.holdout),
    )
    write_durably(folder.facts, canonical_json(facts))
    return facts


def _usable(lake: Lake, manifest: Manifest, label: Field, span: Span) -> _Rows:
    found = samples(
        lake,
        manifest.name,
        since=_EPOCH + timedelta(microseconds=span.since_us),
        until=_EPOCH + timedelta(microseconds=span.until_us),
        labelled=True,
    )
    columns = input_columns(manifest)
    single = found.take(pa.array(_first_of_each(found), pa.int64()))
    whole = single.filter(_has_all(single, columns))
    codes = _codes(whole, label)
    known = codes >= 0
    table = whole.filter(pa.array(known))
    dataset = pa.table(
        {
            **{name: _input(table[f"in.{name}"], kind) for name, kind in columns.items()},
            ACTUAL: _actuals(codes[known], label),
            WEIGHT: table[WEIGHT],
            EVENT_TIME: table[EVENT_TIME],
        }
        if table.num_rows
        else {EVENT_TIME: table[EVENT_TIME]}
    )
    return _Rows(
        table=dataset,
        repeated=found.num_rows - single.num_rows,
        incomplete=single.num_rows - whole.num_rows,
        unknown_labels=whole.num_rows - table.num_rows,
    )


def _first_of_each(found: pa.Table) -> list[int]:
    """Positions of rows, each captured row once: a row must not be on both sides of the split."""
    seen: dict[tuple[object, ...], int] = {}
    keys = zip(*(found[k].to_pylist() for k in _KEYS), strict=True)
    for at, key in enumerate(keys):
        seen.setdefault(key, at)
    return list(seen.values())


def _has_all(table: pa.Table, columns: Mapping[str, str]) -> pa.Array:
    """Rows that have every input; one that no sample of the lake has is missing everywhere."""
    has = pa.array(np.ones(table.num_rows, dtype=np.bool_))
    for name in columns:
        if f"in.{name}" not in table.column_names:
            return pa.array(np.zeros(table.num_rows, dtype=np.bool_))
        has = pc.and_(has, pc.is_valid(table[f"in.{name}"]))
    return has


def _codes(table: pa.Table, label: Field) -> NDArray[np.int64]:
    """Which label each actual is; -1 for a value that is none of them."""
    index = CategoryIndex(label.labels)
    texts, numbers = table["actual_text"].to_pylist(), table["actual_number"].to_pylist()
    codes = [
        index.code(number if text is None else text)
        for text, number in zip(texts, numbers, strict=True)
    ]
    return np.array([c if 0 <= c < len(label.labels) else -1 for c in codes], dtype=np.int64)


def _actuals(codes: NDArray[np.int64], label: Field) -> pa.Array:
    """Labels in the type that the model answers with."""
    names = [label.labels[c] for c in codes]
    kind = DATATYPES[label.datatype].kind
    if kind == "b":
        return pa.array([name.lower() in ("true", "1") for name in names])
    if kind in "iu":
        return pa.array([int(name) for name in names], pa.int64())
    return pa.array(names, pa.string())


def _input(column: pa.ChunkedArray, datatype: str) -> pa.ChunkedArray:
    """In the type that the model was served it in, so that rounding is not done twice."""
    return column if is_text(datatype) else column.cast(pa.from_numpy_dtype(DATATYPES[datatype]))


def _most_frequent(table: pa.Table, label: Field) -> str:
    weights: dict[Any, float] = {}
    for actual, weight in zip(table[ACTUAL].to_pylist(), table[WEIGHT].to_pylist(), strict=True):
        weights[actual] = weights.get(actual, 0.0) + weight
    best = max(weights, key=lambda a: (weights[a], str(a)))
    return label.labels[CategoryIndex(label.labels).code(best)]


def _write(folder: JobFolder, train: pa.Table, holdout: pa.Table) -> None:
    folder.renew(folder.dataset)
    folder.renew(folder.judging)
    _write_table(folder.train, train)
    _write_table(folder.holdout, holdout)
    _write_table(folder.sample, as_traffic(train))
    _write_table(folder.held_out, as_traffic(holdout))


def as_traffic(table: pa.Table) -> pa.Table:
    """Inputs and actuals, as often as their weights say, in as many rows.

    Of each of n equal stretches of the summed weights one point is drawn, by a fixed seed, and the
    row that it falls on is taken: what was captured with a higher probability does not look more
    frequent than it is. (One common step instead of draws resonates with periodic rows.) Equal
    weights change nothing.
    """
    rows = table.drop_columns([WEIGHT, EVENT_TIME])
    weights = np.asarray(table[WEIGHT].to_numpy(), dtype=np.float64)
    if len(weights) == 0 or np.ptp(weights) <= 1e-9 * weights.max():
        return rows
    ends = np.cumsum(weights)
    drawn = np.arange(len(weights)) + np.random.default_rng(0).random(len(weights))
    places = np.searchsorted(ends, drawn * (ends[-1] / len(weights)), side="right")
    return rows.take(pa.array(np.minimum(places, len(weights) - 1)))


def _write_table(path: Path, table: pa.Table) -> None:
    try:
        pq.write_table(table, path, compression="zstd")
    except OSError as e:
        raise Unavailable(f"{path} cannot be written: {e.strerror}") from e
