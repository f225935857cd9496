"""The whole loop, killed once at every write boundary that there is: nothing lost, nothing doubled.

Each case runs a real hub and a real agent, lets one of their processes end by SIGKILL where it
reaches the named point, starts it again, and in the end holds three counts against each other: the
sequence numbers that the device gave, those that the lake holds, and what the application was told.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fogline.clock import wait_until
from fogline.errors import FoglineError, Unavailable
from fogline.failpoints import POINTS
from fogline_hub.config import HubFolder
from fogline_hub.lake import Lake
from tests.agents import enroll, make_token, start_agent
from tests.hubs import RunningHub, fogline, start_hub, wait_gone
from tests.hubs import hub_folder as hub_folder  # noqa: PLC0414 - a fixture
from tests.models import save_constant

STREAMS = {"samples-sum": "sample", "feedback": "feedback", "summaries": "summary"}
AGENT_POINTS = [p for p in POINTS if p.startswith(("outbox.", "publish."))]
INSTALL_POINTS = [p for p in POINTS if p.startswith("install.")]
HUB_POINTS = [p for p in POINTS if p.startswith(("ingest.", "catalogue."))]
RETRAIN_POINTS = [p for p in POINTS if p.startswith("retrain.")]
"""Killed in `test_retrain_crash.py`, where there is something to retrain."""
ROUNDS = 12


class Loop:
    """A hub and one agent, of which either may be killed and started again."""

    def __init__(self, folder: Path, hub: RunningHub) -> None:
        self.folder = folder
        self.hub = hub
        self.accepted: list[str] = []
        enroll(hub, folder / "station", make_token(hub))
        self.agent = start_agent(folder / "station")
        self.push(1.0)
        assert self.deploy(1)
        self.agent.wait_serves("sum@1")

    def push(self, value: float) -> None:
        path = save_constant(self.folder / f"{value}.onnx", value)
        done = fogline("push", "sum", str(path), env=self.hub.environment())
        assert done.code == 0, done.stderr

    def deploy(self, version: int, *options: str) -> bool:
        words = ("deploy", f"sum@{version}", "--group", "stations", *options)
        capture = ("--capture", "sample_rate=1", "--capture", "flush_interval_s=0.2")
        return fogline(*words, *capture, env=self.hub.environment()).code == 0

    def restart_agent(self, failpoint: str = "") -> None:
        self.agent.child.terminate(20.0)
        self.agent = start_agent(self.folder / "station", failpoint=failpoint)

    def restart_hub(self, failpoint: str = "") -> bool:
        """Returns whether it became ready: a process killed before that ends the hub."""
        self.hub.stop()
        host = self.hub.url.removeprefix("http://")
        addresses = ("--listen", host, "--mqtt", self.hub.mqtt)
        try:
            self.hub = start_hub(self.hub.folder, *addresses, failpoint=failpoint)
        except Unavailable:
            if not failpoint:
                raise
            return False
        return True

    def talk(self) -> None:
        """A prediction and its outcome; what the agent took is remembered, a dead one is no one."""
        with suppress(FoglineError), self.agent.client() as client:
            given = client.predict("sum", {"x": np.ones((1, 2), np.float32)}, timeout_s=2.0).id
            client.feedback(given, [1.0])
            self.accepted.append(given)

    def is_agent_gone(self) -> bool:
        return self.agent.child.poll() is not None

    def settle(self) -> None:
        def is_empty() -> bool:
            with suppress(FoglineError), self.agent.client() as client:
                return not any(client.status().outbox_pending.values())
            return False

        assert wait_until(is_empty, timeout_s=60.0, poll_s=0.2), "the outbox never emptied"

    def check(self) -> None:
        """Every sequence number that the device gave is in the lake, once."""
        self.settle()
        with self.agent.client() as client:
            metrics = dict(client.status().metrics)
        lake = Lake(self.hub.folder.lake)
        for table, stream in STREAMS.items():
            rows = lake.table(table).read(["outbox_id", "seq"])
            pairs = set(zip(rows["outbox_id"].to_pylist(), rows["seq"].to_pylist(), strict=True))
            assert len({o for o, _ in pairs}) == 1
            assert sorted(s for _, s in pairs) == list(
                range(1, metrics[f"outbox_{stream}_appended"] + 1)
            ), stream
            assert metrics[f"outbox_{stream}_dropped"] == 0
        for table in ("samples-sum", "feedback"):
            ids = Counter(lake.table(table).read(["prediction_id"])["prediction_id"].to_pylist())
            assert set(ids.values()) <= {1}, f"{table} holds a row twice"
        stored = lake.table("feedback").read(["prediction_id"])["prediction_id"].to_pylist()
        assert set(self.accepted) <= set(stored), "an outcome that was accepted is missing"


@pytest.fixture
def loop(hub_folder: HubFolder, tmp_path: Path) -> Iterator[Loop]:
    hub = start_hub(hub_folder)
    made: Loop | None = None
    try:
        made = Loop(tmp_path, hub)
        yield made
    finally:
        if made is not None:
            made.agent.child.kill()
            made.hub.child.kill()
        hub.child.kill()


def test_every_point_is_in_one_of_the_lists() -> None:
    listed = AGENT_POINTS + INSTALL_POINTS + HUB_POINTS + RETRAIN_POINTS
    assert sorted(listed) == sorted(POINTS)


@pytest.mark.parametrize("point", AGENT_POINTS)
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_agent_killed_while_it_writes_or_sends(loop: Loop, point: str) -> None:
    for _ in range(ROUNDS):
        loop.talk()
    loop.restart_agent(f"{point}:3")

    def is_dead() -> bool:
        loop.talk()
        return loop.is_agent_gone()

    assert wait_until(is_dead, timeout_s=40.0), f"{point} was never reached"
    loop.restart_agent()
    for _ in range(ROUNDS):
        loop.talk()
    loop.check()


@pytest.mark.parametrize("point", HUB_POINTS)
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hub_whose_process_is_killed_while_it_stores(loop: Loop, point: str) -> None:
    was_ready = loop.restart_hub(f"{point}:2")
    victim = "ingest" if point.startswith("ingest.") else "api"

    def is_dead() -> bool:
        loop.talk()
        if victim == "api":
            make = ("devices", "token", "--group", "spare")
            fogline(*make, env=loop.hub.environment())
        with suppress(FoglineError):
            return bool(loop.hub.status().processes[victim]["restarts"])
        return True

    assert not was_ready or wait_until(is_dead, timeout_s=40.0), f"{point} was never reached"
    assert loop.restart_hub()
    for _ in range(ROUNDS):
        loop.talk()
    loop.check()


@pytest.mark.parametrize("point", INSTALL_POINTS)
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_agent_killed_while_it_installs_serves_one_whole_version(loop: Loop, point: str) -> None:
    loop.talk()
    loop.restart_agent(point)
    loop.push(2.0)
    assert loop.deploy(2)
    assert wait_until(loop.is_agent_gone, timeout_s=40.0), f"{point} was never reached"
    loop.restart_agent()
    assert loop.agent.models in (("sum@1",), ("sum@2",))
    loop.agent.wait_serves("sum@2", timeout_s=60.0)
    loop.talk()
    loop.check()


@pytest.mark.parametrize("victim", ["broker", "signer", "ingest", "api"])
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_process_of_the_hub_killed_under_traffic(loop: Loop, victim: str) -> None:
    pid = loop.hub.pids()[victim]
    for _ in range(ROUNDS):
        loop.talk()
    os.kill(pid, signal.SIGKILL)
    assert wait_gone(pid)
    for _ in range(ROUNDS):
        loop.talk()
    loop.check()
