"""All that was counted and concluded, and what follows from it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from examples.rainfall.comparison import Gain, gain
from examples.rainfall.replay import Answers, Traffic
from examples.rainfall.weather import Weather
from fogline_hub.monitor import WindowReport
from fogline_hub.monitor.alarms.records import Alarm
from fogline_hub.retrain.records import Retraining

FIRST_VERSION = 1
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Messages of one stream of one device: what it sent, and what stands in the lake."""

    sent: int
    """Numbers given by the device's outbox."""
    stored: int
    """Different numbers in the lake."""
    rows: int
    """Their rows."""
    doubled: int
    """Rows that stand twice."""
    dropped: int
    """Messages that the device gave up."""

    @property
    def is_exact(self) -> bool:
        return self.sent == self.stored and self.doubled == 0 and self.dropped == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StationResult:
    name: str
    traffic: Traffic
    serving: str
    """`NAME@VERSION` at the end."""
    streams: Mapping[str, Stored]
    bytes_sent: int
    """MQTT payloads, with those sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a run came to.

    Attributes:
        first_day: Of the replay.
        champion: int64 [days], what the first version answers to every day, whoever was asked.
        reports: Verdicts by window of event time and version.
        window_alpha: Stated rate of false detections of a window.
    """

    weather: Weather
    first_day: int
    answers: Answers
    champion: NDArray[np.int64]
    stations: tuple[StationResult, ...]
    retrainings: tuple[Retraining, ...]
    alarms: tuple[Alarm, ...]
    reports: tuple[WindowReport, ...]
    window_alpha: float

    @property
    def asked(self) -> Flags:
        """Days that were answered, [days]."""
        return self.answers.version >= 0

    @property
    def after(self) -> Flags:
        """Days that a retrained version answered, [days]."""
        return self.answers.version > FIRST_VERSION

    @property
    def versions(self) -> tuple[int, ...]:
        return tuple(np.unique(self.answers.version[self.asked]).tolist())

    def first_answered_by(self, version: int) -> int:
        """The first day of a version that answered."""
        return int(np.flatnonzero(self.answers.version == version)[0])

    def served_right(self) -> Flags:
        return np.asarray(self.answers.label == self.weather.rain)

    def champion_right(self) -> Flags:
        return np.asarray(self.champion == self.weather.rain)

    def constant_right(self) -> Flags:
        """Whether the most frequent outcome of the days after promotion is right.

        The hardest constant answer there is, known only afterwards.
        """
        return np.asarray(self.weather.rain == self.majority)

    @property
    def majority(self) -> int:
        days = self.after if self.after.any() else self.asked
        return int(self.weather.rain[days].mean() > 0.5)

    def over_champion(self) -> Gain:
        """Of the retrained versions, over the days that they answered."""
        return gain(self.served_right()[self.after], self.champion_right()[self.after])

    def over_constant(self) -> Gain:
        return gain(self.served_right()[self.after], self.constant_right()[self.after])

    def requests(self) -> int:
        return sum(s.traffic.requests for s in self.stations)

    def failures(self) -> int:
        return sum(s.traffic.failures for s in self.stations)


def year_of(report: WindowReport) -> int:
    """The year that most of a window lies in."""
    middle = (report.start_us + report.end_us) / 2e6
    return datetime.fromtimestamp(middle, UTC).year
