"""The processors that a process may keep busy, from files as kernels and containers show them."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fogline.clock import ManualClock, wait_until
from fogline_edge.serving.control_groups import own_groups
from fogline_edge.serving.processors import (
    CGROUPS,
    PROC,
    Processors,
    affinity,
    parse_cpu_max,
    quota,
)


class Machine:
    """A `/proc` and a `/sys/fs/cgroup` in a folder."""

    def __init__(self, folder: Path, groups: str) -> None:
        self.proc, self.cgroups = folder / "proc", folder / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self" / "cgroup").write_text(groups)
        self.clock = ManualClock()
        self.cores = 8

    def group(self, path: str, **files: str) -> Path:
        """A group with the files that every group has, and these."""
        group = self.cgroups / path
        group.mkdir(parents=True, exist_ok=True)
        for name, text in {"cgroup.procs": "1\n", **files}.items():
            (group / name.replace("__", ".")).write_text(text)
        return group

    def processors(self) -> Processors:
        return Processors(
            self.clock, 5.0, proc=self.proc, cgroups=self.cgroups, cores=lambda: self.cores
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", None),
        ("200000 100000\n", 2.0),
        ("5000 10000\n", 0.5),
        ("-1\n 100000\n", None),
        ("", None),
        ("max", None),
        ("odd 100000", None),
        ("100000 0", None),
    ],
)
def test_a_quota_is_time_over_its_period(text: str, expected: float | None) -> None:
    assert parse_cpu_max(text) == expected


def test_the_tightest_of_the_own_group_and_those_above_it_counts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/edge.slice/fogline.service\n")
    machine.group("")  # the root has no quota
    machine.group("edge.slice", cpu__max="250000 100000\n")
    own = machine.group("edge.slice/fogline.service", cpu__max="max 100000\n")
    assert machine.processors().count() == 3  # two and a half
    (own / "cpu.max").write_text("50000 100000\n")
    assert machine.processors().count() == 1
    (own / "cpu.max").write_text("max 100000\n")
    (own.parent / "cpu.max").write_text("900000 100000\n")
    assert machine.processors().count() == 8  # no more than there are


def test_a_containers_group_is_mounted_at_the_root(tmp_path: Path) -> None:
    for number, path in enumerate(("/", "/system.slice/docker-1f.scope", "/../../other")):
        machine = Machine(tmp_path / str(number), f"0::{path}\n")
        machine.group("", cpu__max="150000 100000\n")
        assert machine.processors().count() == 2


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_the_first_version_has_two_files(tmp_path: Path, mount: str) -> None:
    lines = "4:memory:/docker/1f\n2:cpu,cpuacct:/docker/1f\n1:name=systemd:/docker/1f\n0::/\n"
    machine = Machine(tmp_path, lines)
    files = {"cpu__cfs_quota_us": "-1\n", "cpu__cfs_period_us": "100000\n"}
    machine.group(mount, **files)
    own = machine.group(f"{mount}/docker/1f", **files)
    assert machine.processors().count() == 8
    (own / "cpu.cfs_quota_us").write_text("120000\n")
    assert machine.processors().count() == 2


def test_without_control_groups_the_affinity_is_all(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "")
    assert machine.processors().count() == 8
    (machine.proc / "self" / "cgroup").unlink()
    assert machine.processors().count() == 8


def test_changes_are_taken_up_at_the_next_reading(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/\n")
    group = machine.group("", cpu__max="400000 100000\n")
    processors = machine.processors()
    assert processors.count() == 4
    (group / "cpu.max").write_text("100000 100000\n")
    machine.clock.advance(4.9)
    assert processors.count() == 4
    machine.clock.advance(0.2)
    assert processors.count() == 1
    (group / "cpu.max").write_text("max 100000\n")
    machine.cores = 2
    machine.clock.advance(5)
    assert processors.count() == 2


def test_this_machine_tells() -> None:
    assert 1 <= Processors(ManualClock(), 5.0).count() <= affinity()


@pytest.mark.skipif(not (CGROUPS / "cgroup.procs").exists() and not (CGROUPS / "cpu").exists(),
                    reason="no control groups are mounted")  # fmt: skip
def test_this_machines_own_groups_are_found() -> None:
    groups = own_groups(PROC, CGROUPS, "cpu", "cgroup.procs")
    assert groups
    assert all(group.is_relative_to(CGROUPS) and group.is_dir() for group in groups)
    assert all(found is None or found > 0 for found in map(quota, groups))


CHILD = """
import sys
from pathlib import Path
from fogline.clock import SystemClock
from fogline_edge.serving.processors import Processors

Path(sys.argv[1], "cgroup.procs").write_text("0")
processors = Processors(SystemClock(), 1e-9)
for _ in range(2):
    print(processors.count(), flush=True)
    sys.stdin.readline()
"""


def made_group() -> Path | None:
    """A control group of its own with a quota of one processor; None where that is not allowed."""
    for root, file in ((CGROUPS, "cpu.max"), (CGROUPS / "cpu", "cpu.cfs_quota_us")):
        if not (root / "cgroup.procs").exists():
            continue
        group = root / f"fogline-test-{uuid.uuid4().hex}"
        try:
            group.mkdir()
        except OSError:
            continue
        with suppress(OSError):
            if (group / file).exists():
                (group / file).write_text("100000")
                return group
        group.rmdir()
    return None


@pytest.fixture
def real_group() -> Iterator[Path]:
    group = made_group()
    if group is None:
        pytest.skip("control groups of this machine may not be made")
    yield group
    assert wait_until(lambda: not (group / "cgroup.procs").read_text(), timeout_s=10)
    group.rmdir()


@pytest.mark.skipif(affinity() < 2, reason="one processor is all there is")
def test_the_kernels_own_quota_is_followed(real_group: Path) -> None:
    command = (sys.executable, "-c", CHILD, str(real_group))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "1\n"
            is_second = (real_group / "cpu.max").exists()
            file = real_group / ("cpu.max" if is_second else "cpu.cfs_quota_us")
            file.write_text("max" if is_second else "-1")
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == f"{affinity()}\n"
        finally:
            child.stdin.close()
