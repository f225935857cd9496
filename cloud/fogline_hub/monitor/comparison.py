"""`compare`: has the current table drifted from the reference?

The family of hypotheses is "no column changed and no correlation did". Alpha is shared between the
columns (four fifths, equally) and the correlations (one fifth); one global test decides detection,
Holm's procedure names what changed, so a detection always has a name. Where rows are not
independent, columns are tested jointly by relabelling whole units.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fogline.errors import InvalidInput
from fogline.summaries.reference import quantile_edges
from fogline_hub.monitor.associations import (
    Associations,
    NullDraws,
    compare_associations,
)
from fogline_hub.monitor.findings import (
    Scale,
    Tested,
    correlation_findings,
    feature_finding,
    summary_sentence,
)
from fogline_hub.monitor.frame import Frame, read_frame
from fogline_hub.monitor.marginals import ColumnSamples, column_p_value
from fogline_hub.monitor.metadata import Metadata, read_metadata
from fogline_hub.monitor.report import DriftReport, QualityFinding
from fogline_hub.monitor.tables import ColumnPair, missing, pair_columns
from fogline_hub.monitor.units import Side, UnitChoice, UnitPlan, choose_units
from fogline_hub.monitor.verdict import combine
from fogline_hub.statistics.design import unit_effective_rows
from fogline_hub.statistics.multiplicity import holm
from fogline_hub.statistics.permutation import UnitTable, permutation_test
from fogline_hub.statistics.shares import CellSample, Floats

COLUMNS_WEIGHT: Final = 0.8
"""Share of alpha for the columns; the rest is for the correlations."""
MAX_CATEGORIES: Final = 500
"""Categories with cells of their own, the most frequent ones; others share one."""
MIN_ROWS: Final = 10
"""Rows on either side below which nothing is decided."""
SERIES_COLUMNS: Final = 30
"""Columns that are looked at for autocorrelation and likeness within devices."""


@dataclass(frozen=True, slots=True, eq=False)
class CountedColumn:
    """One column in cells.

    Attributes:
        k: Cells of values; `reference` and `current` hold int64 [rows] codes, k for missing.
        edges: Of numbers; empty for categories.
    """

    pair: ColumnPair
    k: int
    edges: Floats
    reference: NDArray[np.int64]
    current: NDArray[np.int64]


def compare(  # noqa: PLR0913 - each says one thing about the tables, all have defaults
    reference: object,
    current: object,
    *,
    weights: str | ArrayLike | None = None,
    time: str | None = None,
    device: str | None = None,
    season: str | float | None = None,
    unit: UnitChoice = "auto",
    alpha: float = 0.05,
    min_effect: float = 0.05,
) -> DriftReport:
    """Compares two tables.

    Args:
        reference: pandas, polars or pyarrow table (or a mapping of columns): what was trained on.
        current: The same columns now.
        weights: Sampling weights, 1 / inclusion probability: an array for the current rows, or a
            column's name (of either table; a table without it has equal weights).
        time: Column with event times, in both tables.
        device: Column with the device's name, in both.
        season: Length of the season in the unit of `time` (seconds for timestamps), or a column
            that names the part of the season (month, hour ...) that a row lies in.
        unit: What is independent: rows, blocks, devices, or chosen from the data.
        alpha: Probability that anything is detected when nothing changed.
        min_effect: Smallest effect that matters: the share of rows that moved to other values.

    Raises:
        InvalidInput: not tables, no rows, no common columns, unknown columns, bad weights.
    """
    if not 0 < alpha < 1 or not 0 < min_effect < 1:
        raise InvalidInput(f"alpha ({alpha}) and min_effect ({min_effect}) must lie in (0, 1)")
    frames = (read_frame(reference, "reference"), read_frame(current, "current"))
    metadata = read_metadata(
        frames, weights=weights, time=time, device=device, season=season, unit=unit
    )
    pairs, quality = pair_columns(*frames, metadata.names)
    columns = [count_column(p) for p in pairs]
    plan = choose_units(*_sides(columns, frames, metadata), choice=unit, season=metadata.season)
    return judge_columns(
        columns, plan, metadata, quality=tuple(quality), alpha=alpha, min_effect=min_effect
    )


def count_column(pair: ColumnPair) -> CountedColumn:
    """Puts both sides into cells: the reference's quantiles, or categories by frequency."""
    if not pair.is_number:
        return _count_categories(pair)
    sides = [np.asarray(v, np.float64) for v in (pair.reference, pair.current)]
    known = [v[np.isfinite(v)] for v in sides]
    edges = np.array(quantile_edges(known[0] if len(known[0]) else known[1]))
    codes = [
        np.where(np.isfinite(v), np.searchsorted(edges, v), len(edges) + 1).astype(np.int64)
        for v in sides
    ]
    return CountedColumn(pair, len(edges) + 1, edges, codes[0], codes[1])


