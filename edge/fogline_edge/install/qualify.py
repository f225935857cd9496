"""Proves a held version on this device, in a limited child, before it may serve."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from fogline.bundle import Bundle
from fogline.errors import FoglineError
from fogline.records import to_plain
from fogline.runtime.plan import ModelPlan
from fogline_edge.install.store import HeldVersion

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What qualification found; an empty `reason` means that the version may serve."""

    reason: str = ""
    is_transient: bool = False
    """The device could not judge now; the version is not to blame."""
    plan: ModelPlan | None = None
    """As it was measured, of a version that may serve."""


Qualify = Callable[[HeldVersion, int, float], Verdict]
"""Takes the version, the bytes of memory that it may hold, and the seconds that it may take."""


def qualify(
    held: HeldVersion, memory_bytes: int, timeout_s: float, plan: ModelPlan | None = None
) -> Verdict:
    """Holds a version against its manifest, its golden cases and what the device can give it.

    What is not measured of `plan`, such as its threads, stays as the operator set it.

    A child that crashes, hangs or takes too much memory rejects its version as surely as a wrong
    answer does; that the machine could not start one does not.
    """
    # Late, so that the fetching child, which imports this package, does without onnxruntime.
    from fogline.runtime.prove import prove_variant
    from fogline.runtime.qualification import Budgets

    budgets = Budgets(memory_bytes=memory_bytes, timeout_s=timeout_s)
    bundle = Bundle(folder=held.folder, manifest=held.manifest, digest=held.key.digest)
    try:
        found = prove_variant(bundle, held.key.variant, plan=plan, budgets=budgets)
    except FoglineError as e:
        return Verdict(reason=str(e), is_transient=True)
    _log.info(
        "qualified",
        extra={
            "version": str(held.key),
            "reason": found.reason,
            "golden_cases": found.golden_cases,
            "latency_us_p50": found.one_row.us_p50 if found.one_row is not None else None,
            "peak_memory_bytes": found.peak_memory_bytes,
            "placement": found.plan.placement if found.plan is not None else None,
            "stack": to_plain(found.stack),
        },
    )
    if not found.is_accepted:
        return Verdict(reason=f"{found.reason}: {found.detail}")
    return Verdict(plan=found.plan)
