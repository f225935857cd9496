"""Runs first in a child: takes on the limits, then becomes the program that was asked for.

Called by path, with the standard library alone (`python -I -S launch.py SETTINGS PROGRAM ...`),
because code between `fork` and `exec` in a parent with threads may deadlock, and because the
kernel's death signal has to be asked for by the child itself. SETTINGS is JSON: `parent`,
`status_fd`, `rlimits`, `oom_score_adj`, `network`.

Tells the parent what it did by `status_fd`, which closes on `exec`: the word `network` when the
namespace was granted, `exec` when all is in place, and then `error ERRNO TEXT` when the program
could not be started.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def main() -> None:
    settings = json.loads(sys.argv[1])
    program = sys.argv[2:]
    status = int(settings["status_fd"])
    os.set_inheritable(status, False)
    libc = ctypes.CDLL(None, use_errno=True)
    if not settings["network"] and _leave_network(libc):
        os.write(status, b"network\n")
    if settings["oom_score_adj"] is not None:
        _write("/proc/self/oom_score_adj", str(settings["oom_score_adj"]))
    for name, value in settings["rlimits"].items():
        _limit(getattr(resource, name), value)
    # Python ignores these two for itself, and what is ignored stays so over exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # Orphans of the program become its own children again, so that a tree can be counted and killed
    # as a tree. Survives exec, as the death signal does; the latter is lost by a change of
    # credentials, so it comes after the namespace.
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != settings["parent"]:  # it died before the signal was asked for
        os.kill(os.getpid(), signal.SIGKILL)
    os.write(status, b"exec\n")
    try:
        os.execvp(program[0], program)  # noqa: S606 - no shell is meant
    except OSError as e:
        os.write(status, f"error {e.errno} {e.strerror}\n".encode())
        os._exit(127)


def _leave_network(libc: ctypes.CDLL) -> bool:
    """A user and a network namespace without interfaces; False where the machine refuses."""
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    # The same ids inside as outside, so that files stay readable. setgroups has to be denied first.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")
    return True


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    # One second between SIGXCPU, by which the parent tells this end from others, and SIGKILL.
    margin = 1 if which == resource.RLIMIT_CPU else 0
    top = value + margin if hard == resource.RLIM_INFINITY else min(value + margin, hard)
    resource.setrlimit(which, (value, top))


def _write(path: str, text: str) -> None:
    Path(path).write_text(text)


if __name__ == "__main__":
    main()
