"""What was measured, as tables, bars and JSON."""

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.serving_rig.load import Measured

PACKAGES = ("onnxruntime", "grpcio", "ngh2", "uvloop", "numpy", "protobuf")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp", "i8mm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What all servers are asked alike."""

    workload: str
    kind: str
    """`identical` or `varied` requests."""
    in_flight: int
    is_tls: bool = False

    def __str__(self) -> str:
        tls = ", TLS" if self.is_tls else ""
        return f"{self.workload}, {self.kind} requests, {self.in_flight} in flight{tls}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a figure should be, and is."""

    name: str
    value: float
    limit: float
    unit: str
    is_floor: bool = False
    """At least the limit, instead of at most."""
    spread: str = ""

    @property
    def passes(self) -> bool:
        return self.value >= self.limit if self.is_floor else self.value <= self.limit

    def plain(self) -> dict[str, object]:
        return {**asdict(self), "passes": self.passes}

    def __str__(self) -> str:
        verdict = "pass" if self.passes else "FAIL"
        sign = ">=" if self.is_floor else "<="
        figure = f"{self.value:9.2f} {sign} {self.limit:9.2f} {self.unit}"
        ratio = self.value / self.limit if self.limit else float("nan")
        return f"{verdict}  {self.name:66} {figure:32} ratio {ratio:.2f} {self.spread}"


def environment() -> dict[str, str]:
    """The machine and the versions that the figures belong to."""
    info = Path("/proc/cpuinfo").read_text()
    fields: dict[str, str] = {}
    for line in info.splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    cores = len(os.sched_getaffinity(0))
    return {
        "processor": fields.get("model name", platform.machine()),
        "cores": str(cores),
        "flags": " ".join(f for f in FLAGS if f in flags),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "pinning": "server on one core, load on another" if cores > 1 else "none: one core",
    }


def table(cell: Cell, rows: Iterable[tuple[str, Sequence[Measured]]]) -> str:
    """One line a server: median, and smallest to largest over the repetitions."""
    lines = [
        f"\n{cell}",
        f"  {'':28} {'requests/s':>24} {'p50 us':>22} {'p99 us':>22} {'CPU us':>22} {'load':>6}",
    ]
    for label, runs in rows:
        cpu_load = statistics.median(r.load_cpu_us for r in runs)
        lines.append(
            f"  {label:28} {spread(runs, lambda r: r.rate, 0):>24} "
            f"{spread(runs, lambda r: r.p50_us):>22} {spread(runs, lambda r: r.p99_us, 0):>22} "
            f"{spread(runs, lambda r: r.cpu_us):>22} {cpu_load:6.1f}"
        )
    return "\n".join(lines)


def spread(runs: Sequence[Measured], figure: Callable[[Measured], float], digits: int = 1) -> str:
    values = [figure(r) for r in runs]
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def plain(results: dict[tuple[Cell, str], list[Measured]]) -> list[dict[str, object]]:
    return [
        {**asdict(cell), "server": label, "runs": [asdict(r) for r in runs]}
        for (cell, label), runs in results.items()
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
