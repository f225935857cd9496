"""Which variants earn their place, which are on the front, and which one a device gets; pure."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from fogline.records import Record
from fogline_hub.optimize.evidence import flip_bound, mean_bound, rows_needed
from fogline_hub.optimize.measurement import Evidence, Measurement, Timing
from fogline_hub.optimize.profile import Profile
from fogline_hub.optimize.variants import VARIANTS

__all__ = ["Choice", "Earning", "Measurement", "Timing", "choose", "front", "judge", "screen"]


class Earning(Record, frozen=True, kw_only=True):
    """What a variant has to bring, against the base."""

    max_loss: Annotated[float, Meta(ge=0, le=1)] = 0.005
    """Of quality, and share of held-out rows whose label may change."""
    smaller: Annotated[float, Meta(gt=0, le=1)] = 0.95
    """At most this share of the base's bytes counts as smaller."""
    faster: Annotated[float, Meta(gt=0, le=1)] = 0.9
    """At most this share of the base's median latency counts as faster."""
    leaner: Annotated[float, Meta(gt=0, le=1)] = 0.95
    """At most this share of the base's peak memory, Python and runtime included, counts as less."""
    slower: Annotated[float, Meta(ge=1)] = 1.25
    """More than this share of the base's latency is too slow for a variant that is only smaller."""
    larger: Annotated[float, Meta(ge=1)] = 1.05
    """More than this share of the base's bytes is too large for one that is only faster."""
    alpha: Annotated[float, Meta(gt=0, le=0.5)] = 0.05
    """Error rate of calling any variant proven that loses more than it may."""
    accept_unproven: bool = False
    """Choose also what was only seen to lose no more than it may, on rows too few to prove it."""


class Choice(Record, frozen=True, kw_only=True):
    """What the device gets."""

    name: str
    """Empty when nothing fits."""
    reason: str
    nearest: str = ""
    """When nothing fits: the variant that misses least."""
    misses: tuple[str, ...] = ()
    """What it misses, in words."""


FAMILY = len(VARIANTS)
"""Variants that a search looks at; each is tested at `alpha / FAMILY`."""


def screen(size_bytes: int, base_bytes: int, earning: Earning) -> str:
    """Why a file is not worth measuring; empty if it is."""
    if size_bytes > earning.larger * base_bytes:
        return f"larger: {size_bytes / base_bytes:.2f} of the bytes"
    return ""


def with_evidence(one: Measurement, earning: Earning, *, is_base: bool = False) -> Measurement:
    """The measurement with its bound and what that says."""
    quality = one.quality
    if quality is None or quality.loss is None:
        return one
    alpha = earning.alpha / FAMILY
    if quality.has_labels:
        bound = flip_bound(quality.label_flips, quality.rows, alpha)
    else:
        bound = mean_bound(quality.loss, quality.row_loss_deviation, quality.rows, alpha)
    keeps = is_base or any(k.name == one.name and k.keeps_answers for k in VARIANTS)
    evidence: Evidence = ""
    if keeps and quality.max_difference == 0 and quality.label_flips == 0:
        evidence, bound = "exact", 0.0
    elif not loss_told(one, earning):
        evidence = "proven" if bound <= earning.max_loss else "unproven"
    return msgspec.structs.replace(one, loss_bound=bound, evidence=evidence)


def judge(base: Measurement, one: Measurement, earning: Earning) -> tuple[bool, str]:
    """Whether a measured variant earns its place beside the base, and why."""
    if base.timing is None or one.timing is None or one.quality is None:
        return False, one.reason or "not measured"
    if told := loss_told(one, earning):
        return False, told
    size = one.size_bytes / base.size_bytes
    latency = one.timing.p50 / base.timing.p50
    # Faster has to be more than noise: the slow end of one before the fast end of the other.
    is_faster = latency <= earning.faster and one.timing.p50 < base.timing.p10
    told = f"{size:.2f} of the bytes, {latency:.2f} of the latency"
    memory = 1.0
    if base.peak_memory_bytes and one.peak_memory_bytes:
        memory = one.peak_memory_bytes / base.peak_memory_bytes
        told += f", {memory:.2f} of the memory"
    if size <= earning.smaller and latency <= earning.slower:
        return True, f"smaller: {told}"
    if is_faster and size <= earning.larger:
        return True, f"faster: {told}"
    if memory <= earning.leaner and size <= earning.larger and latency <= earning.slower:
        return True, f"leaner: {told}"
    return False, f"neither small, fast nor lean enough: {told}"


def front(measured: Sequence[Measurement]) -> tuple[str, ...]:
    """Names of those that no other equals or beats in all of size, latency, memory and loss."""
    whole = [(m.name, _coordinates(m)) for m in measured if m.is_measured]
    return tuple(
        name for name, point in whole if not any(_beats(other, point) for _, other in whole)
    )