def _count_categories(pair: ColumnPair) -> CountedColumn:
    gone = [missing(v, is_number=False) for v in (pair.reference, pair.current)]
    known = [v[~g].astype(str) for v, g in zip((pair.reference, pair.current), gone, strict=True)]
    names, places = np.unique(np.concatenate(known), return_inverse=True)
    tally = np.bincount(places, minlength=len(names))
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.argsort(-tally, kind="stable")] = np.arange(len(names))
    k = min(len(names), MAX_CATEGORIES + 1)
    cells = np.minimum(rank[places], k - 1)
    codes = [np.full(len(g), k, dtype=np.int64) for g in gone]
    codes[0][~gone[0]] = cells[: len(known[0])]
    codes[1][~gone[1]] = cells[len(known[0]) :]
    return CountedColumn(pair, k, np.empty(0), codes[0], codes[1])


def _sides(
    columns: list[CountedColumn], frames: tuple[Frame, Frame], metadata: Metadata
) -> tuple[Side, Side]:
    made = [
        Side(frame.rows, partial(_series, columns, i), metadata.time[i], metadata.device[i])
        for i, frame in enumerate(frames)
    ]
    return made[0], made[1]


def _series(columns: list[CountedColumn], side: int, rows: NDArray[np.int64]) -> Floats:
    """Each number as two series: place in the distribution, and distance from its middle."""
    series: list[Floats] = []
    for column in columns[:SERIES_COLUMNS]:
        codes = (column.reference, column.current)[side][rows].astype(np.float64)
        if column.pair.is_number:
            series += [codes, np.abs(codes - (column.k - 1) / 2)]
        else:
            series.append(np.minimum(codes, 1.0))  # the most frequent category or another
    return np.column_stack(series)


@dataclass(frozen=True, slots=True, eq=False)
class _Decision:
    """Family-wise p-values, and why nothing can be decided; empty where something can."""

    alone: list[float]
    adjusted: list[float]
    correlation_factor: float
    undecidable: str = ""


def judge_columns(
    columns: list[CountedColumn],
    plan: UnitPlan,
    metadata: Metadata,
    *,
    quality: tuple[QualityFinding, ...] = (),
    alpha: float,
    min_effect: float,
    nulls: NullDraws | None = None,
) -> DriftReport:
    """Judges counted columns.

    Args:
        columns: Both sides in cells.
        plan: The units.
        metadata: What else is known of the rows.
        quality: To be carried into the report.
        alpha: Family-wise level.
        min_effect: Smallest effect that matters.
        nulls: Where many windows are compared with one reference: draws kept between calls.
    """
    samples = [_samples(c, plan, metadata) for c in columns]
    associations = compare_associations(
        [c.pair for c in columns], weights=metadata.weights, units=_units(plan), nulls=nulls
    )
    decision = _decide(columns, samples, plan, metadata, associations, alpha)
    features = tuple(
        feature_finding(
            sample,
            Tested(decision.alone[i], decision.adjusted[i], is_decidable=not decision.undecidable),
            alpha=alpha,
            family=len(columns),
            min_effect=min_effect,
            scale=_scale(columns[i]),
        )
        for i, sample in enumerate(samples)
    )
    correlations = (
        correlation_findings(associations, decision.correlation_factor, alpha)
        if associations is not None and not decision.undecidable
        else ()
    )
    verdict = combine(f.verdict for f in features)
    if any(c.verdict == "drift" for c in correlations):
        verdict = "drift"
    detected = any(f.detected for f in features) or any(c.detected for c in correlations)
    return DriftReport(
        detected=detected,
        verdict=verdict,
        unit=plan.unit,
        units=plan.counts[1],
        units_reference=plan.counts[0],
        unit_why=plan.why,
        alpha=alpha,
        min_effect=min_effect,
        n_reference=len(columns[0].reference),
        n_current=len(columns[0].current),
        n_effective=min(s.current.effective_rows for s in samples),
        features=features,
        correlations=correlations,
        quality=quality,
        why=summary_sentence(verdict, features, correlations, decision.undecidable, min_effect),
    )


