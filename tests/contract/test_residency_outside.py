"""What versions that left give back, as seen from outside the process that held them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.residency import anonymous_bytes, save_dense
from fogline.clock import wait_until
from fogline_edge.serving.memory import PROC, Machine, Trigger
from fogline_edge.serving.residency.config import PressureConfig
from fogline_edge.serving.residency.pressure import Strain, judge

MIB = 2**20
SIZE_MIB = 24
NOISE_MIB = 4
"""What the process itself may have more of than at its start: threads, caches, fragments."""
CALM = """some avg10=0.00 avg60=0.00 avg300=0.00 total=0
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""
STALLED = CALM.replace("full avg10=0.00", "full avg10=40.00")


class Child:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.do("loaded")
        self.base = anonymous_bytes(process.pid)

    def do(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    @property
    def mib(self) -> float:
        """Anonymous memory above that of the start."""
        return (anonymous_bytes(self._process.pid) - self.base) / MIB

    def use(self, name: str) -> None:
        assert self.do(f"load {name}") == "done"
        assert self.do(f"run {name}") == "done"


@contextmanager
def child_of(folder: Path, *proc: Path) -> Iterator[Child]:
    command = [sys.executable, "-m", "tests.residency_child", str(folder), *map(str, proc)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Child(process)
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("models")
    for seed, name in enumerate("ab"):
        save_dense(home / f"{name}.onnx", name, SIZE_MIB, seed=seed)
    return home


def test_memory_comes_back_when_one_makes_room_for_another_though_what_ran_is_kept(
    folder: Path,
) -> None:
    with child_of(folder) as child:
        for name in "abab":
            assert child.do(f"load {name}") == "done"
            assert child.do("loaded") == name
            assert SIZE_MIB - 1 < child.mib < SIZE_MIB + NOISE_MIB
            assert child.do(f"run {name}") == "done"


def test_memory_comes_back_when_a_model_is_unloaded_though_what_ran_is_kept(folder: Path) -> None:
    with child_of(folder) as child:
        for _ in range(3):
            child.use("a")
            assert child.mib > SIZE_MIB - 1
            assert child.do("unload a") == "done"
            assert child.mib < NOISE_MIB
            assert child.do("load b") == "done"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A `/proc` of a calm machine without control groups."""
    (tmp_path / "pressure").mkdir()
    (tmp_path / "meminfo").write_text("MemTotal: 4000000 kB\nMemAvailable: 3000000 kB\n")
    (tmp_path / "pressure" / "memory").write_text(CALM)
    return tmp_path


def test_memory_comes_back_when_the_machine_stands_still_for_want_of_it(
    folder: Path, proc: Path
) -> None:
    with child_of(folder, proc) as child:
        child.use("a")
        assert child.mib > SIZE_MIB - 1
        put(proc / "pressure" / "memory", STALLED)
        assert wait_until(lambda: child.mib < NOISE_MIB, timeout_s=10)
        assert child.do("loaded") == ""
        put(proc / "pressure" / "memory", CALM)
        child.use("a")  # a request is answered all the same


def put(path: Path, text: str) -> None:
    """As a whole: whoever reads finds the one or the other."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


@pytest.mark.skipif(not (PROC / "pressure" / "memory").exists(), reason="a kernel without PSI")
def test_stalls_of_this_machine_are_read() -> None:
    machine = Machine()
    assert machine.pressure_file is not None
    assert "pressure" in machine.source
    stall = machine.read().stall
    assert stall is not None
    assert 0 <= stall.full_avg10 <= stall.some_avg10 + 0.01 <= 100.01
    assert judge(machine.read(), PressureConfig()).strain in Strain
    # Where the kernel lets this process ask to be called, it is asked; else readings decide.
    trigger = Trigger(machine.pressure_file, PressureConfig().stall_us)
    assert trigger.is_armed or not can_write(machine.pressure_file)
    trigger.close()


def can_write(path: Path) -> bool:
    try:
        with path.open("r+b", buffering=0):
            return True
    except OSError:
        return False
