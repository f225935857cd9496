"""Named points between two writes, where a crash test kills the process.

`FOGLINE_FAILPOINT=name` or `name:N` makes the N-th pass (first is 1) through the point end the
process by SIGKILL, as a power cut would: no handler runs, nothing is flushed. Unset, a pass costs
one comparison. Whoever can set a process's environment can kill it anyway, so this grants nothing.
The idea is that of SQLite's crash tests and of fail-rs.

Every name stands in `POINTS`, so that a test can enumerate them and fail on one it does not cover.
"""

import os
import signal

POINTS: tuple[str, ...] = (
    "outbox.append.before_commit",
    "outbox.append.after_commit",
    "outbox.ack.before_commit",
    "outbox.ack.after_commit",
    "publish.before",
    "publish.after",
    "ingest.received",
    "ingest.before_commit",
    "ingest.after_commit",
    "ingest.before_ack",
    "ingest.after_ack",
    "catalogue.before_commit",
    "catalogue.after_commit",
    "install.before_marker",
    "install.after_marker",
    "install.after_fetch",
    "install.after_qualify",
    "install.before_activate",
    "install.after_activate",
    "retrain.before_advance",
)

_target, _, _count = os.environ.get("FOGLINE_FAILPOINT", "").partition(":")
_left = int(_count) if _count.isdigit() else 1


def reach(name: str) -> None:
    """Marks a write boundary; ends the process here if the environment asks for it."""
    global _left  # noqa: PLW0603 - a crash point is the process's own
    if name != _target:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
