"""Child processes with limits, that die with their parent. Linux only."""

from fogline.sandbox.child import Child, run_child, run_prepared, start_child
from fogline.sandbox.environment import clean_environment
from fogline.sandbox.limits import Limits
from fogline.sandbox.outcome import Ending, Outcome, signal_name

__all__ = [
    "Child",
    "Ending",
    "Limits",
    "Outcome",
    "clean_environment",
    "run_child",
    "run_prepared",
    "signal_name",
    "start_child",
]
