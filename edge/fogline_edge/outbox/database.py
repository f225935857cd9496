"""One SQLite file of the device: one connection, one writer, every commit flushed to the disk.

Any room may keep tables of its own here: `migrate(room, steps)` makes them, `transaction()` changes
them. Transactions of one thread nest by joining, so that a room's tables and the outbox change in
one commit. The file is locked against a second process for as long as it is open.

All of sqlite3's errors leave as `fogline.errors`: a full disk is `Exhausted`, a file that is not
what was written `Corrupt`, everything else `Unavailable`.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fogline.durable import flush_folder
from fogline.errors import Corrupt, Exhausted, FoglineError, Unavailable
from fogline.failpoints import reach

_BUSY_TIMEOUT_S = 5.0
"""How long an opening process waits for one that is still ending."""
_MAX_WAL_BYTES = 8 * 1024 * 1024
_CACHE_BYTES = 256 * 1024
"""Pages kept in memory; SQLite's own two megabytes would be filled by the first long commit, and
rows are written once and read once."""
_SIDE_FILES = ("", "-wal", "-shm", "-journal")

_PRAGMAS = (
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA journal_size_limit = {_MAX_WAL_BYTES}",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA cache_size = -{_CACHE_BYTES // 1024}",
)


class Database:
    """An open file; made by `open`. Safe for use by several threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._depth = 0
        self._after: list[Callable[[], None]] = []

    @classmethod
    def open(cls, path: Path) -> "Database":
        """Opens or makes the file (mode 0600) and checks it.

        Raises:
            Corrupt: it is no database, or its pages contradict each other.
            Unavailable: another process holds it, or the disk fails.
        """
        with _mapped(path):
            try:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                path.chmod(0o600)
            except OSError as e:
                raise Unavailable(f"{path}: {e.strerror}") from e
            connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(connection, path)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    @contextlib.contextmanager
    def transaction(self, boundary: str = "") -> Iterator[sqlite3.Connection]:
        """Everything done in the block, or nothing; committed to the disk at its end.

        Inside another transaction of the same thread it joins that one, and what the outer one
        commits is decided there.

        Args:
            boundary: Name of the failpoints `<boundary>.before_commit` and `.after_commit`.

        Raises:
            Exhausted: the disk is full. Corrupt, Unavailable: see the module.
        """
        with self._lock:
            if self._depth:
                yield self._connection
                return
            with _mapped(self.path):
                self._connection.execute("BEGIN IMMEDIATE")
                self._depth = 1
                try:
                    yield self._connection
                    if boundary:
                        reach(f"{boundary}.before_commit")
                    self._connection.execute("COMMIT")
                except BaseException:
                    self._after.clear()
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
                finally:
                    self._depth = 0
            if boundary:
                reach(f"{boundary}.after_commit")
            calls, self._after = self._after, []
        for call in calls:
            call()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for reads that see one state."""
        with self._lock, _mapped(self.path):
            yield self._connection

    def after_commit(self, call: Callable[[], None]) -> None:
        """Has `call` run once the transaction that is open on this thread is on the disk."""
        with self._lock:
            self._after.append(call)

    def migrate(self, room: str, steps: Sequence[str]) -> None:
        """Brings the tables of `room` to the last of `steps`, SQL scripts that only ever grow.

        Raises:
            Corrupt: the file has been used by a later version, which has more steps.
        """
        with self.transaction() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS versions (room TEXT PRIMARY KEY, version INTEGER)"
            )
            found = connection.execute("SELECT version FROM versions WHERE room = ?", (room,))
            done = (found.fetchone() or (0,))[0]
            if done > len(steps):
                raise Corrupt(
                    f"{self.path}: {room} is at version {done}, this build knows {len(steps)}; "
                    "install the version that wrote it"
                )
            for step in steps[done:]:
                for statement in step.split(";"):
                    connection.execute(statement)
            connection.execute("INSERT OR REPLACE INTO versions VALUES (?, ?)", (room, len(steps)))

    def close(self) -> None:
        with self._lock, _mapped(self.path):
            self._connection.close()


def set_aside(path: Path) -> Path:
    """Renames a corrupt file and what belongs to it to `<name>.corrupt`, in place of an older one.

    Raises:
        Unavailable: the file system refuses.
    """
    try:
        for suffix in _SIDE_FILES:
            target = path.with_name(f"{path.name}.corrupt{suffix}")
            target.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(target)
        flush_folder(path.parent)
    except OSError as e:
        raise Unavailable(f"{path}: cannot be set aside: {e.strerror}") from e
    return path.with_name(f"{path.name}.corrupt")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    found = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found is None or found[0] != "ok":
        raise Corrupt(f"{path}: {str(found)[:200]}")


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as e:
        code = getattr(e, "sqlite_errorcode", 0) & 0xFF
        kind: type[FoglineError] = Unavailable
        if code == sqlite3.SQLITE_FULL:
            kind = Exhausted
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            kind = Corrupt
        raise kind(f"{path}: {e}") from e
