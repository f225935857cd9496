"""Pickles that attack through the real `convert`.

Each attack fails, the caller lives and is told clearly, and no bundle is written.
"""

import json
import os
import pickle
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fogline.errors import (
    Corrupt,
    DeadlineExceeded,
    Exhausted,
    FoglineError,
    InvalidInput,
    Unsupported,
)
from fogline.sandbox import Limits, Mechanism
from fogline_hub.convert import Conversion, ConversionLimits, convert
from tests.hostile_code import ATTACKS, Attack, Targets, all_attacks, hostile_pickle
from tests.rooms import ROOMS, needs_isolation
from tests.trained import bundled, fitted_rain_model, rainfall, save_matrix, save_model, save_table

pytestmark = needs_isolation

MIB = 2**20
TIGHT = Limits(
    memory_bytes=700 * MIB,
    timeout_s=30.0,
    cpu_s=20,
    file_bytes=16 * MIB,
    threads=200,
    disk_bytes=64 * MIB,
    network=False,
)


def _conversion(
    folder: Path, source: Path, limits: ConversionLimits | None = None, sample: Path | None = None
) -> Conversion:
    features, target = bundled("cancer")
    return Conversion(
        source=source,
        sample=sample or save_matrix(folder / "sample.parquet", features, target),
        out=folder / "out",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        limits=limits or ConversionLimits(child=TIGHT),
    )


def _attacked(folder: Path, code: str, limits: Limits = TIGHT) -> FoglineError:
    source = hostile_pickle(folder / "model.pkl", code)
    before = set(Path("/proc").glob("[0-9]*"))
    with pytest.raises(FoglineError) as caught:
        convert(_conversion(folder, source, ConversionLimits(child=limits)))
    assert not (folder / "out").exists()
    assert not [p for p in set(Path("/proc").glob("[0-9]*")) - before if _is_convert_child(p)]
    assert not list(folder.glob("fogline-convert-*"))
    return caught.value


def _is_convert_child(process: Path) -> bool:
    try:
        parent = re.search(r"PPid:\t(\d+)", (process / "status").read_text())
        words = (process / "cmdline").read_bytes()
    except OSError:
        return False
    is_own = parent is not None and int(parent[1]) == os.getpid()
    return is_own and b"fogline_hub.convert.child" in words


@pytest.fixture(autouse=True)
def _scratch_beside_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scratch folders are made where the test sees what is left of them."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture(name="targets")
def _targets(tmp_path: Path) -> Iterator[Targets]:
    outside = tmp_path / "outside"
    outside.mkdir()
    secret = outside / "secret"
    secret.write_text("what was secret")
    features, target = bundled("cancer")
    abstract = f"\0fogline-test-{os.getpid()}"
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for address in (str(outside / "socket"), abstract):
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.bind(address)
            one.listen()
        yield Targets(
            secret=secret,
            sample=save_matrix(tmp_path / "sample.parquet", features, target),
            outside=outside,
            port=tcp.getsockname()[1],
            socket=outside / "socket",
            abstract=abstract,
            parent=os.getpid(),
            home=Path.home(),
        )


@pytest.mark.parametrize("without", ROOMS)
def test_every_attack_of_a_pickle_fails_and_its_targets_are_as_before(
    tmp_path: Path, targets: Targets, without: frozenset[Mechanism]
) -> None:
    source = hostile_pickle(tmp_path / "model.pkl", all_attacks(targets))
    before = targets.sample.read_bytes()
    status = targets.sample.stat()
    limits = ConversionLimits(child=TIGHT, without=without)
    with pytest.raises(Corrupt) as caught:
        convert(_conversion(tmp_path, source, limits, targets.sample))
    text = str(caught.value)
    assert "ValueError: {" in text, text
    worked = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert worked == {}
    assert len(ATTACKS) > 50
    assert targets.secret.read_text() == "what was secret"
    assert targets.sample.read_bytes() == before
    after = targets.sample.stat()
    assert (after.st_mode, after.st_mtime_ns) == (status.st_mode, status.st_mtime_ns)
    assert sorted(p.name for p in targets.outside.iterdir()) == ["secret", "socket"]
    assert os.getpriority(os.PRIO_PROCESS, 0) != 19
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pkl", "outside", "sample.parquet"]


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
    limits = Limits(memory_bytes=2**30, timeout_s=30.0, cpu_s=4, network=False)
    error = _attacked(tmp_path, "while True: pass", limits)
    assert isinstance(error, Exhausted)
    assert "processor time" in str(error)


def test_a_pickle_that_sleeps_for_ever_is_ended_by_the_clock(tmp_path: Path) -> None:
    limits = Limits(timeout_s=4.0, network=False)
    error = _attacked(tmp_path, "import time; time.sleep(10**6)", limits)
    assert isinstance(error, DeadlineExceeded)


def test_a_pickle_that_fills_memory_is_ended_and_the_caller_lives(tmp_path: Path) -> None:
    error = _attacked(tmp_path, "x = []\nwhile True: x.append(bytearray(2**24))")
    assert isinstance(error, Exhausted)
    assert "memory" in str(error)


def test_a_fork_bomb_makes_no_process_at_all(tmp_path: Path) -> None:
    code = (
        "import os\nmade = 0\nfor _ in range(1000):\n"
        "    try: made += os.fork() > 0\n    except OSError: pass\n"
        "raise ValueError(f'{made} processes')"
    )
    assert "ValueError: 0 processes" in str(_attacked(tmp_path, code))


