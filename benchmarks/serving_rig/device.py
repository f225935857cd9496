"""A whole agent: enrolled with a hub, connected to its broker, with the model rolled out to it."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving_rig.workloads import Workload
from fogline.clock import SystemClock
from fogline_hub.config import HubFolder
from fogline_hub.hub import initialise
from tests.agents import RunningAgent, enroll, make_token, start_agent
from tests.hubs import RunningHub, fogline, start_hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    port: int
    pid: int
    first_answers_s: list[float]
    """From the start of an agent's process that has the model installed to its first answer."""


@contextlib.contextmanager
def whole_agent(folder: Path, workload: Workload, starts: int) -> Iterator[Device]:
    """Starts hub, broker and agent, with `workload` served; ends them all."""
    with _logging_to(folder / "device.log"):
        yield from _whole_agent(folder, workload, starts)


def _whole_agent(folder: Path, workload: Workload, starts: int) -> Iterator[Device]:
    root = HubFolder(folder / "hub")
    initialise(root, SystemClock())
    hub = start_hub(root)
    agent = None
    try:
        token = make_token(hub)
        enroll(hub, folder / "agent", token)
        agent = start_agent(folder / "agent")
        _roll_out(hub, workload)
        agent.wait_serves(f"{workload.name}@1")
        took = []
        for _ in range(starts):
            agent.stop()
            began = time.perf_counter()
            agent = start_agent(folder / "agent")
            _ask_once(agent, workload)
            took.append(time.perf_counter() - began)
        port = int(agent.grpc.rpartition(":")[2])
        yield Device(port=port, pid=agent.child.pid, first_answers_s=took)
    finally:
        if agent is not None:
            agent.child.kill()
        hub.child.kill()


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Children inherit standard error; what they log would bury the tables."""
    kept = os.dup(2)
    with path.open("wb") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _roll_out(hub: RunningHub, workload: Workload) -> None:
    for words in (
        ("push", workload.name, str(workload.bundle)),
        ("deploy", f"{workload.name}@1", "--group", "stations", "--wait", "--timeout", "50"),
    ):
        done = fogline(*words, env=hub.environment())
        if done.code:
            raise RuntimeError(f"fogline {words[0]}: {done.last_words()}")


def _ask_once(agent: RunningAgent, workload: Workload) -> None:
    rows = workload.pools["identical"].rows[0]
    with agent.client() as client:
        client.predict(workload.name, {workload.input.name: rows})
