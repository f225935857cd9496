"""A hundred thousand calls while the model changes five times and the server once: none may fail.

    python -m benchmarks.swaps            # five repetitions, some five minutes
    python -m benchmarks.swaps --quick    # one, with a tenth of the calls

grpcio's client keeps eight calls open on one channel. Five times the next version takes over from
the one before; then a new server starts on the same port, and the old one is told to stop: it sends
GOAWAY, answers what is open, and ends, and the client connects anew by itself. No call is tried
twice by this program. The same number of calls to a server that is left alone is the quiet side.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from benchmarks.serving_rig import cores, peers, processes, workloads
from benchmarks.serving_rig.load import INFER
from benchmarks.serving_rig.workloads import Workload
from fogline.wire.open_inference_pb2 import ModelInferResponse

SWAPS = 5
WORKERS = 8
TIMEOUT_S = 30.0
"""Of one call."""
CALLS_AFTER = 20
"""Of each thread at least, after the last event."""


class Backend:
    """One server process that swaps at a word."""

    def __init__(self, port: int, folder: Path, bundle: Path, version: int) -> None:
        words = (port, tempfile.mkdtemp(dir=folder), bundle, version)
        command = (sys.executable, "-m", "benchmarks.serving_rig.swapping", *map(str, words))
        self._process = subprocess.Popen(
            processes.pinned(command, cores.server()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = version
        self._expect()

    def swap(self) -> None:
        """Returns when the next version answers and the last call of the old one has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write("swap\n")
        self._process.stdin.flush()
        self.version += 1
        self._expect()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60.0)

    def _expect(self) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line != f"serving {self.version}\n":
            raise RuntimeError(f"expected version {self.version} to serve, got {line!r}")


@dataclass(slots=True)
class Round:
    """What came of one side's calls."""

    latencies_us: list[float] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)

    def p(self, q: float) -> float:
        return float(np.quantile(self.latencies_us, q))


class Caller:
    """Calls in eight threads on one channel; `progress` tells how many have come back."""

    def __init__(self, port: int, workload: Workload, calls: int) -> None:
        self._workload = workload
        self._message = workload.first_message()
        self._each = calls // WORKERS
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._call = self._channel.unary_unary(INFER)
        self._rounds = [Round() for _ in range(WORKERS)]
        self._may_end = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(r,)) for r in self._rounds]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def progress(self) -> float:
        """Of all calls, 0 to 1."""
        done = sum(len(r.latencies_us) + r.faults.total() for r in self._rounds)
        return done / (self._each * WORKERS)

    def end(self) -> Round:
        """Lets the calls end once there were as many as wanted, and a few after this moment."""
        self._may_end.set()
        for thread in self._threads:
            thread.join()
        self._channel.close()
        found = Round()
        for one in self._rounds:
            found.latencies_us += one.latencies_us
            found.faults += one.faults
            found.versions += one.versions
        return found

    def _work(self, found: Round) -> None:
        expected = self._workload.expected["identical"][0]
        left = self._each
        while left > 0 or not self._may_end.is_set():
            left -= 1
            if left == 0 and not self._may_end.is_set():
                left = CALLS_AFTER
            began = time.perf_counter()
            try:
                answer = self._call(self._message, timeout=TIMEOUT_S)
            except grpc.RpcError as e:
                found.faults[f"{e.code().name} {e.details()}"] += 1
                continue
            found.latencies_us.append((time.perf_counter() - began) * 1e6)
            if wrong := self._workload.mistake(answer, expected, ""):
                found.faults[wrong] += 1
            found.versions[ModelInferResponse.FromString(answer).model_version] += 1


def quiet(workload: Workload, folder: Path, calls: int) -> Round:
    port = peers.free_port()
    backend = Backend(port, folder, workload.bundle, 1)
    caller = Caller(port, workload, calls)
    caller.start()
    found = caller.end()
    backend.stop()
    return found


def swapped(workload: Workload, folder: Path, calls: int) -> Round:
    port = peers.free_port()
    backend = Backend(port, folder, workload.bundle, 1)
    caller = Caller(port, workload, calls)
    caller.start()
    for event in _at(caller, SWAPS + 1):
        if event < SWAPS:
            backend.swap()
            continue
        heir = Backend(port, folder, workload.bundle, backend.version + 1)
        backend.stop()
        backend = heir
    found = caller.end()
    backend.stop()
    served = {str(v) for v in range(1, SWAPS + 3)}
    if missing := served - set(found.versions):
        found.faults[f"versions that answered nothing: {sorted(missing)}"] += 1
    return found


def _at(caller: Caller, events: int) -> Iterator[int]:
    """Yields each event's number when its share of the calls has come back."""
    for event in range(events):
        while caller.progress() < (event + 1) / (events + 1):
            time.sleep(0.001)
        yield event


@contextmanager
def _pinned() -> Iterator[None]:
    """This process, which is the load, on its core."""
    before = cores.now()
    cores.take(cores.load())
    try:
        yield
    finally:
        cores.take(before)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one repetition, a tenth of the calls")
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=5)
    given = parser.parse_args(argv)
    calls, repetitions = (given.calls // 10, 1) if given.quick else (given.calls, given.repetitions)
    print(f"{calls} calls, {WORKERS} open at once; five swaps and a restart, beside a quiet server")
    print(f"{'':4} {'failed':>8} {'p50 us':>9} {'p99 us':>9} {'max us':>9} | quiet: p50, p99, max")
    failed, ratios = 0, []
    with tempfile.TemporaryDirectory() as name, _pinned():
        folder = Path(name)
        workload = workloads.small_mlp(folder)
        for i in range(repetitions):
            calm = quiet(workload, folder, calls)
            busy = swapped(workload, folder, calls)
            failed += busy.faults.total() + calm.faults.total()
            ratios.append(busy.p(0.99) / calm.p(0.99))
            figures = " ".join(f"{busy.p(q):9.0f}" for q in (0.5, 0.99, 1.0))
            beside = " ".join(f"{calm.p(q):9.0f}" for q in (0.5, 0.99, 1.0))
            print(f"{i + 1:4} {busy.faults.total():8} {figures} | {beside}")
            for fault, count in (busy.faults + calm.faults).items():
                print(f"     {count} x {fault}")
    low, high = min(ratios), max(ratios)
    print(f"p99 beside the quiet one's: {statistics.median(ratios):.2f} ({low:.2f}-{high:.2f})")
    print(f"{'pass' if not failed else 'FAIL'}  {failed} calls failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
