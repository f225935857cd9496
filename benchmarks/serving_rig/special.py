"""What no table of alternating runs shows: settled memory, both cores, a model beside another."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from benchmarks.serving_rig import peers, processes
from benchmarks.serving_rig.bars import UVLOOP, Evidence
from benchmarks.serving_rig.device import whole_agent
from benchmarks.serving_rig.load import Load, Measured, measure
from benchmarks.serving_rig.peers import Place, Running
from benchmarks.serving_rig.workloads import Workload
from fogline.errors import FoglineError

STARTS = 5
"""Of which the first answer is timed."""
PASSES = 3
"""Over magika's 64 varied requests, so that whoever answers them does the same work."""
BESIDE_S = 4.0
RAW_TIMEOUT_S = 120.0


def measure_special(found: Evidence, folder: Path, million: int, turns: int) -> None:
    """Fills in what needs servers of its own; each only where its models are there."""
    mlp, magika = found.workloads.get("mlp"), found.workloads.get("magika")
    found.settled_requests = million
    if mlp is not None:
        for settle in (_settle_alone, _settle_whole):
            try:
                settle(found, folder, mlp, million)
            except (RuntimeError, FoglineError) as e:
                found.skipped.append(f"memory after {million} requests: {e}")
    if magika is not None and mlp is not None:
        _both_cores(found, folder, mlp, magika, turns)


def raw(
    workload: Workload,
    kind: str,
    folder: Path,
    threads: int,
    *,
    seconds: float = RAW_TIMEOUT_S,
    requests: int = 0,
    cores: Collection[int] = (),
) -> Measured:
    """ONNX Runtime in a process of its own, on the same inputs in the same order."""
    file = folder / f"{workload.name}-{kind}.npz"
    if not file.exists():
        rows = {f"{i:05}": x for i, x in enumerate(workload.pools[kind].rows)}
        with file.open("wb") as out:
            np.savez(out, **rows)  # type: ignore[arg-type]
    words = (workload.model, workload.input.name, file, threads, seconds, requests)
    command = (sys.executable, "-m", "benchmarks.serving_rig.raw", *map(str, words))
    done = subprocess.run(
        processes.pinned(command, cores),
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    told = json.loads(done.stdout)
    cpu_us = told.pop("cpu_s") / max(1, told["requests"]) * 1e6
    return Measured(**told, cpu_us=cpu_us)


def _settle_alone(found: Evidence, folder: Path, mlp: Workload, million: int) -> None:
    """Memory of a server with capture after many requests."""
    peer = peers.ours(UVLOOP)
    for _ in range(STARTS):
        with peers.running(peer, _place(folder, mlp)) as server:
            found.first_answer_s.setdefault("MQTT off", []).append(server.cold_start_s)
    with peers.running(peer, _place(folder, mlp)) as server:
        _ask(found, server.port, server.pid, folder, mlp, million)
        found.settled["MQTT off"] = processes.memory(server.pid)


def _settle_whole(found: Evidence, folder: Path, mlp: Workload, million: int) -> None:
    """The same of a whole agent with a hub and its broker."""
    with whole_agent(folder, mlp, STARTS) as agent:
        found.first_answer_s["everything on"] = agent.first_answers_s
        _ask(found, agent.port, agent.pid, folder, mlp, million)
        found.settled["everything on"] = processes.memory(agent.pid)


def _both_cores(found: Evidence, folder: Path, mlp: Workload, magika: Workload, turns: int) -> None:
    """Magika beside ONNX Runtime alone, in turns: on both cores, then with the busy small model."""
    cores = len(os.sched_getaffinity(0))
    peer = peers.ours(UVLOOP)
    with peers.running(peer, _place(folder, mlp, magika)) as server:
        for _ in range(turns):
            for name, threads in (("raw one core", 1), ("raw both cores", cores)):
                found.add_magika(name, raw(magika, "varied", folder, threads, requests=PASSES * 64))
            load = _load(server.port, magika, folder / "a", 8, requests=PASSES * 64)
            found.add_magika("served both cores", measure(load, server.pid))
            _beside(found, server, folder, mlp, magika)


def _beside(
    found: Evidence, server: Running, folder: Path, mlp: Workload, magika: Workload
) -> None:
    asked = _load(server.port, magika, folder / "a", 8, seconds=BESIDE_S)
    saturating = _load(server.port, mlp, folder / "b", 64, seconds=BESIDE_S)
    for load in (asked, saturating):
        load.wait_warm()
    for load in (asked, saturating):
        load.begin()
    found.add_magika("beside mlp", asked.end())
    found.add_magika("mlp meanwhile", saturating.end())
    found.faults += magika.mistakes(folder / "a", "varied")
    found.faults += mlp.mistakes(folder / "b", "varied")


def _ask(
    found: Evidence, port: int, pid: int, folder: Path, workload: Workload, requests: int
) -> None:
    load = Load(
        port,
        workload.pools["varied"].file,
        folder / "samples",
        in_flight=64,
        requests=requests,
    )
    run = measure(load, pid)
    wrong = workload.mistakes(folder / "samples", "varied")
    if run.failed or wrong:
        found.faults.append(f"{requests} requests: {run.failed} failed; {'; '.join(wrong[:3])}")


def _load(
    port: int,
    workload: Workload,
    samples: Path,
    in_flight: int,
    *,
    seconds: float = 0.0,
    requests: int = 0,
) -> Load:
    pool = workload.pools["varied"].file
    return Load(
        port,
        pool,
        samples,
        in_flight=in_flight,
        seconds=seconds,
        requests=requests,
        warm_s=0.5,
    )


def _place(folder: Path, *models: Workload) -> Place:
    return Place(
        port=peers.free_port(),
        folder=Path(tempfile.mkdtemp(dir=folder)),
        workloads=models,
        tls=None,
        can_install=False,
    )
