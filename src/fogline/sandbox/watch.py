"""Watches one child from its start to its end, in one thread: pipes, memory, time, and the sweep.

The thread that started a child must be the one that watches it: the kernel sends the death signal
when the *thread* that forked ends, so that thread has to last as long as the child does.
"""

import os
import selectors
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from fogline.sandbox import processes
from fogline.sandbox.bubblewrap import EXIT_BY_SIGNAL
from fogline.sandbox.capture import Head, Tail
from fogline.sandbox.limits import Limits
from fogline.sandbox.outcome import Ending, Outcome
from fogline.sandbox.room import Mechanism
from fogline.sandbox.scratch import Scratch

_CHUNK = 64 * 1024
_DRAIN_S = 0.5
"""After the child's end, how long its pipes are read; a descendant that fled may hold them open."""
_IDLE_S = 1.0
"""Time between two looks at a child whose memory is not bounded."""
_SWEEPS = 5
_REAP_S = 10.0
"""How long SIGKILL may take; longer means that the kernel holds the process, in a device's I/O."""


class Watch:
    """One child's end, from inside: `run` returns when it and its descendants are gone."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        limits: Limits,
        stdin: bytes,
        scratch: Path | None = None,
    ) -> None:
        self.stdout = Head(limits.stdout_bytes)
        self._stderr = Tail(limits.stderr_bytes)
        self._process = process
        self._limits = limits
        self._began = time.monotonic()
        self._peak = 0
        self._seen: set[processes.Process] = set()
        self._stdin = memoryview(stdin)
        self._pidfd: int | None = None
        self._reaping = threading.Lock()
        self._scratch = (
            Scratch(scratch, limits.disk_bytes, limits.disk_entries)
            if scratch is not None and limits.disk_bytes is not None
            else None
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the child alone, from any thread; nothing happens once it is gone."""
        with self._reaping:
            if self._process.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(self._process.pid, number)

    def run(self, isolation: frozenset[str]) -> Outcome:
        """Waits for the end, however it comes, and leaves no descendant that was ever seen."""
        stopped: Ending | None = None
        with selectors.DefaultSelector() as selector:
            try:
                self._register(selector)
                stopped = self._wait(selector)
            finally:
                self._sweep()
                self._drain(selector)
                self._close()
        return self._outcome(stopped, isolation)

    def _register(self, selector: selectors.BaseSelector) -> None:
        for pipe, keep in (
            (self._process.stdout, self.stdout.add),
            (self._process.stderr, self._stderr.add),
        ):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, keep)
        stdin = self._process.stdin
        if stdin is not None:
            os.set_blocking(stdin.fileno(), False)
            selector.register(stdin, selectors.EVENT_WRITE, None)
        with suppress(OSError):  # before Linux 5.3, or filtered away: then by polling alone
            self._pidfd = os.pidfd_open(self._process.pid)
            selector.register(self._pidfd, selectors.EVENT_READ, None)

    def _wait(self, selector: selectors.BaseSelector) -> Ending | None:
        """Until the child has ended (None) or a limit is reached (which one)."""
        deadline = self._began + (self._limits.timeout_s or float("inf"))
        is_bounded = self._limits.memory_bytes or self._limits.threads or self._scratch
        pause = self._limits.poll_s if is_bounded else _IDLE_S
        next_look = self._began
        while not self._has_ended():
            now = time.monotonic()
            if now >= deadline:
                return Ending.TIMEOUT
            if now >= next_look:
                over = self._over()
                if over is not None:
                    return over
                next_look = now + pause
            self._pump(selector, min(deadline, next_look) - now)
        return None

    def _pump(self, selector: selectors.BaseSelector, timeout_s: float) -> None:
        for key, _ in selector.select(max(timeout_s, 0.0)):
            if key.fileobj is self._process.stdin:
                self._feed(selector, self._process.stdin)
            elif key.data is not None:
                data = os.read(key.fd, _CHUNK)
                key.data(data)
                if not data:
                    selector.unregister(key.fileobj)

    def _feed(self, selector: selectors.BaseSelector, pipe: IO[bytes]) -> None:
        try:
            self._stdin = self._stdin[os.write(pipe.fileno(), self._stdin[:_CHUNK]) :]
        except BrokenPipeError:  # it does not want the rest
            self._stdin = self._stdin[:0]
        if not self._stdin:
            selector.unregister(pipe)
            with suppress(BrokenPipeError):
                pipe.close()

    def _drain(self, selector: selectors.BaseSelector) -> None:
        if self._pidfd is not None:
            selector.unregister(self._pidfd)
        deadline = time.monotonic() + _DRAIN_S
        while time.monotonic() < deadline and any(
            key.data is not None for key in selector.get_map().values()
        ):
            self._pump(selector, _DRAIN_S)

    def _over(self) -> Ending | None:
        """Which bound the whole tree is over, by a look at it."""
        alive = processes.tree(self._process.pid)
        self._seen |= alive
        used = processes.usage(alive)
        self._peak = max(self._peak, used.total, used.highest)
        limits = self._limits
        if limits.memory_bytes is not None and self._peak > limits.memory_bytes:
            return Ending.MEMORY
        if limits.threads is not None and used.threads > limits.threads:
            return Ending.THREADS
        if self._scratch is not None and self._scratch.is_over():
            return Ending.DISK
        return None

    def _has_ended(self) -> bool:
        """Without reaping it: until it is reaped, its process id and group cannot be reused."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self._process.pid, flags) is not None
        except ChildProcessError:  # this process ignores SIGCHLD, or something else reaped it
            return True

    def _sweep(self) -> None:
        """Kills the child and its tree; again while something new turns up."""
        for _ in range(_SWEEPS):
            alive = processes.tree(self._process.pid)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            processes.kill(alive | self._seen)
            if alive <= self._seen:
                break
            self._seen |= alive
        processes.kill(processes.session(self._process.pid))

    def _close(self) -> None:
        with self._reaping, suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_S)
        self.stdout.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        if self._pidfd is not None:
            os.close(self._pidfd)

    def _outcome(self, stopped: Ending | None, isolation: frozenset[str]) -> Outcome:
        status = self._process.returncode
        if status is None:
            status = -signal.SIGKILL
        elif status > EXIT_BY_SIGNAL and Mechanism.BUBBLEWRAP.value in isolation:
            status = EXIT_BY_SIGNAL - status
        ending = stopped or (Ending.EXITED if status >= 0 else Ending.SIGNAL)
        if ending is Ending.SIGNAL and status == -signal.SIGXCPU:
            ending = Ending.CPU
        stdout, dropped = self.stdout.read()
        return Outcome(
            ending=ending,
            code=abs(status),
            stdout=stdout,
            stderr=self._stderr.read(),
            stdout_dropped_bytes=dropped,
            duration_s=time.monotonic() - self._began,
            peak_rss_bytes=self._peak,
            isolation=isolation,
        )
