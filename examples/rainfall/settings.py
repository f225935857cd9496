"""What the demonstration asks for: its arguments, and the policies that an operator would write.

No verdict depends on anything here but these policies: thresholds, changes and dates are found by
the hub from what it was sent.
"""

from dataclasses import dataclass
from pathlib import Path

from examples.rainfall.pace import Pace
from examples.rainfall.weather import SEASON

SEASON_S = SEASON.total_seconds()
BLOCKS_PER_SEASON = 12
BLOCK_S = SEASON_S / BLOCKS_PER_SEASON
TRAINED_SEASONS = 5
STATIONS = 3
OUTCOME_DELAY_DAYS = 7
"""From a day to the moment when its outcome is told."""
GROUP = "stations"

CAPTURE = {
    "sample_rate": 0.5,
    "strategy": "uncertain",
    "window_s": int(BLOCK_S),
    "flush_interval_s": 1,
}
"""What comes home: a summary of all traffic by months, and every second row, the unsure ones
rather."""

PACE = Pace(
    full=600.0,
    working=SEASON_S / 86_400 / 15,
    max_lag_days=3 * SEASON_S / 86_400,
    max_skew_days=12,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The arguments."""

    seed: int
    shuffle: bool
    out: Path
    keep: bool


ALPHA = 0.05
"""Rate of false detections of a judged window, as the policy states it."""

AUTOMATION = f"""\
# What the hub may do by itself. Times are event time, in seconds; a season is a year.
group = "{GROUP}"
waves = "1,100%"

[watch]
window_s = {SEASON_S}
block_s = {BLOCK_S}
lateness_s = {30 * 86_400}
alpha = {ALPHA}

[retrain]
trainer = "examples.rainfall.trainer:train"
history_s = {5 * SEASON_S}
holdout_s = {SEASON_S}
min_rows = 200
cooldown_s = {SEASON_S / 2}

[retrain.params]
seed = {{seed}}
"""
