"""How a child ended, as one value."""

import signal
from dataclasses import dataclass
from enum import Enum


class Ending(Enum):
    EXITED = "exited"
    """By itself; `code` is its exit status."""
    SIGNAL = "signal"
    """By a signal that no limit of ours sent; `code` is its number."""
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CPU = "cpu"
    THREADS = "threads"
    DISK = "disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a child ended and what it used."""

    ending: Ending
    code: int
    """Exit status, or the number of the signal that ended it."""
    stdout: bytes
    """The first `Limits.stdout_bytes` of it."""
    stderr: bytes
    """The last `Limits.stderr_bytes` of it; empty where stderr was not captured."""
    stdout_dropped_bytes: int
    duration_s: float
    peak_rss_bytes: int
    """Highest resident memory seen of the whole tree, or the kernel's own high-water mark of one of
    its processes where that is higher. 0 when the child was gone before the first look."""
    isolation: frozenset[str]
    """What held, in the words of `room`: `network` when the child had no network. Nothing that was
    only tried."""

    @property
    def is_success(self) -> bool:
        return self.ending is Ending.EXITED and self.code == 0

    def describe(self) -> str:
        """One clause for an error's text, such as `was ended by SIGSEGV after 0.3 s`."""
        after = f"after {self.duration_s:.1f} s"
        match self.ending:
            case Ending.EXITED:
                return f"exited with status {self.code} {after}"
            case Ending.SIGNAL:
                return f"was ended by {signal_name(self.code)} {after}"
            case Ending.TIMEOUT:
                return f"was stopped because it had not ended {after}"
            case Ending.MEMORY:
                mib = self.peak_rss_bytes / 2**20
                return f"was stopped because it held {mib:.0f} MiB of memory {after}"
            case Ending.CPU:
                return f"was stopped because it had used its processor time {after}"
            case Ending.THREADS:
                return f"was stopped because it had started too many threads {after}"
            case Ending.DISK:
                return f"was stopped because it had filled the disk that it may use {after}"

    def last_words(self, limit: int = 500) -> str:
        """The end of stderr as one printable line of at most `limit` characters."""
        text = self.stderr.decode(errors="replace").strip()[-limit:]
        return " | ".join("".join(c for c in s if c.isprintable()) for s in text.splitlines())


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
