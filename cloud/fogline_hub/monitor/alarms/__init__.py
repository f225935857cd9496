"""The service that follows the fleet's summaries: verdicts on windows, alarms on accuracy."""

from fogline_hub.monitor.alarms.records import AccuracyStatus, Alarm, BlockAccuracy
from fogline_hub.monitor.alarms.service import AlarmService

__all__ = ["AccuracyStatus", "Alarm", "AlarmService", "BlockAccuracy"]
