"""Kills a real installing process at every write boundary, and looks at what serves then."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fogline.clock import wait_until
from fogline.desired import DesiredModel
from fogline.failpoints import POINTS
from fogline.records import canonical_json
from tests.devices import write_version
from tests.install_child import Run
from tests.signed_hubs import Reply, SignedHub, make_hub, serving

BOUNDARIES = {
    "install.after_fetch": 1,
    "install.before_marker": 1,
    "install.after_marker": 1,
    "install.after_qualify": 1,
    "install.before_activate": 1,
    "install.after_activate": 2,
}
"""What a boot lets serve after a kill there, while version 2 was replacing version 1."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SignedHub]:
    with serving(make_hub(tmp_path / "hub")) as made:
        yield made


@pytest.fixture
def versions(tmp_path: Path, hub: SignedHub) -> tuple[DesiredModel, DesiredModel]:
    first, second = (
        hub.push(write_version(tmp_path / f"v{i}", content=str(i).encode()), i) for i in (1, 2)
    )
    return first, second


def command(folder: Path, hub: SignedHub, wanted: DesiredModel | None) -> bytes:
    return canonical_json(
        Run(folder=str(folder), identity=hub.identity(), install=wanted, is_clean=False)
    )


def run(
    folder: Path, hub: SignedHub, wanted: DesiredModel | None = None, failpoint: str = ""
) -> tuple[int, list[dict[str, Any]]]:
    """One run of the agent; its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.install_child"],
        input=command(folder, hub, wanted),
        capture_output=True,
        env={**os.environ, "FOGLINE_FAILPOINT": failpoint},
        timeout=60,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode in (0, -9), done.stderr.decode()
    return done.returncode, lines


def test_every_boundary_of_installing_is_covered() -> None:
    assert set(BOUNDARIES) == {p for p in POINTS if p.startswith("install.")}


@pytest.mark.parametrize("point", sorted(BOUNDARIES))
def test_after_a_kill_the_old_or_the_new_version_serves_whole(
    tmp_path: Path, hub: SignedHub, versions: tuple[DesiredModel, DesiredModel], point: str
) -> None:
    device = tmp_path / "device"
    code, lines = run(device, hub, versions[0])
    assert (code, lines[-1]["serving"]) == (0, {"rain": 1})
    code, _ = run(device, hub, versions[1], point)
    assert code == -9
    hub.requests.clear()
    code, lines = run(device, hub, versions[1])
    assert lines[0] == {"booted": {"rain": BOUNDARIES[point]}}
    assert (code, lines[-1]["phase"], lines[-1]["serving"]) == (0, "active", {"rain": 2})
    assert not [p for p, _ in hub.requests if p.startswith("/blobs/")], "nothing is fetched twice"
    assert list((device / "store").iterdir()) == []


@pytest.mark.parametrize("point", sorted(BOUNDARIES))
def test_a_kill_during_the_first_installation_leaves_nothing_unverified(
    tmp_path: Path, hub: SignedHub, versions: tuple[DesiredModel, DesiredModel], point: str
) -> None:
    device = tmp_path / "device"
    assert run(device, hub, versions[0], point)[0] == -9
    _, lines = run(device, hub, versions[0])
    expected = {"rain": 1} if point == "install.after_activate" else {}
    assert lines[0] == {"booted": expected}
    assert lines[1]["serving"] == {"rain": 1}


def test_a_kill_during_a_download_loses_nothing_and_leaves_no_child(
    tmp_path: Path, hub: SignedHub, versions: tuple[DesiredModel, DesiredModel]
) -> None:
    device = tmp_path / "device"
    run(device, hub, versions[0])
    reached, release = threading.Event(), threading.Event()

    def stall(body: bytes) -> Reply:
        reached.set()
        release.wait(30)
        return Reply(body=body)

    hub.replies[f"/blobs/{versions[1].manifest}"] = stall
    agent = subprocess.Popen(
        [sys.executable, "-m", "tests.install_child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert agent.stdin is not None
    agent.stdin.write(command(device, hub, versions[1]))
    agent.stdin.close()
    assert reached.wait(30)
    children = _children(agent.pid)
    assert children
    agent.kill()
    agent.wait()
    assert agent.stdout is not None
    agent.stdout.close()
    assert wait_until(lambda: not any(map(_is_alive, children)), timeout_s=10)
    release.set()
    hub.replies.clear()
    _, lines = run(device, hub, versions[1])
    assert lines[0] == {"booted": {"rain": 1}}
    assert lines[1]["serving"] == {"rain": 2}


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(c) for c in found] or [
        int(c) for t in threads for c in (t / "children").read_text().split()
    ]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
