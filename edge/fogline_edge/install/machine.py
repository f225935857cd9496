"""What the installer asks of the machine it runs on; Linux only."""

from pathlib import Path
from typing import Protocol

from fogline.errors import Unavailable


class Machine(Protocol):
    def boot_id(self) -> str:
        """Changes with each start of the kernel, and only then."""

    def available_memory(self) -> int:
        """Bytes that a new process could use without the machine swapping."""

    def total_memory(self) -> int:
        """Bytes of memory."""


class LinuxMachine:
    def boot_id(self) -> str:
        return _read(Path("/proc/sys/kernel/random/boot_id")).strip()

    def available_memory(self) -> int:
        return _meminfo("MemAvailable")

    def total_memory(self) -> int:
        return _meminfo("MemTotal")


def _meminfo(field: str) -> int:
    for line in _read(Path("/proc/meminfo")).splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise Unavailable(f"/proc/meminfo says nothing of {field}")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as e:
        raise Unavailable(f"{path}: {e.strerror}; Fogline's agent needs Linux's /proc") from e
