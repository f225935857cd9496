"""Latency of several models side by side: they take turns, so that noise hits all of them alike."""

import time
from collections.abc import Callable, Mapping

import numpy as np

from fogline_hub.optimize.measurement import Timing

WARM_UP = 5
"""Runs of each before the clock counts."""


def alternate(
    runs: Mapping[str, Callable[[], object]], *, budget_s: float, max_rounds: int
) -> dict[str, Timing]:
    """Runs all in turn, until the budget is spent or the rounds are done.

    Args:
        runs: What each name runs once.
        budget_s: Seconds for all together; at least three rounds are run.
        max_rounds: Most rounds.

    Returns:
        Quantiles for each name, in microseconds.
    """
    for run in runs.values():
        for _ in range(WARM_UP):
            run()
    spent: dict[str, list[int]] = {name: [] for name in runs}
    end = time.monotonic() + budget_s
    for i in range(max_rounds):
        if i >= 3 and time.monotonic() > end:
            break
        for name, run in runs.items():
            began = time.perf_counter_ns()
            run()
            spent[name].append(time.perf_counter_ns() - began)
    return {name: _timing(taken) for name, taken in spent.items()}


def _timing(taken_ns: list[int]) -> Timing:
    p10, p50, p90 = np.quantile(np.array(taken_ns) / 1000, (0.1, 0.5, 0.9)).tolist()
    return Timing(p10=p10, p50=p50, p90=p90, runs=len(taken_ns))
