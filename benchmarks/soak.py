"""An hour at full load: does memory grow, do file descriptors?

    python -m benchmarks.soak                # an hour
    python -m benchmarks.soak --minutes 3    # a look

A server with capture on (`benchmarks/serving_rig/ours.py`) answers varied requests, 64 in flight.
Its memory is read from outside throughout; the slope after the warm-up is given in MiB
an hour with a 95 % interval, which should hold zero.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.serving_rig import cache, cores, peers, processes, workloads
from benchmarks.serving_rig.load import Load
from benchmarks.serving_rig.peers import Place, Running
from benchmarks.serving_rig.trend import slope
from benchmarks.serving_rig.workloads import Workload

READINGS = 720
WARM_SHARE = 0.15
"""Of the readings: caches and buffers fill up first."""


class Watch:
    """Readings of one process tree, oldest first."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = time.monotonic()
        self.hours: list[float] = []
        self.figures: dict[str, list[float]] = {"anonymous": [], "resident": [], "files": []}

    def read(self) -> None:
        memory = processes.memory(self._pid)
        self.hours.append((time.monotonic() - self._began) / 3600)
        self.figures["anonymous"].append(memory.anonymous)
        self.figures["resident"].append(memory.resident)
        self.figures["files"].append(processes.open_files(self._pid))

    def is_steady(self) -> bool:
        """Prints what was read; returns whether nothing grew for certain."""
        first = int(len(self.hours) * WARM_SHARE)
        hours, steady = np.array(self.hours[first:]), True
        for name in ("anonymous", "resident"):
            values = np.array(self.figures[name][first:])
            found = slope(hours, values)
            holds = found.low <= 0.0 <= found.high
            steady &= holds or found.high < 0.0
            print(
                f"{'pass' if holds else 'FAIL'}  {name} memory: {found} MiB/h; "
                f"{values[0]:.1f} -> {values[-1]:.1f} MiB, highest {values.max():.1f}"
            )
        files = self.figures["files"][first:]
        is_flat = max(files) == min(files)
        print(f"{'pass' if is_flat else 'FAIL'}  file descriptors: {min(files)} to {max(files)}")
        return steady and is_flat


def soak(workload: Workload, folder: Path, seconds: float) -> bool:
    """Whether the server held still and every answer was right."""
    place = Place(
        port=peers.free_port(),
        folder=Path(tempfile.mkdtemp(dir=folder)),
        workloads=(workload,),
        tls=None,
        can_install=False,
    )
    with peers.running(peers.ours("fogline"), place, cores.server()) as server:
        return _soak(server, workload, folder, seconds)


def _soak(server: Running, workload: Workload, folder: Path, seconds: float) -> bool:
    samples = folder / "samples"
    load = Load(
        server.port,
        workload.pools["varied"].file,
        samples,
        in_flight=64,
        seconds=seconds,
        cores=cores.load(),
    )
    load.wait_warm()
    load.begin()
    watch, end = Watch(server.pid), time.monotonic() + seconds
    while time.monotonic() < end:
        watch.read()
        time.sleep(seconds / READINGS)
    found = load.end()
    wrong = workload.mistakes(samples, "varied")
    print(
        f"{found.requests} requests in {found.seconds:.0f} s, {found.rate:.0f}/s, p50 "
        f"{found.p50_us:.0f} us, p99 {found.p99_us:.0f} us; {found.failed} failed, "
        f"{len(wrong)} wrong"
    )
    return watch.is_steady() and not found.failed and not wrong


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--quick", action="store_true", help="half a minute")
    given = parser.parse_args(argv)
    try:
        cache.load_program()
    except cache.Missing as e:
        print(f"benchmarks.soak: {e}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workload = workloads.small_mlp(folder)
        is_good = soak(workload, folder, 30.0 if given.quick else given.minutes * 60)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
