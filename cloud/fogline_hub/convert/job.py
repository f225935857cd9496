"""Work in a limited child: a record goes in on stdin, a record or an error comes back as a file.

What the child leaves is a stranger's word, because a stranger's code may have run in it: files are
read without following links, bounded, and decoded into strict records.
"""

import os
import stat
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from msgspec import Meta

from fogline import errors
from fogline.records import MAX_JSON_BYTES, Record, canonical_json, decode_json
from fogline.sandbox import Ending, Limits, Outcome, Room, run_child

RESULT = "result.json"
FAILURE = "failure.json"

_FAULTS: dict[str, type[errors.FoglineError]] = {
    kind.__name__: kind
    for kind in (
        errors.InvalidInput,
        errors.NotFound,
        errors.Unsupported,
        errors.Corrupt,
        errors.Conflict,
        errors.Exhausted,
    )
}
"""Errors that a child can report; any other is told as InvalidInput."""

_SERIAL = {"JOBLIB_MULTIPROCESSING": "0"}
"""A child starts no processes; joblib would warn that it cannot."""

J = TypeVar("J", bound=Record)
R = TypeVar("R", bound=Record)


class Failure(Record, frozen=True, kw_only=True):
    """Why a child gave up."""

    kind: Annotated[str, Meta(max_length=64)]
    text: Annotated[str, Meta(max_length=4000)]


def run_job(
    module: str,
    job: Record,
    result: type[R],
    *,
    folder: Path,
    limits: Limits,
    what: str,
    room: Room | None = None,
) -> tuple[R, Outcome]:
    """Runs `python -m module` in `folder` and returns what it found.

    Args:
        module: Its main calls `serve_job`.
        job: What it is to do.
        result: The record that it leaves.
        folder: Scratch, empty and its own.
        limits: What it may use.
        what: What the job is on, for errors.
        room: What it may reach of the machine; without one, all that this user can.

    Raises:
        FoglineError: what the child reported; `DeadlineExceeded` or `Exhausted` when a limit ended
            it; `InvalidInput` when it ended without an answer; `Unsupported` when the machine does
            not isolate it as the room requires.
    """
    argv = [sys.executable, "-P", "-m", module]
    try:
        outcome = run_child(
            argv, limits=limits, stdin=canonical_json(job), cwd=folder, env=_SERIAL, room=room
        )
    except errors.Unsupported as e:
        raise errors.Unsupported(f"{what}: {e}") from e
    if outcome.ending is Ending.EXITED and (folder / FAILURE).exists():
        data = read_left(folder, FAILURE, MAX_JSON_BYTES)
        failure = decode_json(data, Failure, f"{what}: the child's error")
        raise _FAULTS.get(failure.kind, errors.InvalidInput)(failure.text)
    if outcome.is_success and (folder / RESULT).exists():
        data = read_left(folder, RESULT, MAX_JSON_BYTES)
        return decode_json(data, result, f"{what}: the child's result"), outcome
    raise _ended(outcome, what)


def serve_job(kind: type[J], handler: Callable[[J, Path], Record]) -> int:
    """The child's whole main: reads the job, works in the current folder, leaves one file.

    Returns:
        The exit status: 0 when a result or an error was left.
    """
    folder = Path.cwd()
    try:
        job = decode_json(sys.stdin.buffer.read(MAX_JSON_BYTES + 1), kind, "job")
        name, left = RESULT, handler(job, folder)
    except errors.FoglineError as e:
        name, left = FAILURE, Failure(kind=_kind(e), text=str(e)[:4000])
    except MemoryError:
        name, left = FAILURE, Failure(kind="Exhausted", text="not enough memory")
    except Exception:  # the child's end: the parent shows the last line of this
        traceback.print_exc()
        return 1
    (folder / name).write_bytes(canonical_json(left))
    return 0


def read_left(folder: Path, name: str, limit: int) -> bytes:
    """A regular file that the child left in `folder`.

    Raises:
        Corrupt: it is missing, no regular file, linked, or longer than `limit` bytes.
    """
    path = check_left(folder, name)
    data = path.read_bytes() if path.stat().st_size <= limit else None
    if data is None:
        raise errors.Corrupt(f"the child left {name} with more than {limit} bytes")
    return data


def check_left(folder: Path, name: str) -> Path:
    """The path of a regular file with one link that the child, which has ended, left.

    Raises:
        Corrupt: it is missing, or anything else.
    """
    path = folder / name
    try:
        status = os.lstat(path)
    except OSError as e:
        raise errors.Corrupt(f"the child left no {name}") from e
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise errors.Corrupt(f"the child left {name} as something else than a plain file")
    return path


def _kind(error: errors.FoglineError) -> str:
    return next((c.__name__ for c in type(error).__mro__ if c.__name__ in _FAULTS), "InvalidInput")


def _ended(outcome: Outcome, what: str) -> errors.FoglineError:
    words = outcome.last_words()
    text = f"{what}: the child that worked on it {outcome.describe()}"
    match outcome.ending:
        case Ending.TIMEOUT:
            return errors.DeadlineExceeded(text)
        case Ending.MEMORY | Ending.CPU | Ending.THREADS | Ending.DISK:
            return errors.Exhausted(text)
        case _:
            return errors.InvalidInput(
                f"{text}, without an answer" + (f": {words}" if words else "")
            )
