"""Real children: how they end, what is told of it, and that nothing of them stays."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fogline.clock import wait_until
from fogline.errors import DeadlineExceeded, NotFound, Unavailable
from fogline.sandbox import Ending, Limits, Outcome, clean_environment, run_child, start_child

MIB = 2**20


def python(code: str, *, limits: Limits | None = None, stdin: bytes = b"") -> Outcome:
    return run_child(
        [sys.executable, "-c", code], limits=limits or Limits(timeout_s=20), stdin=stdin
    )


def is_alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text[text.rindex(")") + 2] not in "ZX"


def read_pid(path: Path) -> int:
    """What a child wrote of itself, once it is there."""
    assert wait_until(lambda: path.exists() and path.read_text().endswith("\n"), timeout_s=20)
    return int(path.read_text())


def test_exit_status_output_and_input_come_back() -> None:
    code = (
        "import sys; d = sys.stdin.buffer.read(); print(len(d)); print('no', file=sys.stderr);"
        " sys.exit(3)"
    )
    outcome = python(code, stdin=b"x" * 300_000)
    assert (outcome.ending, outcome.code) == (Ending.EXITED, 3)
    assert not outcome.is_success
    assert outcome.stdout == b"300000\n"
    assert outcome.stderr == b"no\n"


def test_a_child_that_does_not_read_its_input_still_ends() -> None:
    assert python("pass", stdin=b"x" * 5_000_000).is_success


def test_a_real_segmentation_fault_is_named() -> None:
    outcome = python("import ctypes; ctypes.string_at(0)")
    assert (outcome.ending, outcome.code) == (Ending.SIGNAL, signal.SIGSEGV)
    assert "SIGSEGV" in outcome.describe()


def test_a_child_that_hangs_is_stopped_in_time() -> None:
    outcome = python("import signal; signal.pause()", limits=Limits(timeout_s=0.5))
    assert outcome.ending is Ending.TIMEOUT
    assert 0.5 <= outcome.duration_s < 3


def test_processor_time_is_bounded() -> None:
    outcome = python("while True: pass", limits=Limits(cpu_s=1, timeout_s=30))
    assert outcome.ending is Ending.CPU


def test_a_child_that_takes_too_much_memory_is_stopped_soon_after() -> None:
    code = "b = []\nwhile True: b.append(bytearray(8_000_000))"
    outcome = python(code, limits=Limits(memory_bytes=200 * MIB, timeout_s=30))
    assert outcome.ending is Ending.MEMORY
    assert 200 * MIB < outcome.peak_rss_bytes < 1500 * MIB
    assert outcome.duration_s < 15


def test_memory_of_grandchildren_counts_even_when_orphaned_into_their_own_session() -> None:
    code = (
        "import os, signal, subprocess, sys\n"
        "hog = 'import signal; b = bytearray(300_000_000); signal.pause()'\n"
        "if os.fork() == 0:\n"
        "    os.setsid(); subprocess.Popen([sys.executable, '-c', hog]); os._exit(0)\n"
        "signal.pause()"
    )
    outcome = python(code, limits=Limits(memory_bytes=200 * MIB, timeout_s=20))
    assert outcome.ending is Ending.MEMORY


def test_a_short_peak_between_two_looks_is_seen() -> None:
    code = "import signal; b = bytearray(300_000_000); del b; signal.pause()"
    limits = Limits(memory_bytes=200 * MIB, timeout_s=20, poll_s=2)
    assert python(code, limits=limits).ending is Ending.MEMORY


def test_output_is_bounded_from_both_ends() -> None:
    code = (
        "import sys; sys.stdout.write('a' * 100_000); sys.stderr.write('b' * 99_999 + 'c');"
        "sys.stdout.flush()"
    )
    outcome = python(code, limits=Limits(stdout_bytes=1000, stderr_bytes=500, timeout_s=20))
    assert outcome.stdout == b"a" * 1000
    assert outcome.stdout_dropped_bytes == 99_000
    assert outcome.stderr == b"b" * 499 + b"c"


def test_files_are_bounded_and_no_core_is_written() -> None:
    code = (
        "import resource, json; print(json.dumps([resource.getrlimit(r)[0] for r in "
        "(resource.RLIMIT_CORE, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)]))"
    )
    outcome = python(code, limits=Limits(open_files=100, file_bytes=12_345, timeout_s=20))
    assert json.loads(outcome.stdout) == [0, 100, 12_345]


def test_the_kernel_is_told_to_kill_the_child_first() -> None:
    code = "print(open('/proc/self/oom_score_adj').read())"
    assert python(code, limits=Limits(oom_score_adj=900, timeout_s=20)).stdout.strip() == b"900"


def test_the_environment_is_an_allow_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGLINE_TOKEN", "hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    outcome = run_child(
        [sys.executable, "-c", code], limits=Limits(timeout_s=20), env={"OWN": "yes"}
    )
    seen = json.loads(outcome.stdout)
    assert "hush" not in seen.values()
    assert seen["OMP_NUM_THREADS"] == seen["OPENBLAS_NUM_THREADS"] == "1"
    assert seen["OWN"] == "yes"
    assert seen["PATH"] == os.environ["PATH"]


def test_clean_environment_reads_what_it_is_given() -> None:
    base = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "PYTHONSTARTUP": "x"}
    assert clean_environment({"A": "1"}, base=base) == {"PATH": "/bin", "LC_ALL": "C", "A": "1"}


def test_signals_that_python_ignores_are_not_ignored_in_the_child() -> None:
    outcome = run_child(["sh", "-c", "kill -PIPE $$; echo lived"], limits=Limits(timeout_s=20))
    assert (outcome.ending, outcome.code) == (Ending.SIGNAL, signal.SIGPIPE)


def test_without_network_nothing_can_be_reached_and_the_outcome_says_so() -> None:
    code = (
        "import socket\n"
        "with open('/proc/net/dev') as f: print(len(f.readlines()) - 2)\n"
        "try: socket.create_connection(('127.0.0.1', 1), timeout=5)\n"
        "except OSError as e: print(e.errno)\n"
    )
    outcome = python(code, limits=Limits(network=False, timeout_s=20))
    if not outcome.isolation:
        pytest.skip("this machine grants no user namespaces")
    assert outcome.isolation == {"network"}
    assert outcome.stdout.split() == [b"1", b"101"]  # lo, down; ENETUNREACH


def test_isolation_is_not_claimed_when_not_asked_for() -> None:
    assert python("pass").isolation == frozenset()


def test_a_missing_program_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no-such-program"):
        run_child(["no-such-program"], limits=Limits())
    with pytest.raises(NotFound, match="no-folder"):
        run_child(["true"], limits=Limits(), cwd=tmp_path / "no-folder")
    with pytest.raises(NotFound, match="no-such-program"):
        start_child(["no-such-program"])


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"\0\1\2")
    with pytest.raises(Unavailable, match="Permission denied"):
        run_child([str(path)], limits=Limits())


def test_what_a_child_leaves_behind_is_killed_with_it() -> None:
    code = (
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "print(p.pid)"
    )
    outcome = python(code)
    assert outcome.is_success
    assert outcome.duration_s < 10
    assert wait_until(lambda: not is_alive(int(outcome.stdout)), timeout_s=5)


def test_a_long_lived_child_says_when_it_is_ready_and_ends_on_request() -> None:
    code = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7));"
        "print('loading'); print('ready x=1', flush=True); signal.pause()"
    )
    with start_child([sys.executable, "-c", code]) as child:
        assert child.wait_line("ready ", 20) == "ready x=1"
        assert child.poll() is None
        with pytest.raises(DeadlineExceeded, match="still runs"):
            child.wait(0.01)
        outcome = child.terminate(grace_s=10)
        assert (outcome.ending, outcome.code) == (Ending.EXITED, 7)
        assert child.poll() == outcome
        assert not is_alive(child.pid)


def test_terminate_kills_what_ignores_it() -> None:
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('ready', flush=True)\nwhile True: signal.pause()"
    )
    child = start_child([sys.executable, "-c", code])
    child.wait_line("ready", 20)
    outcome = child.terminate(grace_s=0.1)
    assert (outcome.ending, outcome.code) == (Ending.SIGNAL, signal.SIGKILL)


def test_a_child_that_dies_before_it_is_ready_leaves_its_last_words() -> None:
    child = start_child([sys.executable, "-c", "import sys; sys.exit('no port left')"])
    with pytest.raises(Unavailable, match=r"status 1.*no port left"):
        child.wait_line("ready", 20)


def test_a_child_outlives_the_thread_that_asked_for_it() -> None:
    """The kernel's death signal follows the thread that forked, which must not be this one."""
    children = []

    def ask() -> None:
        children.append(start_child([sys.executable, "-c", "import signal; signal.pause()"]))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    (child,) = children
    with pytest.raises(DeadlineExceeded):
        child.wait(0.3)
    child.kill()


@pytest.mark.parametrize("network", [True, False])
def test_children_die_when_their_parent_is_killed(network: bool, tmp_path: Path) -> None:
    code = f"""
from fogline.sandbox import Limits, run_child, start_child
limits = Limits(network={network})
started = start_child(["sh", "-c", "echo $$ > started; exec sleep 100"], limits=limits)
run_child(["sh", "-c", "echo $$ > run; exec sleep 100"], limits=limits)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as parent:
        pids = [read_pid(tmp_path / name) for name in ("started", "run")]
        assert all(map(is_alive, pids))
        parent.kill()
    assert wait_until(lambda: not any(map(is_alive, pids)), timeout_s=5)


def test_many_threads_run_children_at_once() -> None:
    outcomes: list[bytes] = []

    def ask(n: int) -> None:
        outcomes.append(python(f"print({n})").stdout.strip())

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, outcomes)) == list(range(8))


def test_no_file_descriptor_is_left_open() -> None:
    python("pass")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        python("pass", stdin=b"x")
    with pytest.raises(NotFound):
        run_child(["no-such-program"], limits=Limits())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_interrupt_of_the_caller_kills_the_child(tmp_path: Path) -> None:
    code = """
from fogline.sandbox import Limits, run_child
try:
    run_child(["sh", "-c", "echo $$ > run; exec sleep 100"], limits=Limits())
except KeyboardInterrupt:
    print("interrupted", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=tmp_path
    ) as parent:
        assert parent.stdout is not None
        pid = read_pid(tmp_path / "run")
        parent.send_signal(signal.SIGINT)
        assert parent.stdout.readline() == b"interrupted\n"
        assert not is_alive(pid)
        parent.communicate(b"\n")
