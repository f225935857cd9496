"""SIGKILL at each write boundary of the catalogue: a child dies, its rows are counted."""

import signal
import sys
from pathlib import Path

import pytest

from fogline import failpoints
from fogline.clock import SystemClock
from fogline.sandbox import Ending, Limits, run_child
from fogline_hub import audit
from fogline_hub.catalogue import Catalogue
from fogline_hub.registry import Registry

WRITER = """
import sys
from hashlib import sha256
from pathlib import Path
from fogline.clock import SystemClock
from fogline_hub.catalogue import Catalogue
from fogline_hub.registry import Registry
catalogue, registry = Catalogue.open(Path(sys.argv[1])), Registry(SystemClock())
for n in range(1, 6):
    digest = sha256(b"%d" % n).hexdigest()
    with catalogue.transaction() as connection:
        registry.add_version(
            connection, "rain", digest, actor="operator:a", size_bytes=n, verified=True
        )
        registry.set_alias(connection, "rain", "newest", n, actor="operator:a")
    print("committed", n, flush=True)
"""
POINTS = tuple(p for p in failpoints.POINTS if p.startswith("catalogue."))


def committed_until_killed(path: Path, failpoint: str) -> int:
    outcome = run_child(
        [sys.executable, "-c", WRITER, str(path)],
        limits=Limits(timeout_s=60.0),
        env={"FOGLINE_FAILPOINT": failpoint},
    )
    assert (outcome.ending, outcome.code) == (Ending.SIGNAL, signal.SIGKILL), outcome.last_words()
    return len(outcome.stdout.splitlines())


def test_the_boundaries_are_all_here() -> None:
    assert set(POINTS) == {"catalogue.before_commit", "catalogue.after_commit"}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("passes", [1, 2, 4])
def test_a_kill_leaves_whole_transactions_and_every_acknowledged_one(
    tmp_path: Path, point: str, passes: int
) -> None:
    path = tmp_path / "catalogue.db"
    # The first transaction of a process is the one that makes the tables.
    acknowledged = committed_until_killed(path, f"{point}:{passes}")
    expected = passes - 1 if point == "catalogue.after_commit" else passes - 2
    assert acknowledged == max(passes - 2, 0)
    catalogue, registry = Catalogue.open(path), Registry(SystemClock())
    with catalogue.reading() as connection:
        stored = registry.models(connection)
        rows = audit.list(connection)
    assert [m.versions for m in stored] == ([expected] if expected > 0 else [])
    assert len(rows) == 2 * max(expected, 0)
    if expected > 0:
        assert stored[0].aliases == {"newest": expected}
    catalogue.close()


@pytest.mark.parametrize("point", POINTS)
def test_a_writer_goes_on_after_a_kill_without_a_gap(tmp_path: Path, point: str) -> None:
    path = tmp_path / "catalogue.db"
    committed_until_killed(path, f"{point}:3")
    again = run_child([sys.executable, "-c", WRITER, str(path)], limits=Limits(timeout_s=60.0))
    assert again.is_success, again.last_words()
    catalogue, registry = Catalogue.open(path), Registry(SystemClock())
    with catalogue.reading() as connection:
        assert [v.number for v in registry.versions(connection, "rain")] == [5, 4, 3, 2, 1]
        rows = audit.list(connection)
    assert [r.seq for r in rows] == list(range(1, len(rows) + 1))
    assert sum(r.action == "version.pushed" for r in rows) == 5
    catalogue.close()
