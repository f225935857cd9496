import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from fogline.clock import SystemClock, wait_until
from fogline.errors import Unavailable
from fogline_hub.config import SupervisorConfig
from fogline_hub.supervisor import Role, Supervisor, says

QUICK = SupervisorConfig(
    ready_timeout_s=10.0,
    stop_grace_s=5.0,
    restart_base_s=0.01,
    restart_cap_s=0.02,
    max_failures=3,
    failure_window_s=60.0,
    poll_s=0.01,
)
READY = """
import pathlib, signal, sys, os
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
log = pathlib.Path(sys.argv[1])
with log.open("a") as f: f.write(f"start {sys.argv[2]} {os.getpid()}\\n")
try:
    print("ready", flush=True)
    while True: signal.pause()
finally:
    with log.open("a") as f: f.write(f"stop {sys.argv[2]} {os.getpid()}\\n")
"""


@dataclass
class Running:
    supervisor: Supervisor
    status_file: Path
    log: Path
    stop: threading.Event = field(default_factory=threading.Event)
    ready: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None
    thread: threading.Thread | None = None

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.supervisor.run(self.stop, self.ready.set)
        except Unavailable as e:
            self.failure = e

    def end(self) -> None:
        self.stop.set()
        if self.thread is not None:
            self.thread.join(30)

    def lines(self) -> list[str]:
        return [line.rsplit(" ", 1)[0] for line in self.log.read_text().splitlines()]

    def status(self) -> dict[str, dict[str, object]]:
        told: dict[str, dict[str, object]] = json.loads(self.status_file.read_text())
        return told

    def is_new(self, restarts: int) -> bool:
        """Whether `b` is ready after that many restarts."""
        if not self.ready.is_set():
            return False
        told = self.status()["b"]
        return told["state"] == "ready" and told["restarts"] == restarts

    def pid(self, role: str) -> int:
        pid = self.status()[role]["pid"]
        return pid if isinstance(pid, int) else 0


Starter = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    started: list[Running] = []

    def make(*roles: Role) -> Running:
        status_file = tmp_path / "status.json"
        supervisor = Supervisor(
            roles,
            QUICK,
            clock=SystemClock(),
            random=random.Random(1).random,
            status_file=status_file,
        )
        running = Running(supervisor, status_file, tmp_path / "log")
        started.append(running)
        running.start()
        return running

    yield make
    for running in started:
        running.end()


def steady(tmp_path: Path, name: str, *needs: str) -> Role:
    argv = (sys.executable, "-c", READY, str(tmp_path / "log"), name)
    return Role(
        name=name,
        argv=argv,
        is_ready=says("ready"),
        needs=needs,
        last_words=lambda: f"why {name} died",
    )


def program(name: str, code: str) -> Role:
    return Role(name=name, argv=(sys.executable, "-c", code), is_ready=says("ready"))


def test_roles_wait_for_those_they_need_and_end_in_reverse(start: Starter, tmp_path: Path) -> None:
    roles = steady(tmp_path, "a"), steady(tmp_path, "b", "a"), steady(tmp_path, "c", "a", "b")
    running = start(*roles)
    assert running.ready.wait(20)
    running.end()
    assert running.lines() == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]
    assert running.failure is None


def test_a_killed_process_is_started_again_alone(start: Starter, tmp_path: Path) -> None:
    running = start(steady(tmp_path, "a"), steady(tmp_path, "b"))
    assert running.ready.wait(20)
    first, other = running.pid("a"), running.pid("b")
    os.kill(first, signal.SIGKILL)
    assert wait_until(
        lambda: running.status()["a"]["state"] == "ready" and running.pid("a") != first,
        timeout_s=20,
    )
    assert running.status()["a"]["restarts"] == 1
    assert running.pid("b") == other


def test_a_process_that_dies_too_often_ends_all(start: Starter, tmp_path: Path) -> None:
    running = start(steady(tmp_path, "a"), steady(tmp_path, "b"))
    for restarts in range(QUICK.max_failures + 1):
        assert wait_until(partial(running.is_new, restarts), timeout_s=20)
        os.kill(running.pid("b"), signal.SIGKILL)
    assert running.thread is not None
    running.thread.join(30)
    assert "b died 4 times in 60 s; the last time it was ended by SIGKILL" in str(running.failure)
    assert str(running.failure).endswith("why b died")
    assert running.lines()[-1] == "stop a"


def test_a_process_that_was_never_ready_ends_all_at_once(start: Starter, tmp_path: Path) -> None:
    running = start(steady(tmp_path, "a"), program("b", "raise SystemExit(2)"))
    assert running.thread is not None
    running.thread.join(30)
    assert not running.ready.is_set()
    assert "b exited with status 2" in str(running.failure)
    assert "before it was ready" in str(running.failure)
    assert running.lines() == ["start a", "stop a"]


def test_a_program_that_is_not_there_ends_all(start: Starter) -> None:
    running = start(Role(name="a", argv=("/does/not/exist",), is_ready=says("ready")))
    assert running.thread is not None
    running.thread.join(30)
    assert "a cannot be started" in str(running.failure)


def test_a_stop_during_the_start_ends_what_runs(start: Starter, tmp_path: Path) -> None:
    running = start(steady(tmp_path, "a"), program("b", "import time; time.sleep(60)"))
    assert wait_until((tmp_path / "log").exists, timeout_s=20)
    running.end()
    assert running.failure is None
    assert not running.ready.is_set()
