"""Three-way verdicts: what a test decided, weighed by how large the change is."""

from collections.abc import Iterable
from typing import Literal

Verdict = Literal["drift", "no_drift", "insufficient_data"]


def judge_effect(*, detected: bool, value: float, high: float, min_effect: float) -> Verdict:
    """Drift where a change was detected and matters; no drift where none that matters is possible.

    Args:
        detected: The test's decision at its level.
        value: The effect's estimate.
        high: Upper end of its interval.
        min_effect: The smallest effect that matters.

    >>> judge_effect(detected=True, value=0.2, high=0.3, min_effect=0.05)
    'drift'
    >>> judge_effect(detected=True, value=0.01, high=0.02, min_effect=0.05)
    'no_drift'
    >>> judge_effect(detected=False, value=0.04, high=0.1, min_effect=0.05)
    'insufficient_data'
    """
    if detected and value > min_effect:
        return "drift"
    return "no_drift" if high < min_effect else "insufficient_data"


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on all: drift if anywhere, no drift if everywhere.

    >>> combine(["no_drift", "drift", "insufficient_data"]), combine([])
    ('drift', 'insufficient_data')
    """
    found = set(verdicts)
    if "drift" in found:
        return "drift"
    return "no_drift" if found == {"no_drift"} else "insufficient_data"