def choose(measured: Sequence[Measurement], profile: Profile, earning: Earning) -> Choice:
    """The variant for a device: within its budgets and the allowance, the least of all costs.

    Among those that fit, the least product of bytes, latency and memory wins; the first in order
    of equals. One that flips more labels than it may is never chosen, whatever else fits.

    Args:
        measured: The base first.
        profile: Budgets; 0 is none.
        earning: The allowance and its error rate.
    """
    base = measured[0]
    allowed = [m for m in measured if m.is_measured and (m is base or m.is_kept)]
    if not allowed:
        return Choice(name="", reason="nothing was measured")
    missed = {m.name: misses(m, profile, earning, is_base=m is base) for m in allowed}
    fitting = [m for m in allowed if not missed[m.name]]
    if fitting:
        best = min(fitting, key=lambda m: _cost(m, base))
        return Choice(name=best.name, reason=_chosen_text(best, profile))
    nearest = min(allowed, key=lambda m: (_excess(m, profile, earning, m is base), _cost(m, base)))
    return Choice(
        name="",
        reason=f"nothing fits {profile.name}",
        nearest=nearest.name,
        misses=tuple(missed[nearest.name]),
    )


def misses(
    one: Measurement, profile: Profile, earning: Earning, *, is_base: bool = False
) -> list[str]:
    """What a variant misses of budgets and proof, in words; nothing when it fits."""
    told = [
        f"{what}: {value:.0f} {unit}, {budget:.0f} allowed"
        for what, unit, value, budget in _budgets(one, profile)
        if budget and value > budget
    ]
    if profile.latency_us and latency_of(one, profile) is None:
        told.append("latency: not known for this device, and its profile allows no estimate")
    if one.evidence == "unproven" and not is_base and not earning.accept_unproven:
        told.append(_proof_told(one, earning))
    elif one.evidence == "" and not is_base:
        told.append("quality: nothing says what it loses")
    return told


def latency_of(one: Measurement, profile: Profile) -> float | None:
    """Microseconds on the profile's device: as reported, as measured here, or as estimated."""
    if one.observed_us is not None:
        return one.observed_us
    if not profile.is_host:
        return one.estimate_us
    timing = one.timing_threads or one.timing
    return None if timing is None else timing.p50


def loss_told(one: Measurement, earning: Earning) -> str:
    """Why what was seen is more than a variant may lose; empty if it is not."""
    quality = one.quality
    if quality is None:
        return "not measured"
    if quality.loss is not None and quality.loss > earning.max_loss:
        return f"loses {quality.loss:.4f} of {quality.metric}"
    if quality.label_flips > earning.max_loss * quality.rows:
        return f"flips {quality.label_flips} of {quality.rows} labels"
    return ""


def _proof_told(one: Measurement, earning: Earning) -> str:
    rows = one.quality.rows if one.quality else 0
    needed = rows_needed(earning.max_loss, earning.alpha / FAMILY)
    more = f"; without a flip, {needed} rows prove it" if needed else ""
    return (
        f"quality: {rows} rows say that it loses at most {one.loss_bound or 0:.4f}, "
        f"{earning.max_loss:.4f} allowed{more}"
    )


def _budgets(one: Measurement, profile: Profile) -> list[tuple[str, str, float, float]]:
    return [
        ("flash", "bytes", one.size_bytes, profile.flash_bytes),
        ("memory", "bytes", one.peak_memory_bytes, profile.memory_bytes),
        ("latency", "us", latency_of(one, profile) or 0.0, profile.latency_us),
    ]


def _excess(one: Measurement, profile: Profile, earning: Earning, is_base: bool) -> float:
    """How far beyond its budgets a variant is: the sum of the shares that are too much."""
    over = sum(max(0.0, v / b - 1) for _, _, v, b in _budgets(one, profile) if b)
    told = misses(one, profile, earning, is_base=is_base)
    return over + sum(t.startswith("quality") or "not known" in t for t in told)


def _cost(one: Measurement, base: Measurement) -> float:
    timing, before = one.timing, base.timing
    latency = timing.p50 / before.p50 if timing and before and before.p50 else 1.0
    memory = one.peak_memory_bytes / base.peak_memory_bytes if base.peak_memory_bytes else 1.0
    return one.size_bytes / base.size_bytes * latency * memory


def _chosen_text(one: Measurement, profile: Profile) -> str:
    kind = {"exact": "same answers", "proven": "proven", "unproven": "accepted unproven"}
    return f"fits {profile.name}; {kind.get(one.evidence, 'the base')}"


def _coordinates(one: Measurement) -> tuple[float, ...]:
    quality, timing = one.quality, one.timing
    loss = 0.0 if quality is None or quality.loss is None else quality.loss
    flips = quality.label_flips if quality else 0
    latency = timing.p50 if timing else 0.0
    return (one.size_bytes, latency, one.peak_memory_bytes, max(loss, 0.0), flips)


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
