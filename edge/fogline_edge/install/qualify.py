"""Proves a held version on this device, in a limited child, before it may serve.

A child that crashes, hangs, or takes too much memory rejects its version as surely as a wrong
answer does; that the machine could not start one does not.
"""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from fogline.errors import Corrupt, FoglineError
from fogline.records import Record, decode_json
from fogline.sandbox import Limits, Outcome, run_child
from fogline_edge.install.store import HeldVersion

_log = logging.getLogger(__name__)
_MODULE = "fogline_edge.install.trial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What qualification found; an empty `reason` means that the version may serve."""

    reason: str = ""
    is_transient: bool = False
    """The device could not judge now; the version is not to blame."""


class TrialResult(Record, frozen=True, kw_only=True):
    """What the child says of the version."""

    reason: str = ""
    """Why it may not serve; empty if it may."""
    cases: int = 0
    """Golden cases that it answered."""
    latency_us_p50: Annotated[float, Meta(ge=0)] = 0.0
    """Of the first case, microseconds; 0 without cases."""


Qualify = Callable[[HeldVersion, Limits], Verdict]


def qualify(held: HeldVersion, limits: Limits) -> Verdict:
    """Runs the trial of one version to its end."""
    # -P: the working folder must not decide what is imported.
    argv = [sys.executable, "-P", "-m", _MODULE, str(held.folder), held.key.variant]
    try:
        outcome = run_child(argv, limits=limits)
    except FoglineError as e:
        return Verdict(reason=f"qualifying: {e}", is_transient=True)
    if not outcome.is_success:
        return Verdict(reason=f"its trial {outcome.describe()}; {outcome.last_words(200)}")
    result = _result_of(outcome)
    _log.info(
        "tried",
        extra={
            "version": str(held.key),
            "cases": result.cases,
            "latency_us_p50": result.latency_us_p50,
            "peak_memory_bytes": outcome.peak_rss_bytes,
        },
    )
    return Verdict(reason=result.reason)


def _result_of(outcome: Outcome) -> TrialResult:
    """The last line; a model's runtime may have printed before it."""
    lines = outcome.stdout.splitlines()
    try:
        return decode_json(lines[-1] if lines else b"", TrialResult, "its trial's result")
    except Corrupt as e:
        return TrialResult(reason=str(e))