def test_a_bomb_of_threads_is_ended(tmp_path: Path) -> None:
    code = (
        "import threading\nwhile True:\n"
        "    threading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    error = _attacked(tmp_path, code)
    assert isinstance(error, Exhausted)
    assert "threads" in str(error)


FILLS = {
    "one long file": "f = open('a', 'wb')\nwhile True: f.write(b'x' * 2**20)",
    "many long files": (
        "for n in range(10**6):\n    with open(f'{n}', 'wb') as f: f.write(b'x' * 2**23)"
    ),
    "many small files": "for n in range(10**6): open(f'{n}', 'wb').close()",
    "reserved space": (
        "import os\nfor n in range(10**6): os.posix_fallocate(os.open(f'{n}', os.O_CREAT | "
        "os.O_WRONLY), 0, 2**23)"
    ),
    "folders in folders": "import os\nwhile True: os.mkdir('d' * 200); os.chdir('d' * 200)",
}


@pytest.mark.parametrize("how", FILLS)
def test_a_pickle_that_fills_the_disk_is_ended_and_nothing_of_it_stays(
    tmp_path: Path, how: str
) -> None:
    error = _attacked(tmp_path, FILLS[how])
    if how == "one long file":
        assert "File too large" in str(error)
    else:
        assert isinstance(error, Exhausted)
        assert "filled the disk" in str(error)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pkl", "sample.parquet"]


FORGERIES = {
    "a record of another form": "open('result.json', 'w').write('{\"schema\": 1}')",
    "a long file": "open('result.json', 'w').truncate(2**24 - 1)",
    "an error that is none": "open('failure.json', 'w').write('[1]')",
    "a folder": "os.mkdir('result.json')",
    "a file by two names": "open('x', 'w').close(); os.link('x', 'failure.json')",
}


@pytest.mark.parametrize("what", FORGERIES)
def test_what_a_pickle_forges_is_held_against_the_record(tmp_path: Path, what: str) -> None:
    error = _attacked(tmp_path, f"import os\n{FORGERIES[what]}\nos._exit(0)")
    assert isinstance(error, Corrupt)


def test_an_error_that_a_pickle_forges_is_an_error_and_nothing_more(tmp_path: Path) -> None:
    code = (
        'import os; open("failure.json", "w").write(\'{"kind": "SystemExit", "text": "all well"}\')'
        "; os._exit(0)"
    )
    error = _attacked(tmp_path, code)
    assert type(error) is InvalidInput


def test_what_a_pickle_prints_does_not_reach_the_caller_s_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _attacked(tmp_path, "print('x' * 10**7)")
    assert "xxx" not in "".join(capfd.readouterr())


def test_secrets_in_the_environment_do_not_reach_a_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOGLINE_TOKEN", "very secret")
    code = (
        "import os; raise ValueError('very secret' in repr(dict(os.environ)), "
        "os.environ['HOME'] == os.getcwd() == os.environ['TMPDIR'])"
    )
    assert "cannot be loaded: ValueError: (False, True)" in str(_attacked(tmp_path, code))


@pytest.mark.parametrize("missing", [Mechanism.SECCOMP, Mechanism.LANDLOCK])
def test_without_a_mechanism_that_isolates_code_is_not_loaded_and_the_error_says_what_to_do(
    tmp_path: Path, missing: Mechanism
) -> None:
    marker = tmp_path / "outside"
    source = hostile_pickle(tmp_path / "model.pkl", f"open({str(marker)!r}, 'w')")
    without = frozenset({missing, Mechanism.BUBBLEWRAP})
    limits = ConversionLimits(child=TIGHT, without=without)
    with pytest.raises(Unsupported, match=r"isolate its .*files.*bubblewrap.*Landlock"):
        convert(_conversion(tmp_path, source, limits))
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


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
    assert {"network", "files", "processes", "memory", "time", "cpu", "disk"} <= {
        *result.parity.isolation
    }
    assert "seccomp" in result.parity.isolation
    assert {"landlock", "bubblewrap"} & {*result.parity.isolation}


def test_a_pickle_cut_short_is_corrupt(tmp_path: Path) -> None:
    days = rainfall()[:400]
    whole = save_model(tmp_path / "whole.pkl", fitted_rain_model(days)).read_bytes()
    source = tmp_path / "cut.pkl"
    source.write_bytes(whole[: len(whole) // 2])
    sample = save_table(tmp_path / "s.parquet", days)
    with pytest.raises(Corrupt, match="cannot be loaded"):
        convert(_conversion(tmp_path, source, sample=sample))


def test_a_pickle_of_another_scikit_learn_is_refused_with_both_versions(tmp_path: Path) -> None:
    days = rainfall()[:400]
    state = pickle.dumps(fitted_rain_model(days))
    installed = sys.modules["sklearn"].__version__.encode()
    other = b"0" + installed[1:]
    assert installed in state
    source = tmp_path / "old.pkl"
    source.write_bytes(state.replace(installed, other))
    sample = save_table(tmp_path / "s.parquet", days)
    with pytest.raises(Unsupported, match=f"install scikit-learn=={other.decode()}"):
        convert(_conversion(tmp_path, source, sample=sample))


def test_numpy_is_not_asked_to_unpickle_a_sample(tmp_path: Path) -> None:
    days = rainfall()[:400]
    np.savez(tmp_path / "s.npz", temperature=np.array([Attack("pass")], dtype=object))
    source = save_model(tmp_path / "m.pkl", fitted_rain_model(days))
    with pytest.raises(Corrupt, match="without pickles"):
        convert(_conversion(tmp_path, source, sample=tmp_path / "s.npz"))
