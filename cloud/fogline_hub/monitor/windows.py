"""The verdicts on one closed window, from summaries of all traffic alone.

Three aspects (inputs, outputs, accuracy), each drift, no drift or insufficient data. A window is a
diagnosis, not an alarm: at 5 % a window most healthy models would have alarmed after a few dozen.
What alarms is `accuracy`.

Like is compared with like: where a season is declared, a window must cover whole seasons. Rows that
resemble their neighbours count for less: the design effect is estimated from the sub-windows that
devices send, after the season's course was taken out, and the reference is taken to be as dependent
as the window. Alpha is shared: half for inputs, a quarter each for outputs and accuracy; within an
aspect the family-wise error is Holm's.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from fogline.errors import InvalidInput
from fogline.summaries import FieldReference, Partial, Reference, accuracy_counts
from fogline_hub.monitor.marginals import ColumnSamples, column_effect, column_p_value
from fogline_hub.monitor.verdict import combine, judge_effect
from fogline_hub.monitor.window_report import (
    Aspect,
    AspectFinding,
    ColumnFinding,
    WindowReport,
    WindowSettings,
)
from fogline_hub.statistics.design import DesignEffect, block_design_effect
from fogline_hub.statistics.intervals import newcombe_difference
from fogline_hub.statistics.multiplicity import holm
from fogline_hub.statistics.shares import CellSample, Floats

Counts = NDArray[np.int64]
SPLIT: dict[Aspect, float] = {"input": 0.5, "output": 0.25, "accuracy": 0.25}
SEASON_SLACK = 0.05
"""A window that misses up to this share of a season still covers it."""
UNIT = "sub-windows without autocorrelation"


def judge_window(
    reference: Reference, parts: Sequence[Partial], settings: WindowSettings | None = None
) -> WindowReport:
    """Judges one window.

    Args:
        reference: The reference of the version that served it.
        parts: Its partials, one or more a sub-window (they are merged by window), in any order.
            Some dozens of sub-windows let dependence be estimated; with fewer, nothing is said.
        settings: Thresholds.

    Raises:
        InvalidInput: no partials, or of several versions.
    """
    if not parts:
        raise InvalidInput("a window without summaries cannot be judged")
    window = _Window(reference, _in_order(parts), settings or WindowSettings())
    whole = window.blocks[0]
    for part in window.blocks[1:]:
        whole = whole.merge(part)
    correct, labelled = accuracy_counts(whole.confusion.counts) if reference.labels else (0, 0)
    known, held_out = accuracy_counts(reference.confusion) if reference.confusion else (0, 0)
    return WindowReport(
        model=whole.scope.model,
        version=whole.scope.version,
        start_us=whole.scope.window_start_us,
        end_us=whole.scope.window_end_us,
        rows=whole.rows,
        labelled_rows=labelled,
        accuracy=correct / labelled if labelled else None,
        reference_accuracy=known / held_out if held_out else None,
        alpha=window.settings.alpha,
        aspects=(
            window.judge_columns("input", reference.inputs),
            window.judge_columns("output", reference.outputs),
            window.judge_accuracy(),
        ),
    )


def _in_order(parts: Sequence[Partial]) -> list[Partial]:
    merged: dict[int, Partial] = {}
    for part in parts:
        start = part.scope.window_start_us
        merged[start] = merged[start].merge(part) if start in merged else part
    return [merged[start] for start in sorted(merged)]


class _Window:
    """One window while it is being judged."""

    def __init__(
        self, reference: Reference, blocks: list[Partial], settings: WindowSettings
    ) -> None:
        self.reference, self.blocks, self.settings = reference, blocks, settings
        self.phases: Floats | None = None
        if reference.season_s > 0:
            middles = [b.scope.window_start_us + b.scope.window_us / 2 for b in blocks]
            self.phases = np.array(middles) / 1e6 / reference.season_s % 1.0
        self.unlike = self._unlike()

    def _unlike(self) -> str:
        """Why the window is not like the reference; empty where it is."""
        if self.reference.season_s <= 0:
            return ""
        start = self.blocks[0].scope.window_start_us
        span_us = max(b.scope.window_end_us for b in self.blocks) - start
        seasons = span_us / 1e6 / self.reference.season_s
        if seasons >= 1 - SEASON_SLACK and abs(seasons - round(seasons)) <= SEASON_SLACK:
            return ""
        return f"the window covers {seasons:.2f} seasons; only whole ones are like the reference"

    def judge_columns(self, aspect: Aspect, fields: Sequence[FieldReference]) -> AspectFinding:
        alpha = self.settings.alpha * SPLIT[aspect]
        sides = [b.inputs if aspect == "input" else b.outputs for b in self.blocks]
        columns: list[ColumnSamples] = []
        designs: list[DesignEffect] = []
        for field in fields:
            counts = np.array([side.counts(field.name) for side in sides])
            if not counts.any() or not any(field.counts):
                continue
            design = self._design(counts, ordered=field.kind == "number")
            missing = sum(side.missing(field.name) for side in sides)
            columns.append(_samples(field, counts.sum(axis=0), missing, design.value))
            designs.append(design)
        if not columns:
            return _silent(aspect, "no values were summarised on both sides")
        p_values = [column_p_value(c) for c in columns]
        units = min(d.units for d in designs)
        unlike = self.unlike or self._too_few(units)
        findings = tuple(
            self._column(column, design, p, float(adjusted), alpha, bool(unlike))
            for column, design, p, adjusted in zip(
                columns, designs, p_values, holm(p_values), strict=True
            )
        )
        return _aspect(aspect, findings, units, unlike)

    def judge_accuracy(self) -> AspectFinding:
        alpha = self.settings.alpha * SPLIT["accuracy"]
        counts = np.array([b.confusion.counts for b in self.blocks])
        known, held_out = accuracy_counts(self.reference.confusion or (0,))
        correct, labelled = accuracy_counts(counts.sum(axis=0)) if self.reference.labels else (0, 0)
        if not labelled or not held_out:
            what = "outcome in the window" if held_out else "held-out outcome in the reference"
            return _silent("accuracy", f"there is no {what}")
        right = [accuracy_counts(c) for c in counts]
        design = self._design(np.array([[c, n - c] for c, n in right]), ordered=True)
        before = (known, held_out)
        after = (correct / design.value, labelled / design.value)
        fall = known / held_out - correct / labelled
        low, high = newcombe_difference(before, after, 1 - 2 * alpha)
        p = _fall_p_value(before, after)
        unlike = self.unlike or self._too_few(design.units)
        verdict = judge_effect(
            detected=bool(low > 0),
            value=fall,
            high=high,
            min_effect=self.settings.min_accuracy_effect,
        )
        share = f"{correct / labelled:.1%} of {labelled} outcomes right"
        change = f"{share}, {known / held_out:.1%} before"
        return AspectFinding(
            aspect="accuracy",
            verdict="insufficient_data" if unlike else verdict,
            detected=bool(low > 0 and not unlike),
            p_value=p,
            effect=fall,
            low=float(low),
            high=float(high),
            unit=UNIT,
            units=design.units,
            why=f"{change}; {unlike}" if unlike else change,
        )

    def _design(self, counts: Counts, *, ordered: bool) -> DesignEffect:
        return block_design_effect(counts, self.phases, ordered=ordered)

    def _too_few(self, units: float) -> str:
        if units >= self.settings.min_units:
            return ""
        return f"{units:.1f} independent sub-windows, {self.settings.min_units:g} are needed"

    def _column(
        self,
        column: ColumnSamples,
        design: DesignEffect,
        p: float,
        adjusted: float,
        alpha: float,
        unlike: bool,
    ) -> ColumnFinding:
        effect = column_effect(column, alpha)
        detected = adjusted <= alpha
        verdict = judge_effect(
            detected=detected,
            value=effect.value,
            high=effect.high,
            min_effect=self.settings.min_effect,
        )
        return ColumnFinding(
            name=column.name,
            kind="number" if column.ordered else "category",
            verdict="insufficient_data" if unlike else verdict,
            detected=detected and not unlike,
            p_value=p,
            p_adjusted=adjusted,
            measure=effect.measure,
            effect=effect.value,
            low=effect.low,
            high=effect.high,
            effective_rows=column.current.effective_rows,
            design_effect=design.value,
        )


def _samples(field: FieldReference, counts: Counts, missing: int, design: float) -> ColumnSamples:
    """Effective counts: as many independent rows as the dependent ones are worth."""
    before, after = np.asarray(field.counts) / design, counts / design
    return ColumnSamples(
        name=field.name,
        ordered=field.kind == "number",
        reference=CellSample.of_counts(before),
        current=CellSample.of_counts(after),
        missing_reference=CellSample.of_counts([before.sum(), field.missing / design]),
        missing_current=CellSample.of_counts([after.sum(), missing / design]),
    )


def _aspect(
    aspect: Aspect, columns: tuple[ColumnFinding, ...], units: float, unlike: str
) -> AspectFinding:
    most = max(columns, key=lambda c: (c.verdict == "drift", c.detected, c.effect))
    drifted = [c.name for c in columns if c.verdict == "drift"]
    verdict = combine(c.verdict for c in columns)
    if unlike:
        why = unlike
    elif drifted:
        why = f"{', '.join(drifted)} changed; most {most.name}: {most.effect:.0%} of its rows moved"
    elif verdict == "no_drift":
        why = f"at most {max(c.high for c in columns):.0%} of any column's rows moved"
    else:
        widest = max(columns, key=lambda c: c.high)
        why = f"up to {widest.high:.0%} of the rows of {widest.name} may have moved; not decided"
    return AspectFinding(
        aspect=aspect,
        verdict=verdict,
        detected=any(c.detected for c in columns),
        p_value=min(c.p_adjusted for c in columns),
        effect=most.effect,
        low=most.low,
        high=most.high,
        unit=UNIT,
        units=units,
        why=why,
        columns=columns,
    )


def _silent(aspect: Aspect, why: str) -> AspectFinding:
    return AspectFinding(
        aspect=aspect,
        verdict="insufficient_data",
        detected=False,
        p_value=1.0,
        effect=0.0,
        low=-1.0 if aspect == "accuracy" else 0.0,
        high=1.0,
        unit=UNIT,
        units=0.0,
        why=why,
    )


def _fall_p_value(before: tuple[float, float], after: tuple[float, float]) -> float:
    """One-sided score test that the second share is below the first."""
    (a, m), (b, n) = before, after
    pooled = (a + b) / (m + n)
    spread = (pooled * (1 - pooled) * (1 / m + 1 / n)) ** 0.5
    return float(norm.sf((a / m - b / n) / spread)) if spread > 0 else 1.0
