"""Pickles that attack: the caller lives, gets a clear error, and no bundle is written.

What holds here without a tool that isolates the file system: no network, bounded memory, time and
output, nothing left running. What does not: a pickle can read and write what its user can.
"""

import pickle
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fogline.clock import wait_until
from fogline.errors import (
    Corrupt,
    DeadlineExceeded,
    Exhausted,
    FoglineError,
    InvalidInput,
    Unsupported,
)
from fogline.sandbox import Limits
from fogline_hub.convert import Conversion, ConversionLimits, convert
from tests.trained import bundled, fitted_rain_model, rainfall, save_matrix, save_model, save_table

TIGHT = ConversionLimits(
    child=Limits(memory_bytes=600 * 2**20, timeout_s=20.0, cpu_s=4, file_bytes=2**24, network=False)
)


class _Attack:
    """Runs Python code when it is unpickled."""

    def __init__(self, code: str) -> None:
        self._code = code

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (self._code,)


def _attacked(folder: Path, code: str, limits: ConversionLimits = TIGHT) -> FoglineError:
    source = folder / "model.pkl"
    source.write_bytes(pickle.dumps(_Attack(code)))
    features, target = bundled("cancer")
    sample = save_matrix(folder / "sample.parquet", features, target)
    with pytest.raises(FoglineError) as caught:
        convert(
            Conversion(
                source=source,
                sample=sample,
                out=folder / "out",
                created_at=datetime(2026, 1, 1, tzinfo=UTC),
                limits=limits,
            )
        )
    assert not (folder / "out").exists()
    return caught.value


def test_a_pickle_that_holds_no_estimator_is_refused_by_what_it_holds(tmp_path: Path) -> None:
    error = _attacked(tmp_path, "pass")
    assert isinstance(error, Unsupported)
    assert "holds a NoneType" in str(error)


def test_a_pickle_that_ends_the_process_is_told_as_such(tmp_path: Path) -> None:
    error = _attacked(tmp_path, "import os; os._exit(0)")
    assert isinstance(error, InvalidInput)
    assert "exited with status 0" in str(error)
    assert "without an answer" in str(error)


def test_a_pickle_that_crashes_the_interpreter_is_told_by_its_signal(tmp_path: Path) -> None:
    error = _attacked(tmp_path, "import ctypes; ctypes.string_at(0)")
    assert "SIGSEGV" in str(error)


def test_a_pickle_that_loops_for_ever_is_ended_by_its_processor_time(tmp_path: Path) -> None:
    limits = ConversionLimits(
        child=Limits(memory_bytes=2**30, timeout_s=30.0, cpu_s=3, network=False)
    )
    error = _attacked(tmp_path, "while True: pass", limits)
    assert isinstance(error, Exhausted)
    assert "processor time" in str(error)


def test_a_pickle_that_sleeps_for_ever_is_ended_by_the_clock(tmp_path: Path) -> None:
    limits = ConversionLimits(child=Limits(timeout_s=4.0, network=False))
    error = _attacked(tmp_path, "import time; time.sleep(10**6)", limits)
    assert isinstance(error, DeadlineExceeded)


def test_a_pickle_that_fills_memory_is_ended_and_the_caller_lives(tmp_path: Path) -> None:
    error = _attacked(tmp_path, "x = []\nwhile True: x.append(bytearray(2**24))")
    assert isinstance(error, Exhausted)
    assert "memory" in str(error)


def test_a_pickle_reaches_no_listener_of_this_machine(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        listener.settimeout(0.2)
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2).send(b'x')"
        error = _attacked(tmp_path, code)
        if not _can_leave_network():
            pytest.skip("this machine grants no network namespaces")
        assert "cannot be loaded" in str(error)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_what_a_pickle_starts_is_gone_after_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, pathlib; p = subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(600)']); "
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(p.pid))"
    )
    _attacked(tmp_path, code)
    pid = int((tmp_path / "pid").read_text())
    assert wait_until(lambda: not _is_running(pid), timeout_s=10)


def test_links_that_a_pickle_leaves_in_place_of_results_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"kind": "InvalidInput", "text": "what was secret"}')
    code = (
        f"import os; os.symlink({str(secret)!r}, 'failure.json'); os.symlink({str(secret)!r}, "
        "'result.json'); os._exit(0)"
    )
    error = _attacked(tmp_path, code)
    assert isinstance(error, Corrupt)
    assert "secret" not in str(error).replace(str(tmp_path), "")


def test_a_result_that_a_pickle_forges_is_held_against_the_record(tmp_path: Path) -> None:
    code = "open('result.json', 'w').write('{\"schema\": 1}'); import os; os._exit(0)"
    error = _attacked(tmp_path, code)
    assert isinstance(error, Corrupt)


def test_what_a_pickle_prints_does_not_reach_the_caller_s_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _attacked(tmp_path, "print('x' * 10**7)")
    assert "xxx" not in "".join(capfd.readouterr())


def test_secrets_in_the_environment_do_not_reach_a_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOGLINE_TOKEN", "very secret")
    error = _attacked(tmp_path, "import os; raise ValueError(os.environ.get('FOGLINE_TOKEN'))")
    assert "cannot be loaded: ValueError: None" in str(error)


def test_a_pickle_cut_short_is_corrupt(tmp_path: Path) -> None:
    days = rainfall()[:400]
    whole = save_model(tmp_path / "whole.pkl", fitted_rain_model(days)).read_bytes()
    source = tmp_path / "cut.pkl"
    source.write_bytes(whole[: len(whole) // 2])
    sample = save_table(tmp_path / "s.parquet", days)
    with pytest.raises(Corrupt, match="cannot be loaded"):
        convert(
            Conversion(
                source=source,
                sample=sample,
                target="rain",
                out=tmp_path / "out",
                created_at=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )


def test_a_pickle_of_another_scikit_learn_is_refused_with_both_versions(tmp_path: Path) -> None:
    days = rainfall()[:400]
    model = fitted_rain_model(days)
    state = pickle.dumps(model)
    installed = sys.modules["sklearn"].__version__.encode()
    other = b"0" + installed[1:]
    assert installed in state
    source = tmp_path / "old.pkl"
    source.write_bytes(state.replace(installed, other))
    sample = save_table(tmp_path / "s.parquet", days)
    with pytest.raises(Unsupported, match=f"install scikit-learn=={other.decode()}"):
        convert(
            Conversion(
                source=source,
                sample=sample,
                target="rain",
                out=tmp_path / "out",
                created_at=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )


def test_the_report_says_what_isolation_held(tmp_path: Path) -> None:
    days = rainfall()[:400]
    result = convert(
        Conversion(
            source=save_model(tmp_path / "m.pkl", fitted_rain_model(days)),
            sample=save_table(tmp_path / "s.parquet", days),
            target="rain",
            out=tmp_path / "out",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
    )
    assert result.parity.isolation == (("network",) if _can_leave_network() else ())


def _is_running(pid: int) -> bool:
    """False also for one that has ended and that nobody has asked about yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _can_leave_network() -> bool:
    done = subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True)
    return done.returncode == 0


def test_numpy_is_not_asked_to_unpickle_a_sample(tmp_path: Path) -> None:
    days = rainfall()[:400]
    np.savez(tmp_path / "s.npz", temperature=np.array([_Attack("pass")], dtype=object))
    with pytest.raises(Corrupt, match="without pickles"):
        convert(
            Conversion(
                source=save_model(tmp_path / "m.pkl", fitted_rain_model(days)),
                sample=tmp_path / "s.npz",
                out=tmp_path / "out",
                created_at=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )
