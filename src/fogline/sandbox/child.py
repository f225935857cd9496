"""Starts children: one that is waited for, and one that lives on beside its parent.

Both are started by `exec` through `launch.py`, never by a bare `fork`; lead a session and process
group of their own, so a terminal's Ctrl-C reaches the parent alone, who then ends them; get only
the environment that `clean_environment` allows; and are killed by the kernel when the parent is
gone, also by SIGKILL.

What is not promised: a process that the child starts, that makes a session of its own, and whose
parent ends within one `poll_s` of the child's own end, can outlive it; and when *this* process is
killed by SIGKILL, the child dies but what the child started does only if it asked for the same.
"""

import errno
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from fogline.errors import DeadlineExceeded, NotFound, Unavailable, Unsupported
from fogline.sandbox.bubblewrap import wrapping
from fogline.sandbox.environment import clean_environment
from fogline.sandbox.limits import Limits
from fogline.sandbox.outcome import Outcome
from fogline.sandbox.room import HELD, Room, way_out
from fogline.sandbox.watch import Watch

_LAUNCH = Path(__file__).with_name("launch.py")
_START_S = 30.0
"""How long the launcher may take to become the program; 25 ms on an idle machine."""
_NOW_S = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    """What is to be started."""

    argv: tuple[str, ...]
    limits: Limits
    stdin: bytes
    cwd: Path | None
    env: Mapping[str, str] | None
    stderr: int | None
    room: Room | None = None

    def environment(self) -> dict[str, str]:
        own = self.room.environment() if self.room else {}
        return clean_environment(own | dict(self.env or {}))


def run_child(
    argv: Sequence[str],
    *,
    limits: Limits,
    stdin: bytes = b"",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    room: Room | None = None,
) -> Outcome:
    """Runs a program to its end and returns how that came.

    An interrupt of the calling thread kills the child before it goes on.

    Args:
        argv: Program and arguments; no shell, and no secrets, which `ps` would show.
        limits: What it may use; reaching one kills its whole tree and is told by the outcome.
        stdin: What it reads; then end of file.
        cwd: Working folder; this process's own if None.
        env: Variables beside those that `clean_environment` lets through.
        room: What it may reach of the machine; without one, all that this user can.

    Raises:
        NotFound: there is no such program or working folder.
        Unavailable: the machine could not start it.
        Unsupported: the machine cannot isolate it as the room requires; it was not started.
    """
    program = _Program(
        argv=tuple(argv),
        limits=limits,
        stdin=stdin,
        cwd=cwd,
        env=env,
        stderr=subprocess.PIPE,
        room=room,
    )
    process, isolation = _spawn(program)
    scratch = Path(room.scratch) if room else None
    return Watch(process, limits, stdin, scratch).run(isolation)


def run_prepared(
    argv: Sequence[str], *, limits: Limits, await_task: Callable[[], tuple[bytes, Limits] | None]
) -> Outcome | None:
    """As `run_child`, of a program that is started before it is known what it is to do.

    Args:
        argv: Program and arguments; it reads its task from stdin when it is ready to.
        limits: What it is started with.
        await_task: Waits in this thread, as the child must, for what it reads and for the memory
            and time that it may use from then on; None ends it unused.

    Raises:
        NotFound, Unavailable: as `run_child`.
    """
    later = b" "  # anything but nothing: the child gets a pipe to read from
    program = _Program(
        argv=tuple(argv), limits=limits, stdin=later, cwd=None, env=None, stderr=subprocess.PIPE
    )
    process, isolation = _spawn(program)
    task: tuple[bytes, Limits] | None = None
    try:
        task = await_task()
    finally:
        if task is None:
            Watch(process, Limits(timeout_s=_NOW_S), b"").run(isolation)
    if task is None:
        return None
    stdin, bounds = task
    return Watch(process, bounds, stdin).run(isolation)


def start_child(
    argv: Sequence[str],
    *,
    limits: Limits | None = None,
    stdin: bytes = b"",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stderr: int | None = subprocess.PIPE,
) -> "Child":
    """Starts a program that lives on; arguments and errors as `run_child`.

    `limits=None` bounds only open files and what is kept of its output, and gives it its parent's
    place in the order in which the kernel kills when memory runs out. `stderr=subprocess.PIPE`
    keeps the end of it for the outcome; `None` lets the child write to this process's own stderr;
    a file descriptor sends it there.
    """
    return Child(
        _Program(
            argv=tuple(argv),
            limits=limits or Limits(oom_score_adj=None),
            stdin=stdin,
            cwd=cwd,
            env=env,
            stderr=stderr,
        )
    )


