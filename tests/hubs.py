"""A whole hub for tests: `fogline hub start` as a child, ended with the test."""

import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from fogline.clock import SystemClock, wait_until
from fogline.sandbox import Child, Outcome, run_child, start_child
from fogline.sandbox.limits import Limits
from fogline_hub.api.status import Status
from fogline_hub.client import HubClient
from fogline_hub.config import HubFolder
from fogline_hub.hub import initialise

FOGLINE = str(Path(sys.executable).with_name("fogline"))
START_TIMEOUT_S = 60.0


@dataclass
class RunningHub:
    folder: HubFolder
    child: Child
    url: str
    mqtt: str

    def client(self) -> HubClient:
        return HubClient(self.url, (self.folder.operator / "admin.token").read_text().strip())

    def environment(self) -> dict[str, str]:
        """What an operator's shell has set."""
        return {
            "FOGLINE_HUB": self.url,
            "FOGLINE_TOKEN": (self.folder.operator / "admin.token").read_text().strip(),
            "FOGLINE_KEYS": str(self.folder.operator),
        }

    def status(self) -> Status:
        with self.client() as client:
            return client.get("/v1/status", Status)

    def pids(self) -> dict[str, int]:
        return {name: told["pid"] for name, told in self.status().processes.items()}

    def stop(self) -> Outcome:
        return self.child.terminate(30.0)


def fogline(*words: str, env: dict[str, str] | None = None) -> Outcome:
    """Runs one command of the CLI to its end."""
    limits = Limits(timeout_s=60.0, oom_score_adj=None)
    return run_child([FOGLINE, *words], limits=limits, env=env)


def start_hub(folder: HubFolder, *arguments: str, failpoint: str = "") -> RunningHub:
    """Starts the hub in `folder` on ports that it chooses, and waits until it is ready.

    Each of its processes is killed where it reaches `failpoint`, again after each restart.
    """
    env = {"FOGLINE_FAILPOINT": failpoint} if failpoint else {}
    child = start_child(hub_command(folder, *arguments), env=env, stderr=None)
    ready = child.wait_line("ready ", START_TIMEOUT_S)
    found = re.fullmatch(r"ready api=(http://127\.0\.0\.1:\d+) mqtt=(127\.0\.0\.1:\d+)", ready)
    assert found is not None, ready
    return RunningHub(folder=folder, child=child, url=found[1], mqtt=found[2])


def hub_command(folder: HubFolder, *arguments: str) -> Sequence[str]:
    ports = arguments or ("--listen", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
    return (FOGLINE, "hub", "start", "--data", str(folder.root), *ports)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_gone(*pids: int, timeout_s: float = 20.0) -> bool:
    return wait_until(lambda: not any(map(is_running, pids)), timeout_s=timeout_s)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def hub_folder(tmp_path: Path) -> HubFolder:
    folder = HubFolder(tmp_path / "hub")
    initialise(folder, SystemClock())
    return folder


@pytest.fixture
def hub(hub_folder: HubFolder) -> Iterator[RunningHub]:
    running = start_hub(hub_folder)
    try:
        yield running
    finally:
        running.child.kill()
