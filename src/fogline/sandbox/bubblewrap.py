"""bubblewrap, where the machine has it: a view of the files that holds nothing else.

<https://github.com/containers/bubblewrap>. It adds namespaces of mounts, processes, network and
IPC to what `launch.py` does; the launcher runs once more inside of it.
"""

import shutil
import subprocess
from pathlib import Path

from fogline.sandbox.room import Mechanism, Room

_PROBE_S = 10.0
_UNSHARE = ("--unshare-all", "--die-with-parent", "--cap-drop", "ALL")
EXIT_BY_SIGNAL = 128
"""Its exit status is this and the signal's number where a signal ended the program."""


def wrapping(room: Room) -> list[str] | None:
    """The command that a program is put behind; None where there is no bubblewrap that works."""
    if Mechanism.BUBBLEWRAP in room.without:
        return None
    program = shutil.which("bwrap")
    if program is None or not _works(program):
        return None
    return [program, *_UNSHARE, *_view(room), "--chdir", room.scratch, "--"]


def _works(program: str) -> bool:
    """False where namespaces are not granted, as in many containers."""
    try:
        done = subprocess.run(
            [program, *_UNSHARE, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _view(room: Room) -> list[str]:
    """Mounts, outer ones first; its own /proc and /dev, and nothing that can be written but one."""
    kept = [p for p in room.readable() if not p.startswith(("/proc", "/dev")) and Path(p).exists()]
    mounts = ["--proc", "/proc", "--dev", "/dev"]
    for path in sorted(kept, key=_depth):
        mounts += ["--ro-bind", path, path]
    mounts += ["--bind", room.scratch, room.scratch]
    # Its root and /dev are made in memory, which no limit would count.
    return [*mounts, "--remount-ro", "/dev", "--remount-ro", "/"]


def _depth(path: str) -> int:
    return len(Path(path).parts)
