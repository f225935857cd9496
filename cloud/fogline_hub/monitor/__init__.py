"""What the fleet sees, compared with what was trained on. Needs the extra `monitor` alone.

`compare` compares two tables, `judge_window` judges a closed window of summaries, `accuracy` raises
the alarm that accuracy has fallen.
"""

from fogline_hub.monitor.accuracy import (
    AccuracyBlock,
    AccuracySettings,
    AccuracyState,
    allowed_error,
    block_index,
    run_accuracy,
    start_accuracy,
    update,
)
from fogline_hub.monitor.comparison import compare
from fogline_hub.monitor.report import (
    CorrelationFinding,
    DriftReport,
    EffectSize,
    FeatureFinding,
    QualityFinding,
)
from fogline_hub.monitor.verdict import Verdict
from fogline_hub.monitor.window_report import (
    AspectFinding,
    ColumnFinding,
    WindowReport,
    WindowSettings,
)
from fogline_hub.monitor.windows import judge_window

__all__ = [
    "AccuracyBlock",
    "AccuracySettings",
    "AccuracyState",
    "AspectFinding",
    "ColumnFinding",
    "CorrelationFinding",
    "DriftReport",
    "EffectSize",
    "FeatureFinding",
    "QualityFinding",
    "Verdict",
    "WindowReport",
    "WindowSettings",
    "allowed_error",
    "block_index",
    "compare",
    "judge_window",
    "run_accuracy",
    "start_accuracy",
    "update",
]
