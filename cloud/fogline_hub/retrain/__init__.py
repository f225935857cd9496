"""From an alarm to a challenger that has proved itself: gather, train, convert, judge, roll out."""

from fogline_hub.automation import Automation, Retrain, Watch
from fogline_hub.retrain.judge import Difference, Judgement, judge
from fogline_hub.retrain.records import DatasetFacts, Retraining
from fogline_hub.retrain.states import ENDED, State

__all__ = [
    "ENDED",
    "Automation",
    "DatasetFacts",
    "Difference",
    "Judgement",
    "Retrain",
    "Retraining",
    "State",
    "Watch",
    "judge",
]
