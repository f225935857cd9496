"""What one run found, and the bars that it is held to."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.serving_rig import report
from benchmarks.serving_rig.load import Measured
from benchmarks.serving_rig.processes import Memory
from benchmarks.serving_rig.report import Bar, Cell
from benchmarks.serving_rig.workloads import Workload

UVLOOP = "fogline http2 uvloop"
ECHO = "C++ echo, async"
ECHOES = (ECHO, "C++ echo, callback", "C++ echo, sync")
KSERVE = "KServe"


@dataclass(slots=True)
class Evidence:
    """Everything that was measured, and what could not be."""

    workloads: dict[str, Workload] = field(default_factory=dict)
    results: dict[tuple[Cell, str], list[Measured]] = field(default_factory=dict)
    memory: dict[tuple[str, bool, str], Memory] = field(default_factory=dict)
    """By workload, TLS and server, after what it was asked."""
    cold_start_s: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    settled: dict[str, Memory] = field(default_factory=dict)
    """Ours, after the million requests, with MQTT off and with everything on."""
    settled_requests: int = 0
    first_answer_s: dict[str, list[float]] = field(default_factory=dict)
    """Ours, the whole agent's included."""
    magika: dict[str, list[float]] = field(default_factory=dict)
    """Requests a second: `raw one core`, `raw both cores`, `served both cores`, `beside mlp`."""
    faults: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, cell: Cell, label: str, found: Measured) -> None:
        self.results.setdefault((cell, label), []).append(found)

    def add_magika(self, name: str, run: Measured) -> None:
        self.magika.setdefault(name, []).append(run.rate)
        if run.failed:
            self.faults.append(f"magika, {name}: {run.failed} failed")

    def runs(self, label: str, in_flight: int) -> Sequence[Measured]:
        """Of varied requests to the small model, without TLS."""
        cell = Cell(workload="mlp", kind="varied", in_flight=in_flight)
        return self.results.get((cell, label), ())

    def plain(self) -> dict[str, object]:
        return {
            "results": report.plain(self.results),
            "memory_mb": [
                {"workload": w, "is_tls": t, "server": s, **m.plain()}
                for (w, t, s), m in self.memory.items()
            ],
            "cold_start_s": [
                {"workload": w, "server": s, "seconds": each}
                for (w, s), each in self.cold_start_s.items()
            ],
            "settled_mb": {name: m.plain() for name, m in self.settled.items()},
            "settled_requests": self.settled_requests,
            "first_answer_s": self.first_answer_s,
            "magika_requests_per_s": self.magika,
            "faults": self.faults,
            "skipped": self.skipped,
        }

    def summary(self) -> str:
        """Memory, cold start, and what went wrong or is missing."""
        lines = ["", f"  {'MB, after the runs above':44} {'resident':>10} {'anonymous':>10}"]
        for (workload, is_tls, label), m in self.memory.items():
            name = f"{label}, {workload}{', TLS' if is_tls else ''}"
            lines.append(f"  {name:44} {m.resident:10.1f} {m.anonymous:10.1f}")
        for name, m in self.settled.items():
            told = f"{name}, {self.settled_requests} requests"
            lines.append(f"  {told:44} {m.resident:10.1f} {m.anonymous:10.1f}")
        lines += ["", "  first right answer after the start of the process, s"]
        starts = {f"{s}, {w}": each for (w, s), each in self.cold_start_s.items()}
        for name, each in (starts | self.first_answer_s).items():
            low, high = min(each), max(each)
            lines.append(f"  {name:44} {statistics.median(each):.3f} ({low:.3f}-{high:.3f})")
        if self.magika:
            lines += ["", "  magika, requests a second (8 in flight, both cores)"]
            lines += [f"  {n:44} {statistics.median(v):10.1f}" for n, v in self.magika.items()]
        lines += ["", *(f"  skipped: {s}" for s in self.skipped)]
        lines += [f"  FAULT: {f}" for f in self.faults]
        return "\n".join(lines)


def bars(found: Evidence) -> list[Bar]:
    """Those for which there are figures."""
    return [*_beside_the_echo(found), *_beside_kserve(found), *_alone(found), *_magika(found)]


def _beside_the_echo(found: Evidence) -> list[Bar]:
    """The first is the fastest, and the bar; the others show what a choice of API makes of it."""
    made = []
    for echo in ECHOES:
        ours, theirs = found.runs(UVLOOP, 64), found.runs(echo, 64)
        if ours and theirs:
            made.append(
                Bar(
                    name=f"CPU a request, 64 in flight, varied, beside {echo}",
                    value=_median([r.cpu_us for r in ours]),
                    limit=_median([r.cpu_us for r in theirs]),
                    unit="us",
                    spread=_ratios([r.cpu_us for r in ours], [r.cpu_us for r in theirs]),
                )
            )
        ours, theirs = found.runs(UVLOOP, 1), found.runs(echo, 1)
        if ours and theirs:
            made.append(
                Bar(
                    name=f"p50 at one in flight, beside 1.5 times {echo}",
                    value=_median([r.p50_us for r in ours]),
                    limit=1.5 * _median([r.p50_us for r in theirs]),
                    unit="us",
                    spread=_ratios([r.p50_us for r in ours], [1.5 * r.p50_us for r in theirs]),
                )
            )
    return made


def _beside_kserve(found: Evidence) -> list[Bar]:
    ours, theirs = found.runs(UVLOOP, 64), found.runs(KSERVE, 64)
    if not ours or not theirs:
        return []
    return [
        Bar(
            name="requests/s, 64 in flight, beside 15 times KServe's",
            value=_median([r.rate for r in ours]),
            limit=15 * _median([r.rate for r in theirs]),
            unit="/s",
            is_floor=True,
            spread=_ratios([r.rate for r in ours], [15 * r.rate for r in theirs]),
        )
    ]


def _alone(found: Evidence) -> list[Bar]:
    made = []
    for name, resident, anonymous in (("MQTT off", 78, 42), ("everything on", 84, 48)):
        if memory := found.settled.get(name):
            asked = f"after {found.settled_requests} requests, {name}"
            for kind, value, limit in (
                ("resident", memory.resident, resident),
                ("anonymous", memory.anonymous, anonymous),
            ):
                made.append(
                    Bar(name=f"{kind} memory {asked}", value=value, limit=limit, unit="MiB")
                )
    for name, each in found.first_answer_s.items():
        made.append(Bar(name=f"first answer: {name}", value=_median(each), limit=0.5, unit="s"))
    return made


def _magika(found: Evidence) -> list[Bar]:
    rates = {name: _median(each) for name, each in found.magika.items()}
    if not rates:
        return []
    return [
        Bar(
            name="magika at 8 in flight, beside 0.95 of raw on both cores",
            value=rates["served both cores"],
            limit=0.95 * rates["raw both cores"],
            unit="/s",
            is_floor=True,
            spread=_ratios(
                found.magika["served both cores"],
                [0.95 * r for r in found.magika["raw both cores"]],
            ),
        ),
        Bar(
            name="magika while the MLP saturates the loop, beside half a core's raw",
            value=rates["beside mlp"],
            limit=0.5 * rates["raw one core"],
            unit="/s",
            is_floor=True,
            spread=_ratios(
                found.magika["beside mlp"], [0.5 * r for r in found.magika["raw one core"]]
            ),
        ),
    ]


def _median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Of each repetition on its own: the two were measured seconds apart."""
    each = [a / b for a, b in zip(ours, theirs, strict=False)]
    return f"({min(each):.2f}-{max(each):.2f})"
