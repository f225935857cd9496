"""Processes as /proc sees them: CPU time, memory and open files of a server and its children."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of a process tree, MiB: what the kernel counts in kB, divided by 1024."""

    resident: float
    anonymous: float

    def plain(self) -> dict[str, float]:
        return {"resident": self.resident, "anonymous": self.anonymous}


def pinned(command: Sequence[str], cores: Collection[int]) -> list[str]:
    """The same command on these cores alone; on all of them if there are none."""
    if not cores:
        return list(command)
    return ["taskset", "-c", ",".join(map(str, cores)), *command]


def tree(pid: int) -> list[int]:
    """`pid` and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], ())
    return found


def cpu_s(pid: int) -> float:
    """User and system time of the tree so far, seconds, by a clock of 100 ticks a second."""
    ticks = 0
    for one in tree(pid):
        if fields := _stat(one):
            ticks += int(fields[11]) + int(fields[12])
    return ticks * TICK_S


def memory(pid: int) -> Memory:
    """Resident and anonymous memory of the tree, from `smaps_rollup`."""
    total = {"Rss": 0, "Anonymous": 0}
    for one in tree(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in lines:
            name, _, rest = line.partition(":")
            if name in total:
                total[name] += int(rest.split()[0]) * 1024
    return Memory(resident=total["Rss"] / 2**20, anonymous=total["Anonymous"] / 2**20)


def open_files(pid: int) -> int:
    """File descriptors of the tree."""
    return sum(1 for one in tree(pid) for _ in Path(f"/proc/{one}/fd").iterdir())


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty if the process has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
