"""What the fleet sees, compared with what was trained on. Needs the extra `monitor` alone.

`windows` judges closed windows of summaries, `accuracy` raises the alarm that accuracy has fallen.
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
    "Verdict",
    "WindowReport",
    "WindowSettings",
    "allowed_error",
    "block_index",
    "judge_window",
    "run_accuracy",
    "start_accuracy",
    "update",
]
