"""The records that a judged window becomes."""

from typing import Annotated, Literal

from msgspec import Meta

from fogline.records import Record
from fogline_hub.monitor.verdict import Verdict

Share = Annotated[float, Meta(gt=0, lt=1)]
Aspect = Literal["input", "output", "accuracy"]


class WindowSettings(Record, frozen=True, kw_only=True):
    """How windows are judged.

    Attributes:
        alpha: Probability that a window without any change is called changed.
        min_effect: Share of rows that must have moved to other values for drift.
        min_accuracy_effect: Fall of accuracy that counts as one.
        min_units: Independent units below which nothing is said.
    """

    alpha: Share = 0.05
    min_effect: Share = 0.1
    min_accuracy_effect: Share = 0.05
    min_units: Annotated[float, Meta(ge=1)] = 10.0


class ColumnFinding(Record, frozen=True, kw_only=True):
    """What the window shows of one column; the effect is a share of rows, with its interval."""

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
    effective_rows: float
    design_effect: float


class AspectFinding(Record, frozen=True, kw_only=True):
    """What the window shows of one aspect.

    Attributes:
        aspect: Inputs, outputs or accuracy.
        verdict: Three-way; `detected` is the test's decision alone.
        p_value: Of "nothing changed here", family-wise over the columns.
        effect: Of the column that changed most; for accuracy its fall (negative: it rose).
        low: Lower end of its interval; `high` the upper one.
        unit: What was counted as independent, and `units` how many of them there were.
        why: One sentence for people.
        columns: One a column; none for accuracy.
    """

    aspect: Aspect
    verdict: Verdict
    detected: bool
    p_value: float
    effect: float
    low: float
    high: float
    unit: str
    units: float
    why: str
    columns: tuple[ColumnFinding, ...] = ()


class WindowReport(Record, frozen=True, kw_only=True):
    """The verdicts on one window of one version; shares are None where nothing was labelled."""

    model: str
    version: int
    start_us: int
    end_us: int
    rows: int
    labelled_rows: int
    accuracy: float | None
    reference_accuracy: float | None
    alpha: float
    aspects: tuple[AspectFinding, ...]

    def aspect(self, name: Aspect) -> AspectFinding:
        return next(a for a in self.aspects if a.aspect == name)
