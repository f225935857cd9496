"""SIGKILL at each write boundary of the outbox: a child dies, its file is counted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fogline import failpoints
from fogline_edge.outbox import Outbox

WRITER = """
import sys
from pathlib import Path
from fogline.wire import fleet_pb2
from fogline_edge.outbox import Outbox
outbox = Outbox.open(Path(sys.argv[1]))
for n in range(1, 6):
    given = outbox.append([("sample", b"%d" % n), ("summary", b"%d" % n)])
    print("appended", *given, flush=True)
    outbox.acknowledge(fleet_pb2.Ack(outbox_id=outbox.outbox_id, stream="sample", contiguous_to=n))
    print("acknowledged", n, flush=True)
"""


def run_until_killed(path: Path, failpoint: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(path)],
        env={**os.environ, "FOGLINE_FAILPOINT": failpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("failpoint", "committed", "acknowledged"),
    [
        ("outbox.append.before_commit:3", 2, 2),
        ("outbox.append.after_commit:3", 3, 2),
        ("outbox.ack.before_commit:3", 3, 2),
        ("outbox.ack.after_commit:3", 3, 3),
    ],
)
def test_a_kill_at_a_boundary_loses_and_doubles_nothing(
    tmp_path: Path, failpoint: str, committed: int, acknowledged: int
) -> None:
    path = tmp_path / "outbox.db"
    said = run_until_killed(path, failpoint)
    promised = sum(line.startswith("appended") for line in said)
    outbox = Outbox.open(path)
    counts = outbox.counts()
    assert counts["sample"].appended == counts["summary"].appended == committed >= promised
    assert counts["sample"].acknowledged == acknowledged
    assert [r.body for r in outbox.pending("summary")] == [
        b"%d" % n for n in range(1, committed + 1)
    ]
    assert [r.seq for r in outbox.pending("sample")] == list(range(acknowledged + 1, committed + 1))
    assert outbox.append([("sample", b"next"), ("summary", b"next")]) == [committed + 1] * 2
    outbox.close()


def test_every_boundary_of_the_outbox_is_covered() -> None:
    assert {p for p in failpoints.POINTS if p.startswith("outbox.")} == {
        "outbox.append.before_commit",
        "outbox.append.after_commit",
        "outbox.ack.before_commit",
        "outbox.ack.after_commit",
    }
