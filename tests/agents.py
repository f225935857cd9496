"""Agents for tests: `fogline agent run` as a child, enrolled with a running hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from fogline.client import Client
from fogline.clock import wait_until
from fogline.sandbox import Child, Outcome, start_child
from tests.hubs import FOGLINE, RunningHub, fogline

START_TIMEOUT_S = 60.0

CONFIG = """
report_interval_s = 2.0
[mqtt]
reconnect_base_s = 0.1
reconnect_cap_s = 0.5
[window]
resend_base_s = 0.5
"""


@dataclass
class RunningAgent:
    folder: Path
    child: Child
    grpc: str
    device: str
    models: tuple[str, ...]

    def client(self) -> Client:
        return Client(self.grpc)

    def serves(self, ref: str) -> bool:
        """Whether `NAME@VERSION` answers to its name now."""
        with self.client() as client:
            found = client.status().models
        return any(f"{m.name}@{m.version}" == ref and m.state == "ACTIVE" for m in found)

    def wait_serves(self, ref: str, timeout_s: float = 30.0) -> None:
        assert wait_until(lambda: self.serves(ref), timeout_s=timeout_s), f"{ref} never served"

    def stop(self) -> Outcome:
        return self.child.terminate(30.0)


def make_token(hub: RunningHub, group: str = "stations", uses: int = 1) -> str:
    words = ("devices", "token", "--group", group, "--uses", str(uses))
    made = fogline(*words, env=hub.environment())
    assert made.code == 0, made.stderr
    return made.stdout.decode().strip()


def enroll(hub: RunningHub, folder: Path, token: str, name: str = "station-1") -> None:
    words = ("agent", "enroll", "--data", str(folder), "--hub", hub.url, "--name", name)
    done = fogline(*words, env={"FOGLINE_TOKEN": token})
    assert done.code == 0, done.stderr
    (folder / "agent.toml").write_text(CONFIG)


def start_agent(folder: Path, *, failpoint: str = "") -> RunningAgent:
    """Starts the agent in `folder` on a port that it chooses, and waits until it is ready."""
    env = {"FOGLINE_FAILPOINT": failpoint} if failpoint else {}
    command = (FOGLINE, "agent", "run", "--data", str(folder), "--grpc", "127.0.0.1:0")
    child = start_child(command, env=env, stderr=None)
    ready = child.wait_line("ready ", START_TIMEOUT_S)
    found = re.fullmatch(r"ready grpc=(\S+) device=(\S+) models=(\S*)", ready)
    assert found is not None, ready
    models = tuple(found[3].split(",")) if found[3] else ()
    return RunningAgent(folder=folder, child=child, grpc=found[1], device=found[2], models=models)
