"""Reads of `/proc`: a process's descendants, what memory they hold, and who is still there.

A process is a (pid, start time) pair, because the kernel reuses process ids.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_SESSION, _START_TIME, _PARENT = 3, 19, 1  # fields of /proc/PID/stat after the name


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    start_time: int
    """Clock ticks since boot."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Resident memory, in bytes, and threads."""

    total: int
    """Of all processes together, now."""
    highest: int
    """The kernel's high-water mark of the one process where it is highest."""
    threads: int
    """Of all processes together, now."""


def tree(pid: int) -> set[Process]:
    """The process and all its descendants that exist now."""
    found: set[Process] = set()
    todo = [pid]
    while todo:
        one = todo.pop()
        process = _identify(one)
        if process is not None and process not in found:
            found.add(process)
            todo.extend(_children(one))
    return found


def session(leader: int) -> set[Process]:
    """All processes of a session; its id is the process id of the leader that made it."""
    return {
        Process(pid, int(fields[_START_TIME]))
        for pid, fields in _all()
        if int(fields[_SESSION]) == leader
    }


def usage(processes: set[Process]) -> Usage:
    total = highest = threads = 0
    for process in processes:
        resident, peak, count = _used(process.pid)
        total += resident
        threads += count
        highest = max(highest, peak)
    return Usage(total, highest, threads)


def kill(processes: set[Process]) -> None:
    """SIGKILL to each that still exists."""
    for process in processes:
        if _identify(process.pid) == process:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """Children of all threads of a process, by the kernel's list or a look at every process."""
    found: list[int] = []
    with suppress(OSError):  # it ended while we looked
        for task in (_PROC / str(pid) / "task").iterdir():
            try:
                found.extend(map(int, (task / "children").read_text().split()))
            except FileNotFoundError:
                if task.exists():  # a kernel without CONFIG_PROC_CHILDREN
                    return [p for p, fields in _all() if int(fields[_PARENT]) == pid]
    return found


def _all() -> Iterator[tuple[int, list[str]]]:
    for name in os.listdir(_PROC):  # noqa: PTH208 - thousands of entries, as plain strings
        if name.isdigit() and (fields := _stat(int(name))):
            yield int(name), fields


def _identify(pid: int) -> Process | None:
    fields = _stat(pid)
    return Process(pid, int(fields[_START_TIME])) if fields else None


def _stat(pid: int) -> list[str]:
    """Fields after the name, which may itself hold spaces and brackets; empty when it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def _used(pid: int) -> tuple[int, int, int]:
    """Resident bytes now and at most, and threads; zeros when it is gone."""
    resident = peak = threads = 0
    with suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text(errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
            elif line.startswith("VmRSS:"):
                resident = int(line.split()[1]) * 1024
            elif line.startswith("Threads:"):
                threads = int(line.split()[1])
                break
    return resident, max(resident, peak), threads
