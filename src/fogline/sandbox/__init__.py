"""Child processes with limits and rooms, that die with their parent. Linux only."""

from fogline.sandbox.child import Child, run_child, run_prepared, start_child
from fogline.sandbox.environment import clean_environment
from fogline.sandbox.limits import Limits
from fogline.sandbox.outcome import Ending, Outcome, signal_name
from fogline.sandbox.room import ISOLATED, Mechanism, Room, held, way_out
from fogline.sandbox.scratch import temporary_folder

__all__ = [
    "ISOLATED",
    "Child",
    "Ending",
    "Limits",
    "Mechanism",
    "Outcome",
    "Room",
    "clean_environment",
    "held",
    "run_child",
    "run_prepared",
    "signal_name",
    "start_child",
    "temporary_folder",
    "way_out",
]