def _decide(
    columns: list[CountedColumn],
    samples: list[ColumnSamples],
    plan: UnitPlan,
    metadata: Metadata,
    associations: Associations | None,
    alpha: float,
) -> _Decision:
    together = None if associations is None else associations.outcome.p_value
    share = COLUMNS_WEIGHT if together is not None else 1.0
    if plan.relabelling is None:
        return _decide_by_rows(samples, together, share)
    needed = int(np.ceil(1 / (alpha * share)))
    if min(plan.counts) < 1 or plan.relabelling.count < needed:
        return _Decision(
            [1.0] * len(columns),
            [1.0] * len(columns),
            1.0,
            f"{plan.counts[1]} {plan.unit}s against {plan.counts[0]}: "
            f"too few to tell a change from chance at {alpha:g}",
        )
    units = _units(plan)
    assert units is not None
    tables = [_unit_table(c, units, metadata.weights) for c in columns]
    found = permutation_test(tables, plan.relabelling)
    adjusted = np.minimum(1.0, found.adjusted / share)
    return _Decision(found.p_values.tolist(), adjusted.tolist(), 1 / (1 - COLUMNS_WEIGHT))


def _decide_by_rows(
    samples: list[ColumnSamples], together: float | None, share: float
) -> _Decision:
    alone = [column_p_value(s) for s in samples]
    smallest = min(min(s.reference.rows, s.current.rows) for s in samples)
    if together is None:
        adjusted = holm(alone)
        factor = 1.0
    else:
        weights = [share / len(alone)] * len(alone) + [1 - share]
        stepped = holm([*alone, together], weights)
        adjusted, factor = stepped[:-1], float(stepped[-1]) / together
    undecidable = ""
    if max(min(s.missing_reference.rows, s.missing_current.rows) for s in samples) < MIN_ROWS:
        undecidable = f"{smallest} rows on one side; at least {MIN_ROWS} are needed"
    return _Decision(alone, adjusted.tolist(), factor, undecidable)


def _units(plan: UnitPlan) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    if plan.reference is None or plan.current is None:
        return None
    return plan.reference, plan.current


def _scale(column: CountedColumn) -> Scale | None:
    """Boundaries and spread of a number's cells; None for categories and without values."""
    if not column.pair.is_number:
        return None
    sides = [np.asarray(v, np.float64) for v in (column.pair.reference, column.pair.current)]
    known = [v[np.isfinite(v)] for v in sides]
    if not all(len(v) for v in known):
        return None
    outer = [min(v.min() for v in known), max(v.max() for v in known)]
    inner = np.clip(column.edges, *outer)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = float(known[0].std())
    return Scale(np.concatenate([outer[:1], inner, outer[1:]]), spread)


def _samples(column: CountedColumn, plan: UnitPlan, metadata: Metadata) -> ColumnSamples:
    """Both sides in cells; where units are not rows, at the size that their rows are worth."""
    units = _units(plan)
    values: list[CellSample] = []
    absent: list[CellSample] = []
    for i, codes in enumerate((column.reference, column.current)):
        kept = codes < column.k
        gone = (~kept).astype(np.int64)
        weights = metadata.weights[i]
        if units is None:
            w = None if weights is None else weights[kept]
            values.append(CellSample.of_rows(codes[kept], column.k, w))
            absent.append(CellSample.of_rows(gone, 2, weights))
            continue
        for cells, k, sink in ((codes, column.k, values), (gone, 2, absent)):
            sums = _by_unit(cells, k, units[i], weights)
            rows = unit_effective_rows(sums, ordered=column.pair.is_number and sink is values)
            total = sums.sum(axis=0)
            sink.append(CellSample.of_counts(total * rows / max(float(total.sum()), 1e-300)))
    return ColumnSamples(
        column.pair.name, column.pair.is_number, values[0], values[1], absent[0], absent[1]
    )


def _by_unit(
    cells: NDArray[np.int64], k: int, units: NDArray[np.int64], weights: Floats | None
) -> Floats:
    """Sums of weights, float64 [units, k], of rows that have a unit and one of the k cells."""
    kept = (units >= 0) & (cells < k)
    _, places = np.unique(units[kept], return_inverse=True)
    size = int(places.max(initial=-1)) + 1
    flat = places * k + cells[kept]
    w = np.ones(len(flat)) if weights is None else weights[kept]
    return np.bincount(flat, w, minlength=size * k).reshape(size, k).astype(np.float64)


def _unit_table(
    column: CountedColumn,
    units: tuple[NDArray[np.int64], NDArray[np.int64]],
    weights: tuple[Floats | None, Floats | None],
) -> UnitTable:
    """Cells by unit of both sides; missing values are a cell more, behind the others."""
    k = column.k + 1
    count = int(max(u.max(initial=-1) for u in units)) + 1
    sums = np.zeros((count, k))
    for codes, u, w in zip((column.reference, column.current), units, weights, strict=True):
        kept = u >= 0
        mass = None if w is None else w[kept]
        sums += np.bincount(u[kept] * k + codes[kept], mass, minlength=count * k).reshape(count, k)
    if not sums[:, -1].any():
        sums = sums[:, :-1]
    return UnitTable(sums, column.pair.is_number)
