"""Runs first in a child: takes on the limits, then becomes the program that was asked for.

Called by path, with the standard library alone (`python -I -S launch.py SETTINGS PROGRAM ...`),
because code between `fork` and `exec` in a parent with threads may deadlock, and because the
kernel's death signal has to be asked for by the child itself. SETTINGS is JSON: `parent`,
`status_fd`, `rlimits`, `oom_score_adj`, `network`, `room`.

With bubblewrap it runs twice: outside, for the limits, it becomes bubblewrap; inside, as the second
process of new namespaces, it takes on the rest of the room and becomes the program.

Tells the parent what it did by `status_fd`, which closes on `exec`: the words that hold (see
`room`), `missing WORDS` and nothing more where one is required that does not, `exec` when all is in
place, and then `error ERRNO TEXT` when the program could not be started.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def main() -> None:
    settings = json.loads(sys.argv[1])
    program = sys.argv[2:]
    status = int(settings["status_fd"])
    room = settings["room"]
    libc = ctypes.CDLL(None, use_errno=True)
    if room and room["is_inside"]:
        os.set_inheritable(status, False)
        held = {"bubblewrap", "namespace", "network", "files"}
        _die_with_parent(libc)
    else:
        held = _limited(libc, settings)
        if room and room["wrap"]:
            room["is_inside"] = True
            _become(status, [*room["wrap"], *_again(settings), *program], dict(os.environ))
        os.set_inheritable(status, False)
    environment = dict(os.environ)
    if room:
        held |= _confined(room)
        environment[room["variable"]] = " ".join(sorted(held))
    os.write(status, "".join(f"{word}\n" for word in sorted(held)).encode())
    missing = sorted(set(room["required"]) - held) if room else []
    if missing:
        os.write(status, f"missing {' '.join(missing)}\n".encode())
        os._exit(126)
    os.write(status, b"exec\n")
    _become(status, program, environment)


def _become(status: int, program: list[str], environment: dict[str, str]) -> None:
    try:
        os.execvpe(program[0], program, environment)  # noqa: S606 - no shell is meant
    except OSError as e:
        os.write(status, f"error {e.errno} {e.strerror}\n".encode())
        os._exit(127)


def _again(settings: dict[str, Any]) -> list[str]:
    """This launcher, as it is called inside of bubblewrap."""
    return [sys.executable, "-I", "-S", __file__, json.dumps(settings)]


def _limited(libc: ctypes.CDLL, settings: dict[str, Any]) -> set[str]:
    """Limits, signals and the network's namespace; what holds of `network` and `namespace`."""
    room = settings["room"]
    held: set[str] = set()
    is_wrapped = room and room["wrap"]
    may_leave = not room or "namespace" not in room["without"]
    if not settings["network"] and not is_wrapped and may_leave and _leave_network(libc):
        held = {"network", "namespace"} if room else {"network"}
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
    _die_with_parent(libc)
    if os.getppid() != settings["parent"]:  # it died before the signal was asked for
        os.kill(os.getpid(), signal.SIGKILL)
    return held


def _die_with_parent(libc: ctypes.CDLL) -> None:
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _confined(room: dict[str, Any]) -> set[str]:
    """Takes all from this process that the program does not need; what holds of it."""
    sys.path.insert(0, str(Path(__file__).with_name("confinement")))
    held: set[str] = set()
    import_module("capabilities").drop_all()
    if "landlock" not in room["without"] and import_module("landlock").restrict(
        read=room["read"], write=room["write"]
    ):
        held |= {"landlock", "files"}
    if "seccomp" not in room["without"] and import_module("seccomp").restrict():
        held |= {"seccomp", "network", "processes"}
    elif "landlock" in held:
        # Without the filter, metadata of all files could be changed, and sockets' paths reached.
        held -= {"files"}
    return held


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
