"""Serving beside its peers: one alternating run over servers, requests and models.

    python -m benchmarks.serving            # some ten minutes
    python -m benchmarks.serving --quick    # one minute: the small model alone, once
    python -m benchmarks.serving --full     # everything, five times: an hour

Ours runs on each front with validation, statistics and capture on. Peers: grpcio's Python server
with onnxruntime, KServe's and MLServer's (each in a virtual environment of its own, made once), a
C++ grpc++ server that only echoes, and ONNX Runtime in process. Needs `cc`, libnghttp2-dev and
libssl-dev for the load generator; libgrpc++-dev for the echo.

The server has one core and the load the other where there are two, except where both cores are the
question. CPU is the user and system time of the server's whole process tree from /proc.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.serving_rig import cache, cores, crosscheck, peers, processes, report, workloads
from benchmarks.serving_rig.bars import ECHO, UVLOOP, Evidence, bars
from benchmarks.serving_rig.load import Load, Measured, measure
from benchmarks.serving_rig.peers import Peer, Place, Running
from benchmarks.serving_rig.report import Cell
from benchmarks.serving_rig.special import measure_special, raw
from benchmarks.serving_rig.workloads import Workload

PEERS = (
    peers.ours("fogline http2 uvloop"),
    peers.ours("fogline http2 asyncio", "--asyncio"),
    peers.ours("fogline grpcio", "--front", "grpcio"),
    peers.echo("C++ echo, async", "async"),
    peers.echo("C++ echo, callback", "callback"),
    peers.echo("C++ echo, sync", "sync"),
    peers.GRPCIO,
    peers.KSERVE,
    peers.MLSERVER,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is measured."""

    cells: tuple[Cell, ...]
    repetitions: int
    seconds: float
    can_install: bool = True
    million: int = 1_000_000
    """Requests before memory is read."""


def _cells(models: Sequence[str], tls: Sequence[bool]) -> tuple[Cell, ...]:
    return tuple(
        Cell(workload=w, kind=k, in_flight=n, is_tls=t)
        for w in models
        for t in tls
        for k in ("varied", "identical")
        for n in (1, 8, 64)
    )


QUICK = Extent(
    cells=(
        *(Cell(workload="mlp", kind="varied", in_flight=n) for n in (1, 8, 64)),
        Cell(workload="mlp", kind="varied", in_flight=64, is_tls=True),
    ),
    repetitions=1,
    seconds=0.7,
    can_install=False,
    million=50_000,
)
USUAL = Extent(
    cells=(
        *_cells(("mlp",), (False,)),
        *(Cell(workload="mlp", kind="varied", in_flight=n, is_tls=True) for n in (1, 8, 64)),
        *(Cell(workload=w, kind="varied", in_flight=8) for w in ("forest", "magika")),
    ),
    repetitions=3,
    seconds=1.5,
)
FULL = Extent(cells=_cells(("mlp", "forest", "magika"), (False, True)), repetitions=5, seconds=2.0)


CROSSCHECK_S = 5.0
"""About how long `h2load` takes for a server."""


