"""The slope of a series whose neighbours are alike, with an interval that takes it into account.

Memory moves in steps that stay: readings a few seconds apart are all but the same reading, and the
usual error of a regression would be several times too small. So each part of the series is fitted
by itself. The parts' slopes depend on each other hardly at all, be the series noise around a line
or a random walk, whose increments are independent; Student's interval of their mean holds for
both, and is a little wide for the first. (The batch means of simulation, e.g. Law, Simulation
Modeling and Analysis, section 9.5.3, with slopes in place of means.)
"""

from dataclasses import dataclass

import numpy as np

from fogline.tensors import Array

PARTS = 8
STUDENT = 2.3646
"""Two-sided 95 % value with seven degrees of freedom."""
MIN_READINGS = 8
"""Of each part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """With its 95 % interval, in the series' unit by the times' unit."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def slope(times: Array, values: Array) -> Slope:
    """Of a series of at least 64 readings.

    Raises:
        ValueError: there are fewer.

    >>> times = np.linspace(0.0, 1.0, 80)
    >>> print(slope(times, 2.0 * times + np.sin(40.0 * times)))
    +3.747 (-8.915 to +16.410)
    """
    if len(times) < PARTS * MIN_READINGS:
        raise ValueError(f"{len(times)} readings are too few for an interval")
    parts = zip(np.array_split(times, PARTS), np.array_split(values, PARTS), strict=True)
    each = np.array([np.polyfit(t - t.mean(), v, 1)[0] for t, v in parts])
    half = STUDENT * float(each.std(ddof=1)) / PARTS**0.5
    value = float(each.mean())
    return Slope(value=value, low=value - half, high=value + half)