class Child:
    """A running child. All methods may be called from any thread."""

    def __init__(self, program: _Program) -> None:
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: Watch | None = None
        self._outcome: Outcome | None = None
        self._failure: BaseException | None = None
        self._started = threading.Event()
        self._ended = threading.Event()
        name = f"child {Path(program.argv[0]).name}"
        # A daemon: at this process's end it must not wait for the child, whom the kernel kills.
        threading.Thread(target=self._keep, name=name, daemon=True).start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def pid(self) -> int:
        return self._running().pid

    def poll(self) -> Outcome | None:
        """How it ended; None while it runs."""
        return self._outcome

    def wait(self, timeout_s: float | None = None) -> Outcome:
        """Waits for its end.

        Raises:
            DeadlineExceeded: it still runs after `timeout_s` seconds.
        """
        if self._ended.wait(timeout_s):
            if self._outcome is not None:
                return self._outcome
            if self._failure is not None:
                raise self._failure
        raise DeadlineExceeded(
            f"{self._program.argv[0]} (pid {self.pid}) still runs after {timeout_s} s"
        )

    def wait_line(self, prefix: str, timeout_s: float) -> str:
        """The first whole line on its stdout that starts with `prefix`, such as `ready `.

        Raises:
            Unavailable: it ended without such a line; the text holds the end of its stderr.
            DeadlineExceeded: no such line in `timeout_s` seconds.
        """
        line = self._running().stdout.wait_line(prefix, timeout_s)
        if line is not None:
            return line
        with suppress(DeadlineExceeded):
            outcome = self.wait(1.0)
            raise Unavailable(
                f"{self._program.argv[0]} {outcome.describe()} before it said {prefix!r}: "
                f"{outcome.last_words() or 'nothing on stderr'}"
            )
        raise DeadlineExceeded(
            f"{self._program.argv[0]} did not say {prefix!r} within {timeout_s} s"
        )

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the child alone; nothing happens when it has ended."""
        self._running().send(number)

    def terminate(self, grace_s: float) -> Outcome:
        """SIGTERM, then after `grace_s` seconds SIGKILL to its whole tree."""
        self.send(signal.SIGTERM)
        if self._ended.wait(grace_s):
            return self.wait()
        return self.kill()

    def kill(self) -> Outcome:
        """SIGKILL to it and, by the watching thread's sweep, to its whole tree."""
        self.send(signal.SIGKILL)
        return self.wait()

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def _keep(self) -> None:
        """The thread that forks, and so has to last as long as the child (see `watch`)."""
        program = self._program
        try:
            process, isolation = _spawn(program)
            self._watch = Watch(process, program.limits, program.stdin)
            self._started.set()
            self._outcome = self._watch.run(isolation)
        except BaseException as e:  # the thread's boundary: whoever waits gets the error
            self._failure = e
        finally:
            self._ended.set()
            self._started.set()

    def _running(self) -> Watch:
        if self._watch is None:
            raise Unavailable(f"{self._program.argv[0]} was never started")
        return self._watch


def _spawn(program: _Program) -> tuple[subprocess.Popen[bytes], frozenset[str]]:
    """Starts the launcher and waits until it has become the program; what isolation held."""
    ours, theirs = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCH), _settings(program, theirs), *program.argv],
            stdin=subprocess.PIPE if program.stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=program.stderr,
            cwd=program.cwd,
            env=program.environment(),
            start_new_session=True,
            pass_fds=(theirs,),
        )
    except FileNotFoundError as e:
        os.close(ours)
        raise NotFound(f"cannot start {program.argv[0]}: no {e.filename}") from e
    except (OSError, ValueError) as e:
        os.close(ours)
        raise Unavailable(f"cannot start {program.argv[0]}: {e}") from e
    finally:
        os.close(theirs)
    try:
        return process, _isolation(_read_status(ours), program)
    except BaseException:
        Watch(process, Limits(timeout_s=_NOW_S), b"").run(frozenset())
        raise
    finally:
        os.close(ours)


def _settings(program: _Program, status_fd: int) -> str:
    limits = program.limits
    rlimits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": limits.cpu_s,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_FSIZE": limits.file_bytes,
    }
    return json.dumps(
        {
            "parent": os.getpid(),
            "status_fd": status_fd,
            "rlimits": {k: v for k, v in rlimits.items() if v is not None},
            "oom_score_adj": limits.oom_score_adj,
            "network": limits.network and program.room is None,
            "room": _room_settings(program.room),
        }
    )


def _room_settings(room: Room | None) -> dict[str, object] | None:
    if room is None:
        return None
    return {
        "is_inside": False,
        "wrap": wrapping(room),
        "read": room.readable(),
        "write": room.writable(),
        "required": sorted(room.required),
        "without": [m.value for m in room.without],
        "variable": HELD,
    }


def _read_status(fd: int) -> list[str]:
    """The launcher's lines, up to the end of file that `exec` makes."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    deadline = time.monotonic() + _START_S
    said = b""
    while poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        data = os.read(fd, 4096)
        if not data:
            return said.decode(errors="replace").splitlines()
        said += data
    raise Unavailable(f"a child did not start within {_START_S} s; is the machine overloaded?")


def _isolation(said: list[str], program: _Program) -> frozenset[str]:
    match said:
        case [*isolation, "exec"]:
            return frozenset(isolation) | _bounded(program)
        case [*_, last] if last.startswith("missing "):
            missing = last.removeprefix("missing ").split()
            raise Unsupported(f"{program.argv[0]} was not started: {way_out(missing)}")
        case [*_, "exec", error]:
            _, number, text = error.split(" ", 2)
            kind = NotFound if int(number) == errno.ENOENT else Unavailable
            raise kind(f"cannot start {program.argv[0]}: {text}")
        case _:
            raise Unavailable(f"cannot start {program.argv[0]}: the launcher failed before it")


def _bounded(program: _Program) -> frozenset[str]:
    """Words of a room for the bounds that were set."""
    limits = program.limits
    if program.room is None:
        return frozenset()
    bounds = {
        "memory": limits.memory_bytes,
        "time": limits.timeout_s,
        "cpu": limits.cpu_s,
        "disk": limits.disk_bytes,
    }
    return frozenset(word for word, bound in bounds.items() if bound is not None)