class Benchmark:
    """One run: servers that stay up while they are asked in turns."""

    def __init__(self, folder: Path, extent: Extent, chosen: Sequence[Peer]) -> None:
        self._folder = folder
        self._extent = extent
        self._chosen = chosen
        self.evidence = Evidence()

    def run(self) -> None:
        makers = {"mlp": workloads.small_mlp, "forest": workloads.forest,
                  "magika": workloads.magika}  # fmt: skip
        for name in dict.fromkeys(c.workload for c in self._extent.cells):
            try:
                workload = makers[name](self._folder)
            except cache.Missing as e:
                self._skip(name, e)
                continue
            self.evidence.workloads[name] = workload
            for is_tls in (False, True):
                cells = [c for c in self._extent.cells if c.workload == name and c.is_tls == is_tls]
                if cells:
                    self._compare(workload, cells, is_tls=is_tls)
        if UVLOOP in (p.label for p in self._chosen):
            measure_special(
                self.evidence, self._folder, self._extent.million, self._extent.repetitions
            )

    def _compare(self, workload: Workload, cells: Sequence[Cell], *, is_tls: bool) -> None:
        with contextlib.ExitStack() as stack:
            servers = list(self._start(stack, workload, is_tls=is_tls))
            for cell in cells:
                for _ in range(self._extent.repetitions):
                    for server in servers:
                        self._measure(server, workload, cell)
                    if not is_tls:
                        self._beside(servers, workload, cell)
                labels = dict.fromkeys(label for c, label in self.evidence.results if c == cell)
                print(report.table(cell, [(n, self.evidence.results[cell, n]) for n in labels]))
            for server in servers:
                found = processes.memory(server.pid)
                self.evidence.memory[workload.name, is_tls, server.peer.label] = found

    def _start(
        self, stack: contextlib.ExitStack, workload: Workload, *, is_tls: bool
    ) -> Iterator[Running]:
        for peer in self._chosen:
            if (peer.is_echo and workload.name != "mlp") or (is_tls and not peer.has_tls):
                continue
            try:
                pair = peers.make_pair(self._folder) if is_tls else None
                for i in range(self._extent.repetitions):
                    place = self._place(workload, pair)
                    running = peers.running(peer, place, cores.server())
                    if i + 1 < self._extent.repetitions:
                        with running as server:
                            self._started(server, workload)
                    else:
                        server = stack.enter_context(running)
                        self._started(server, workload)
                        yield server
            except (cache.Missing, RuntimeError) as e:
                self._skip(f"{peer.label}{', TLS' if is_tls else ''}", e)

    def _started(self, server: Running, workload: Workload) -> None:
        if not server.is_tls:
            key = workload.name, server.peer.label
            self.evidence.cold_start_s.setdefault(key, []).append(server.cold_start_s)

    def _place(self, workload: Workload, pair: peers.Pair | None) -> Place:
        return Place(
            port=peers.free_port(),
            folder=Path(tempfile.mkdtemp(dir=self._folder)),
            workloads=(workload,),
            tls=pair,
            can_install=self._extent.can_install,
        )

    def _measure(self, server: Running, workload: Workload, cell: Cell) -> None:
        samples = self._folder / "samples"
        load = Load(
            server.port,
            workload.pools[cell.kind].file,
            samples,
            in_flight=cell.in_flight,
            seconds=self._extent.seconds,
            tls=server.is_tls,
            cores=cores.load(),
        )
        found = measure(load, server.pid)
        self.evidence.add(cell, server.peer.label, found)
        wrong = [] if server.peer.is_echo else workload.mistakes(samples, cell.kind)
        if found.failed or wrong:
            self.evidence.faults.append(
                f"{server.peer.label}, {cell}: {found.failed} failed; {'; '.join(wrong[:3])}"
            )

    def _beside(self, servers: Sequence[Running], workload: Workload, cell: Cell) -> None:
        """ONNX Runtime alone; and another load generator on the fastest two."""
        if cell.in_flight == 1:
            self.evidence.add(cell, "ONNX Runtime in process", self._raw(workload, cell))
        if cell.kind != "identical" or cell.in_flight != 64 or not crosscheck.is_there():
            return
        body = self._folder / f"{workload.name}.body"
        body.write_bytes(workload.first_body())
        for server in servers:
            if server.peer.label in (UVLOOP, ECHO):
                last = self.evidence.results[cell, server.peer.label][-1]
                requests = int(CROSSCHECK_S * last.requests / last.seconds)
                found = crosscheck.measure(
                    server.port,
                    server.pid,
                    body,
                    cell.in_flight,
                    min(max(cell.in_flight, requests), crosscheck.MAX_REQUESTS),
                    cores.load(),
                )
                self.evidence.add(cell, f"{server.peer.label}, by h2load", found)

    def _raw(self, workload: Workload, cell: Cell) -> Measured:
        return raw(
            workload, cell.kind, self._folder, 1, seconds=self._extent.seconds, cores=cores.server()
        )

    def _skip(self, what: str, why: Exception) -> None:
        told = f"{what}: {why}"
        if told not in self.evidence.skipped:
            self.evidence.skipped.append(told)
            print(f"  skipped: {told}", file=sys.stderr)


def _extent(given: argparse.Namespace) -> Extent:
    changes = {
        "seconds": given.seconds,
        "repetitions": given.repetitions,
        "million": given.settle,
    }
    extent: Extent = given.extent
    return replace(extent, **{n: v for n, v in changes.items() if v is not None})


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", dest="extent", action="store_const", const=QUICK, default=USUAL)
    extent.add_argument("--full", dest="extent", action="store_const", const=FULL)
    parser.add_argument("--only", default="", metavar="A,B", help="servers whose name holds A or B")
    parser.add_argument("--seconds", type=float, help="of each run, instead of the extent's")
    parser.add_argument("--repetitions", type=int, help="of each run, instead of the extent's")
    parser.add_argument("--settle", type=int, help="requests before memory is read")
    parser.add_argument("--json", type=Path, metavar="F", help="also writes every figure to F")
    given = parser.parse_args(argv)
    wanted = [w.strip().lower() for w in given.only.split(",")]
    chosen = [p for p in PEERS if any(w in p.label.lower() for w in wanted)]
    try:
        cache.load_program()
    except cache.Missing as e:
        print(f"benchmarks.serving: {e}", file=sys.stderr)
        return 2
    environment = report.environment()
    print("\n".join(f"{name}: {value}" for name, value in environment.items()))
    with tempfile.TemporaryDirectory() as name:
        benchmark = Benchmark(Path(name), _extent(given), chosen)
        benchmark.run()
    evidence = benchmark.evidence
    print(evidence.summary())
    found = bars(evidence)
    print("\nBars")
    print("\n".join(map(str, found)))
    if given.json:
        told = {"environment": environment, **evidence.plain(), "bars": [b.plain() for b in found]}
        given.json.write_text(json.dumps(told, indent=1))
    return 1 if evidence.faults else 0


if __name__ == "__main__":
    sys.exit(main())
