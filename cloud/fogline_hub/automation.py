"""What an operator lets the hub do with a model by itself: watch it, retrain it, roll it out.

One record a model, given as TOML to `fogline models automate`. Without one the hub only stores.
Times are event time, in seconds, so a replay of old data is judged by its own clock.
"""

from typing import Annotated, Any

from msgspec import Meta, field

from fogline.desired import Name
from fogline.records import Record

Seconds = Annotated[float, Meta(gt=0, le=3.2e9)]
Share = Annotated[float, Meta(gt=0, lt=1)]

CHAMPION = "champion"
"""The alias of the version that serves."""


class Watch(Record, frozen=True, kw_only=True):
    """How windows are judged."""

    window_s: Seconds
    """Length of a judged window; a whole season where the data has one, so that seasons are not
    taken for drift."""
    block_s: Seconds
    """Length of the blocks that accuracy is followed in; a multiple of the capture window."""
    lateness_s: Annotated[float, Meta(ge=0, le=3.2e9)] = 0.0
    """A block is closed when event time has passed its end by this much: the longest delay of
    feedback that still counts."""
    alpha: Share = 0.05
    """Family-wise false-detection rate of one window's report."""
    alarm_alpha: Share = 0.01
    """P(ever a false accuracy alarm) over the life of a version."""
    min_effect: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    """Smallest fall in accuracy, and smallest share of moved rows, that a window calls drift."""
    alarm_min_effect: Annotated[float, Meta(ge=0, lt=1)] = 0.01
    """Rise of the error rate, beyond the reference's upper bound, that raises no alarm."""
    idle_s: Annotated[float, Meta(gt=0, le=864_000)] = 60.0
    """A device that sent no summary for this long on the hub's own clock, while others did, is not
    waited for."""


class Retrain(Record, frozen=True, kw_only=True):
    """When a challenger is trained, on what, and what it has to beat."""

    trainer: Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """`module:function`, installed on the hub: the contract is in `retrain/trainer.py`."""
    params: dict[str, Any] = field(default_factory=dict)
    """Handed to the trainer as they are."""
    history_s: Seconds
    """Rows older than this before the holdout are not trained on."""
    holdout_s: Seconds
    """Length of the newest window, which no training sees and the judge decides on."""
    min_rows: Annotated[int, Meta(ge=10, le=100_000_000)] = 200
    """Labelled sampled rows since the change that training needs; the attempt waits for them."""
    cooldown_s: Seconds
    """Event time from an attempt that ended without promotion to the next."""
    alpha: Share = 0.05
    """One minus the confidence of the judge's intervals, shared by its comparisons."""
    timeout_s: Annotated[float, Meta(gt=0, le=864_000)] = 3600.0
    memory_bytes: Annotated[int, Meta(ge=1 << 26)] = 4 << 30


class Automation(Record, frozen=True, kw_only=True):
    """The whole of it."""

    group: Name
    """The group that the model runs in, and that a promoted challenger rolls out to."""
    waves: Annotated[str, Meta(min_length=1, max_length=200)] = "1,100%"
    watch: Watch
    retrain: Retrain | None = None
    """Without it alarms are raised and nobody retrains."""
