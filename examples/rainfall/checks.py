"""Did every step do what it says? Pure; each answer is one sentence for people."""

from collections.abc import Iterator

from scipy.stats import binom

from examples.rainfall.results import FIRST_VERSION, Results
from fogline_hub.retrain.states import State

CHANCE = 1e-3
"""How often chance alone may fail a run that works: the count of false detections is held against
this quantile of what the stated rate allows."""


def problems(results: Results, *, is_shuffled: bool) -> list[str]:
    """What did not come out as promised; empty when all did."""
    found = [*_traffic(results), *_storage(results)]
    found += _nothing_happened(results) if is_shuffled else _loop_closed(results)
    return found


def _traffic(results: Results) -> Iterator[str]:
    for station in results.stations:
        traffic = station.traffic
        if traffic.failures:
            yield (
                f"{station.name}: {traffic.failures} of {traffic.requests} requests failed, "
                f"the first one {traffic.first_failure}"
            )
        if traffic.outcomes != traffic.requests:
            yield (
                f"{station.name}: {traffic.outcomes} outcomes were taken of {traffic.requests} days"
            )
    missing = int((~results.asked[results.first_day :]).sum())
    if missing:
        yield f"{missing} days were never answered"


def _storage(results: Results) -> Iterator[str]:
    for station in results.stations:
        for stream, counts in station.streams.items():
            if not counts.is_exact:
                yield (
                    f"{station.name}: of {counts.sent} {stream} messages {counts.stored} are "
                    f"stored, {counts.doubled} rows twice, {counts.dropped} messages dropped"
                )
        if station.streams["feedback"].rows != station.traffic.outcomes:
            yield (
                f"{station.name}: {station.traffic.outcomes} outcomes were told, "
                f"{station.streams['feedback'].rows} are stored"
            )


def _loop_closed(results: Results) -> Iterator[str]:
    promoted = [r for r in results.retrainings if r.state is State.PROMOTED]
    if not promoted:
        told = ", ".join(f"{r.state.value} ({r.reason})" for r in results.retrainings) or "none"
        yield f"no retrained version was promoted; retrainings: {told}"
        return
    newest = max(r.challenger or 0 for r in promoted)
    for station in results.stations:
        if not station.serving.endswith(f"@{newest}"):
            yield f"{station.name} serves {station.serving}, and not version {newest}"
    if not results.after.any():
        yield "no day was answered by a retrained version: the replay was over before"
        return
    for other, over in (
        ("the first version", results.over_champion()),
        ("the majority class", results.over_constant()),
    ):
        if not over.is_certain:
            yield (
                f"after promotion the retrained versions do not certainly beat {other}: "
                f"{over.estimate:+.3f}, interval {over.low:+.3f} to {over.high:+.3f}"
            )


def _nothing_happened(results: Results) -> Iterator[str]:
    for retraining in results.retrainings:
        yield f"retraining {retraining.id} was started although nothing changed"
    for alarm in results.alarms:
        yield f"an alarm was raised on version {alarm.version} although nothing changed"
    if results.versions != (FIRST_VERSION,):
        yield f"versions {results.versions} answered, and not the first one alone"
    windows = len(results.reports)
    detected = sum(any(a.detected for a in r.aspects) for r in results.reports)
    allowed = int(binom.isf(CHANCE, windows, results.window_alpha))
    if detected > allowed:
        yield (
            f"{detected} of {windows} windows were called changed; at a stated rate of "
            f"{results.window_alpha:g} more than {allowed} are no chance"
        )
