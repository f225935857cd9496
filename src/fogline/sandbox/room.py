"""What a child that runs foreign code may reach of the machine: its room.

Words of `Outcome.isolation`, for what held, never for what was only tried:

    network     it can make no socket, or its network has no interfaces and none of the parent's
    files       it reads only what Python is made of and what it was handed, and writes only its
                scratch folder
    processes   it can start no process, and signal, trace or alter no other
    memory, time, cpu, disk     a bound was set, and whatever is over it is ended
    landlock, seccomp, namespace, bubblewrap    by which mechanism
"""

import os
import site
import sys
from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from fogline.records import Record

ISOLATED = frozenset({"network", "files", "processes"})
"""What has to hold before a stranger's code is run."""

HELD = "FOGLINE_ISOLATION"
"""Variable in which the launcher tells the child itself what holds."""

_SYSTEM = (
    # Libraries and programs of the system; no folder that holds what is a person's or a secret.
    *("/usr", "/lib", "/lib32", "/lib64", "/bin"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"),
    *("/etc/localtime", "/etc/ssl/openssl.cnf"),
    # What numeric libraries ask of the machine. /proc/self is this process alone.
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version"),
    *("/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/osrelease"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup"),
    *("/sys/kernel/mm/transparent_hugepage", "/sys/kernel/mm/hugepages"),
    *("/dev/zero", "/dev/random", "/dev/urandom"),
)
_DEVICES = ("/dev/null", "/dev/full")


class Mechanism(Enum):
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"
    NAMESPACE = "namespace"
    BUBBLEWRAP = "bubblewrap"


class Room(Record, frozen=True, kw_only=True):
    """What a child may reach; all paths are absolute and resolved."""

    scratch: Annotated[str, Meta(min_length=2)]
    """Folder that it may write, its home and its temporary folder; empty at first."""
    read: tuple[str, ...] = ()
    """Files and folders that it is handed, beside what Python is made of."""
    required: frozenset[str] = frozenset()
    """Words that have to hold; where one does not, the program is not started."""
    without: frozenset[Mechanism] = frozenset()
    """Mechanisms that are not to be used, on a machine where one is broken."""

    def readable(self) -> tuple[str, ...]:
        """All that it may read."""
        return (*_SYSTEM, *python_paths(), *self.read)

    def writable(self) -> tuple[str, ...]:
        return (*_DEVICES, self.scratch)

    def environment(self) -> dict[str, str]:
        """Variables by which libraries find the scratch folder and nobody's name or home."""
        return {
            "HOME": self.scratch,
            "TMPDIR": self.scratch,
            "LOGNAME": "fogline",
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def python_paths(
    *, home: Path | None = None, environment: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Folders of this Python and of its packages, with what is beneath them.

    The home folder itself and what is above it are left out, also where they are on Python's path.
    """
    variables = os.environ if environment is None else environment
    listed = [
        *(sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix),
        str(Path(sys.executable).parent),
        *(p for p in sys.path if Path(p).is_absolute() and _is_found_anew(p, variables)),
        *variables.get("LD_LIBRARY_PATH", "").split(":"),
    ]
    forbidden = _with_parents((home or Path.home()).resolve())
    found = {
        p: None
        for text in listed
        if text and Path(text).is_absolute()
        for p in (Path(text), Path(text).resolve())
        if p.exists() and p.resolve() not in forbidden
    }
    return tuple(str(p) for p in found)


def held() -> frozenset[str]:
    """In a child: what holds for this process; nothing in any other process."""
    return frozenset(os.environ.get(HELD, "").split())


def way_out(missing: Collection[str]) -> str:
    """What an error says of words that are required and do not hold."""
    return (
        f"this machine does not isolate its {', '.join(sorted(missing))}, and it may run foreign "
        "code. Install bubblewrap (apt install bubblewrap) and allow user namespaces, or use Linux "
        "6.2 or newer with Landlock switched on (lsm=landlock,...) and seccomp filters; a "
        "container's profile may forbid both"
    )


def _is_found_anew(path: str, variables: Mapping[str, str]) -> bool:
    """True where a Python that is started now would look too: not a script's own folder."""
    if path in variables.get("PYTHONPATH", "").split(":"):
        return True
    return path != sys.path[0] or "site-packages" in path or path in site.getsitepackages()


def _with_parents(path: Path) -> frozenset[Path]:
    return frozenset((path, *path.parents))
