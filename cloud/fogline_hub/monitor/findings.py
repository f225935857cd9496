"""From p-values and counts to findings that a person understands."""

from dataclasses import dataclass

import numpy as np

from fogline_hub.monitor.associations import Associations
from fogline_hub.monitor.marginals import ColumnSamples, column_effect
from fogline_hub.monitor.report import (
    CorrelationFinding,
    EffectSize,
    FeatureFinding,
)
from fogline_hub.monitor.verdict import Verdict, judge_effect
from fogline_hub.statistics.effects import Effect, coarse, population_stability, wasserstein
from fogline_hub.statistics.shares import Floats

MAX_CORRELATIONS = 50
MIN_CORRELATION_EFFECT = 0.1
"""A rank correlation that moved by less is not called drift."""
_WORDS = {
    "ks": "of its rows moved to other values",
    "tv": "of its rows moved to other categories",
    "missing": "of its rows lost or gained a value",
}


@dataclass(frozen=True, slots=True)
class Tested:
    """p-values of a column, alone and family-wise, and whether units suffice to decide by them."""

    p_value: float
    p_adjusted: float
    is_decidable: bool


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Of a numeric column: boundaries [k + 1] of its cells, and the reference's deviation."""

    boundaries: Floats
    spread: float


def feature_finding(
    column: ColumnSamples,
    tested: Tested,
    *,
    alpha: float,
    family: int,
    min_effect: float,
    scale: Scale | None,
) -> FeatureFinding:
    """One column's finding.

    Args:
        column: Its cells.
        tested: What the test found.
        alpha: Family-wise level.
        family: Columns tested together; the lower ends of intervals hold for all of them.
        min_effect: Smallest effect that matters.
        scale: Of a number with values on both sides.
    """
    effect = column_effect(column, alpha)
    low = column_effect(column, alpha / family).low
    detected = tested.is_decidable and tested.p_adjusted <= alpha
    verdict = judge_effect(
        detected=detected, value=effect.value, high=effect.high, min_effect=min_effect
    )
    verdict = verdict if tested.is_decidable else "insufficient_data"
    absent = [
        float(m.sums[1] / max(m.sums.sum(), 1e-300))
        for m in (column.missing_reference, column.missing_current)
    ]
    return FeatureFinding(
        name=column.name,
        kind="number" if column.ordered else "category",
        verdict=verdict,
        detected=detected,
        p_value=tested.p_value,
        p_adjusted=tested.p_adjusted,
        measure=effect.measure,
        effect=effect.value,
        low=low,
        high=effect.high,
        effect_sizes=_sizes(column, scale, alpha),
        missing_reference=absent[0],
        missing_current=absent[1],
        n_effective=column.current.effective_rows,
        why=_sentence(verdict, effect, low, min_effect),
    )


def _sentence(verdict: Verdict, effect: Effect, low: float, min_effect: float) -> str:
    words = _WORDS[effect.measure]
    interval = f"{low:.0%} to {effect.high:.0%}"
    if verdict == "drift":
        return f"{effect.value:.0%} {words} ({interval})"
    if verdict == "no_drift":
        return f"at most {effect.high:.0%} {words}, less than the {min_effect:.0%} that matter"
    return f"{interval} {words}; that neither shows nor excludes {min_effect:.0%}"


def _sizes(column: ColumnSamples, scale: Scale | None, error: float) -> tuple[EffectSize, ...]:
    sides = column.reference, column.current
    if min(s.effective_rows for s in sides) <= 0:
        return ()
    effects = [population_stability(*(coarse(*sides) if column.ordered else sides), error)]
    if scale is not None and scale.spread > 0:
        effects.append(wasserstein(*sides, scale.boundaries, scale.spread, error))
    return tuple(
        EffectSize(measure=e.measure, value=e.value, low=e.low, high=e.high)
        for e in effects
        if np.isfinite([e.value, e.low, e.high]).all()
    )


def correlation_findings(
    found: Associations, factor: float, alpha: float
) -> tuple[CorrelationFinding, ...]:
    """The pairs that changed most, the surest first.

    Args:
        found: The tested pairs.
        factor: What their family's share of alpha multiplies p-values with.
        alpha: Family-wise level.
    """
    outcome = found.outcome
    adjusted = np.minimum(1.0, outcome.adjusted * factor)
    order = np.lexsort((-outcome.statistic, adjusted))[:MAX_CORRELATIONS]
    made = []
    for p in order:
        a, b = found.pairs[p]
        effect = float(abs(outcome.after[p] - outcome.before[p]))
        detected = bool(adjusted[p] <= alpha)
        drifted = detected and effect > MIN_CORRELATION_EFFECT
        made.append(
            CorrelationFinding(
                columns=(found.names[a], found.names[b]),
                verdict="drift" if drifted else "insufficient_data",
                detected=detected,
                before=float(outcome.before[p]),
                after=float(outcome.after[p]),
                effect=effect,
                p_value=float(outcome.p_values[p]),
                p_adjusted=float(adjusted[p]),
            )
        )
    return tuple(made)


def summary_sentence(
    verdict: Verdict,
    features: tuple[FeatureFinding, ...],
    correlations: tuple[CorrelationFinding, ...],
    undecidable: str,
    min_effect: float,
) -> str:
    """What a person reads first."""
    if undecidable:
        return undecidable
    if verdict == "no_drift":
        return f"no column can have moved by {min_effect:.0%} of its rows"
    if verdict == "drift":
        names = [f.name for f in features if f.verdict == "drift"]
        pairs = [" and ".join(c.columns) for c in correlations if c.verdict == "drift"]
        parts = [f"{_few(names)} changed"] if names else []
        parts += [f"{_few(pairs)} no longer go together as before"] if pairs else []
        return "; ".join(parts)
    changed = [f.name for f in features if f.detected]
    if changed or any(c.detected for c in correlations):
        what = _few(changed) or "a correlation"
        return f"something changed ({what}), but not surely enough to matter"
    widest = max(features, key=lambda f: f.high)
    return f"nothing was detected, but {widest.name} could have moved by {widest.high:.0%}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
