"""SIGKILL while capture runs: what was told is kept once, what was only counted is reported."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.capturing import Device, feedback

CHILD = """
import os, signal, sys
from pathlib import Path
import numpy as np
from tests.capturing import Device, feedback
device = Device(Path(sys.argv[1]))
for n in range(6):
    prediction_id = device.serve(np.full((10, 3), n, np.float32))
    print("served", prediction_id, flush=True)
    device.capture.feedback(feedback(prediction_id, [1]))
    print("told", prediction_id, flush=True)
    if n == 2:
        device.capture.flush()
        print("flushed", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def run_until_killed(folder: Path, failpoint: str = "") -> list[list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)],
        env={**os.environ, "FOGLINE_FAILPOINT": failpoint},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "failpoint",
    [
        "",
        *(f"outbox.append.{p}:{n}" for p in ("before_commit", "after_commit") for n in range(2, 8)),
    ],
)
def test_a_kill_keeps_each_told_outcome_once_and_reports_rows_not_summarised(
    tmp_path: Path, failpoint: str
) -> None:
    folder = tmp_path / "d"
    lines = run_until_killed(folder, failpoint)
    served = 10 * sum(line[0] == "served" for line in lines)
    told = [line[1] for line in lines if line[0] == "told"]
    device = Device(folder)
    summarised = sum(s.rows for s in device.summaries())
    reported = sum(
        int(details["rows_not_summarised"])
        for kind, details in device.events()
        if kind == "unclean_stop"
    )
    assert summarised + reported == served
    stored = [item.prediction_id for item in device.feedback_items()]
    assert len(stored) == len(set(stored))
    assert set(told) <= set(stored)
    assert len(stored) - len(told) <= 1
    for prediction_id in stored:
        assert device.capture.feedback(feedback(prediction_id, [2])) == (0, 1)
    device.stop()
    after = Device(folder)
    assert sum(kind == "unclean_stop" for kind, _ in after.events()) == (1 if reported else 0)
    after.stop()
