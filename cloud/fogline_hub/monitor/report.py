"""What a comparison of two tables found, as records."""

from typing import Any

from fogline.records import Record, to_plain
from fogline_hub.monitor.verdict import Verdict


class EffectSize(Record, frozen=True, kw_only=True):
    """A further measure of a change, with its interval."""

    measure: str
    value: float
    low: float
    high: float


class FeatureFinding(Record, frozen=True, kw_only=True):
    """One column on both sides.

    Attributes:
        name: The column.
        kind: `number` or `category`.
        verdict: Three-way; `detected` is the test's decision alone, family-wise.
        p_value: Of this column alone; `p_adjusted` family-wise over all that was tested.
        measure: What `effect` measures: `ks` (numbers), `tv` (categories) or `missing`: each a
            share of rows that would have to move.
        low: Lower end of the effect's interval, family-wise; `high` the upper one.
        effect_sizes: Others, for numbers PSI and the Wasserstein distance in standard deviations.
        missing_reference: Share of rows without a value.
        why: One sentence for people.
    """

    name: str
    kind: str
    verdict: Verdict
    detected: bool
    p_value: float
    p_adjusted: float
    measure: str
    effect: float
    low: float
    high: float
    effect_sizes: tuple[EffectSize, ...]
    missing_reference: float
    missing_current: float
    n_effective: float
    why: str


class CorrelationFinding(Record, frozen=True, kw_only=True):
    """One pair of columns: its rank correlation before and after."""

    columns: tuple[str, str]
    verdict: Verdict
    detected: bool
    before: float
    after: float
    effect: float
    p_value: float
    p_adjusted: float


class QualityFinding(Record, frozen=True, kw_only=True):
    """Something about the tables themselves: a column that is gone, new, of another type ..."""

    column: str
    finding: str
    detail: str


class DriftReport(Record, frozen=True, kw_only=True):
    """The comparison of a current table with a reference.

    Attributes:
        detected: Whether any test rejected; P(that, when nothing changed) <= alpha.
        verdict: Drift: detected, and large enough to matter. No drift: no column can have moved by
            `min_effect`. Insufficient data: neither is certain.
        unit: What was counted as independent, and `unit_why` how that was chosen.
        units: How many of them the current table holds.
        n_effective: Rows of the current table that independent, equally weighted ones would be.
        features: One a common column.
        correlations: The pairs that changed most, at most 50.
        quality: What is to be said of the tables themselves.
        why: One sentence for people.
    """

    detected: bool
    verdict: Verdict
    unit: str
    units: int
    units_reference: int
    unit_why: str
    alpha: float
    min_effect: float
    n_reference: int
    n_current: int
    n_effective: float
    features: tuple[FeatureFinding, ...]
    correlations: tuple[CorrelationFinding, ...]
    quality: tuple[QualityFinding, ...]
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        plain: dict[str, Any] = to_plain(self)
        return plain
