"""What readings of the machine's memory mean, on recorded ones."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fogline_edge.serving.memory import Machine, ProcessMemory, Reading, Stall, Trigger
from fogline_edge.serving.residency.config import PressureConfig
from fogline_edge.serving.residency.pressure import (
    Ceiling,
    Strain,
    Verdict,
    judge,
    next_ceiling,
)

GIB = 2**30
CONFIG = PressureConfig()
CALM = Reading(
    total_bytes=4 * GIB,
    available_bytes=2 * GIB,
    stall=Stall(some_avg10=0.0, full_avg10=0.0),
)
MEMINFO = """MemTotal:        1000000 kB
MemFree:           20000 kB
MemAvailable:     500000 kB
"""
PSI = """some avg10=12.50 avg60=3.10 avg300=0.80 total=123456
full avg10=1.25 avg60=0.40 avg300=0.10 total=23456
"""


@pytest.mark.parametrize(
    ("changes", "strain", "words"),
    [
        ({}, Strain.NONE, ""),
        ({"stall": None}, Strain.NONE, ""),
        ({"stall": Stall(some_avg10=9.9, full_avg10=4.9)}, Strain.NONE, ""),
        ({"stall": Stall(some_avg10=12.5, full_avg10=1.0)}, Strain.TIGHT, "stood still 12.5 %"),
        ({"stall": Stall(some_avg10=50.0, full_avg10=8.0)}, Strain.CRITICAL, "everything stood"),
        ({"is_triggered": True}, Strain.TIGHT, "the kernel reported"),
        ({"available_bytes": 200 * 2**20}, Strain.TIGHT, "4.9% of the memory of the machine"),
        ({"available_bytes": 100 * 2**20}, Strain.CRITICAL, "of the machine is free"),
        ({"group_used_bytes": 95, "group_limit_bytes": 100}, Strain.TIGHT, "control group"),
        ({"group_used_bytes": 99, "group_limit_bytes": 100}, Strain.CRITICAL, "control group"),
        ({"group_used_bytes": 120, "group_limit_bytes": 100}, Strain.CRITICAL, "control group"),
        ({"total_bytes": 0, "available_bytes": 0}, Strain.NONE, ""),
    ],
)
def test_a_reading_is_judged_by_the_worst_that_it_says(
    changes: dict[str, Any], strain: Strain, words: str
) -> None:
    verdict = judge(replace(CALM, **changes), CONFIG)
    assert verdict.strain is strain
    assert words in verdict.reason


def test_what_models_may_hold_falls_under_strain_and_lifts_when_it_was_calm_for_long() -> None:
    tight = Verdict(strain=Strain.TIGHT)
    calm = Verdict(strain=Strain.NONE)
    first = next_ceiling(tight, 1000, 0.0, None, CONFIG)
    assert first == Ceiling(bytes=750, until_s=30.0)
    second = next_ceiling(tight, 800, 1.0, first, CONFIG)
    assert second == Ceiling(bytes=600, until_s=31.0)
    # Something pinned was loaded meanwhile: it does not rise.
    third = next_ceiling(tight, 2000, 2.0, second, CONFIG)
    assert third == Ceiling(bytes=600, until_s=32.0)
    assert next_ceiling(calm, 600, 20.0, third, CONFIG) == third
    assert next_ceiling(calm, 600, 32.0, third, CONFIG) is None
    worst = next_ceiling(Verdict(strain=Strain.CRITICAL), 600, 5.0, third, CONFIG)
    assert worst == Ceiling(bytes=0, until_s=35.0)
    assert next_ceiling(calm, 600, 0.0, None, CONFIG) is None


def machine(tmp_path: Path, group: str = "0::/fogline.service\n", **files: str) -> Machine:
    """A machine of recorded files: names with `__` for `/`, below /proc or the groups."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    groups.mkdir()
    (proc / "self" / "cgroup").write_text(group)
    (proc / "meminfo").write_text(MEMINFO)
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(proc, groups)


def test_a_machine_without_groups_and_stalls_is_read_by_what_is_available(tmp_path: Path) -> None:
    read = machine(tmp_path)
    assert read.pressure_file is None
    assert read.source == str(tmp_path / "proc" / "meminfo")
    assert read.read() == Reading(total_bytes=1_024_000_000, available_bytes=512_000_000)


def test_stalls_of_the_own_group_come_before_those_of_the_machine(tmp_path: Path) -> None:
    own = "groups__fogline_dot_service__memory_dot_"
    files = {
        "proc__pressure__memory": PSI,
        f"{own}pressure": PSI.replace("12.50", "33.00"),
        f"{own}current": "900\n",
        f"{own}stat": "anon 500\ninactive_file 250\nactive_file 10\n",
        f"{own}high": "max\n",
        f"{own}max": "1000\n",
    }
    read = machine(tmp_path, **files)
    reading = read.read(is_triggered=True)
    assert reading.stall == Stall(some_avg10=33.0, full_avg10=1.25)
    assert (reading.group_used_bytes, reading.group_limit_bytes) == (650, 1000)
    assert reading.is_triggered
    assert "fogline.service/memory.pressure" in read.source
    assert "memory.current" in read.source


def test_the_tightest_of_the_groups_counts(tmp_path: Path) -> None:
    files = {}
    for group, used, limit in (("a", 500, "max"), ("a__b", 400, "1000"), ("a__b__c", 10, "600")):
        files[f"groups__{group}__memory_dot_current"] = f"{used}\n"
        files[f"groups__{group}__memory_dot_stat"] = "inactive_file 0\n"
        files[f"groups__{group}__memory_dot_max"] = f"{limit}\n"
    reading = machine(tmp_path, "0::/a/b/c\n", **files).read()
    assert (reading.group_used_bytes, reading.group_limit_bytes) == (10, 600)


def test_what_is_switched_off_or_damaged_is_not_read(tmp_path: Path) -> None:
    files = {
        "proc__pressure__memory": "",
        "groups__memory_dot_current": "x\n",
        "groups__memory_dot_max": "12\n",
    }
    read = machine(tmp_path, "0::/\n", **files)
    reading = read.read()
    assert (reading.stall, reading.group_limit_bytes) == (None, None)
    trigger = Trigger(tmp_path / "proc" / "nothing", 1000)
    assert not trigger.is_armed
    trigger.close()


def test_a_trigger_waits_for_the_kernel_or_to_be_woken() -> None:
    trigger = Trigger(Machine().pressure_file, 150_000)
    read, write = os.pipe()
    try:
        assert not trigger.wait(0.0, read)
        os.write(write, b"x")
        assert not trigger.wait(30.0, read)
    finally:
        trigger.close()
        os.close(read)
        os.close(write)
    assert not trigger.is_armed
    trigger.close()


def test_this_process_and_machine_can_be_read() -> None:
    process = ProcessMemory()
    assert process.anonymous_bytes() > 2**20
    assert process.roughly() > 2**20
    if process.forget_peak():  # a container may not let it
        before = process.anonymous_bytes()
        taken = bytearray(os.urandom(1)) * (64 * 2**20)
        del taken
        assert 60 * 2**20 < process.peak_bytes() - before < 80 * 2**20
        assert process.forget_peak()
        assert process.peak_bytes() - before < 16 * 2**20
    reading = Machine().read()
    assert 0 < reading.available_bytes <= reading.total_bytes
    assert judge(reading, CONFIG).strain in Strain
