"""`make demo` as a newcomer runs it: it keeps its promises, and leaves nothing running."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fogline.clock import wait_until

ROOT = Path(__file__).resolve().parents[2]
RUN_S = 600.0


def demo(out: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.rainfall", "--out", str(out), *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left_running(out: Path) -> dict[int, str]:
    """Command lines, by process id, of what a run started: each names its folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(out) in line:
                found[int(entry.name)] = line
    return found


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "out"
    yield folder
    assert wait_until(lambda: not left_running(folder), timeout_s=10), left_running(folder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_loop_closes_whatever_the_seed(out: Path, seed: int) -> None:
    with demo(out, "--seed", str(seed)) as process:
        said, progress = process.communicate(timeout=RUN_S)
    assert process.returncode == 0, progress
    assert re.search(r"v1 +promoted +v2", said)
    assert "\x1b" not in said + progress, "colours and cursor moves are for terminals"
    assert {p.name for p in out.iterdir()} >= {"closing.txt", "years.png"}


@pytest.mark.slow
def test_nothing_happens_when_nothing_changes(out: Path) -> None:
    with demo(out, "--shuffle") as process:
        said, progress = process.communicate(timeout=RUN_S)
    assert process.returncode == 0, progress
    assert "retrainings" not in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("when", ["hub start", "agent run", "requests, 0 failed"])
def test_what_was_started_ends_with_the_demonstration(
    out: Path, number: signal.Signals, when: str
) -> None:
    with demo(out) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if when in line:
                break
        assert left_running(out)
        process.send_signal(number)
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == (-9 if number is signal.SIGKILL else 130), rest


@pytest.mark.slow
def test_a_dead_station_fails_the_demonstration(out: Path) -> None:
    with demo(out) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "requests, 0 failed" in line:
                break
        for pid, words in left_running(out / "state" / "station2").items():
            if "agent run" in words:
                os.kill(pid, signal.SIGKILL)
        progress = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "station2 was ended by SIGKILL" in progress


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("the only copy")
    with demo(tmp_path) as process:
        _, progress = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "holds other files; name another folder with --out" in progress
    assert (tmp_path / "thesis.txt").read_text() == "the only copy"
