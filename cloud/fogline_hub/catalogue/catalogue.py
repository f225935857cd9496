"""Opening the catalogue, and its transactions.

SQLite in WAL mode with `synchronous=FULL`: a transaction that has returned survives a power cut.
Several processes of one hub open the same file; writers take turns (`BEGIN IMMEDIATE` waits for at
most `busy_timeout_ms`), readers never wait. Within a process a lock queues the writers, because
SQLite's own waiting is a lottery that a thread can lose for ever.

A transaction never retries its body: what a caller's code did outside of the database could not be
undone. Taking the lock is all that waits, and it gives up with `Unavailable`.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy
from msgspec import Meta
from sqlalchemy import event, exc

from fogline import failpoints
from fogline.errors import Conflict, Corrupt, FoglineError, Unavailable, Unsupported
from fogline.records import Record
from fogline_hub.catalogue import sql

SCHEMA_VERSION = 1
"""Grows with every change of a table; a catalogue of a later number is refused."""

_SCHEMA = sql.Table(
    "catalogue_schema",
    sql.METADATA,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("version", sql.Integer, nullable=False),
    sql.CheckConstraint("id = 1", name="one_row"),
)
_BEGIN = "fogline_begin"


class CatalogueBounds(Record, frozen=True, kw_only=True):
    busy_timeout_ms: Annotated[int, Meta(ge=1, le=600_000)] = 10_000
    """Longest wait for another writer, milliseconds; then `Unavailable`."""
    connections: Annotated[int, Meta(ge=1, le=256)] = 16
    """Open connections a process; a caller that finds none free waits as long as for a writer."""


class Catalogue:
    """One database; hand it to rooms, which bring their own statements. Safe for many threads."""

    def __init__(self, engine: sqlalchemy.Engine, path: Path, bounds: CatalogueBounds) -> None:
        self._engine = engine
        self._path = path
        self._bounds = bounds
        self._writer = threading.Lock()

    @classmethod
    def open(cls, path: Path, bounds: CatalogueBounds | None = None) -> "Catalogue":
        """Opens the file, or makes it (0600, in a folder that is made 0700), with all tables.

        Raises:
            Unsupported: a later build of Fogline wrote it.
            Corrupt: it is no catalogue.
            Unavailable: it cannot be opened, or another process holds it for too long.
        """
        bounds = bounds or CatalogueBounds()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as e:
            raise Unavailable(f"catalogue {path} cannot be opened: {e.strerror}") from e
        catalogue = cls(_engine(path, bounds), path, bounds)
        try:
            catalogue._prepare()
        except BaseException:
            catalogue.close()
            raise
        return catalogue

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[sql.Connection]:
        """A write transaction: commits when the block ends well, else leaves nothing behind.

        Transactions do not nest: a second one inside the first waits for it in vain.

        Raises:
            Conflict: a uniqueness, foreign-key or check rule refused a statement.
            Unavailable: no turn within `busy_timeout_ms`, or the disk is full or failed.
            Corrupt: the file is damaged.
        """
        if not self._writer.acquire(timeout=self._bounds.busy_timeout_ms / 1000):
            raise Unavailable(f"catalogue {self._path}: other writers hold it; try again")
        try:
            with self._begun("BEGIN IMMEDIATE") as connection:
                yield connection
                failpoints.reach("catalogue.before_commit")
            failpoints.reach("catalogue.after_commit")
        finally:
            self._writer.release()

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """A snapshot that never waits for writers; errors as `transaction`. Do not write in it."""
        with self._begun("BEGIN") as connection:
            yield connection

    @contextmanager
    def _begun(self, begin: str) -> Iterator[sql.Connection]:
        try:
            with (
                self._engine.connect().execution_options(**{_BEGIN: begin}) as connection,
                connection.begin(),
            ):
                yield connection
        except exc.SQLAlchemyError as e:
            raise self._mapped(e) from e

    def _mapped(self, error: exc.SQLAlchemyError) -> Exception:
        """The Fogline error of a database's; `error` itself where it is a programming mistake."""
        if isinstance(error, exc.TimeoutError):
            return Unavailable(f"catalogue {self._path}: no free connection; try again")
        if not isinstance(error, exc.DBAPIError):
            return error
        if isinstance(error, exc.IntegrityError):
            return Conflict(f"catalogue: {error.orig}")
        return _storage_error(self._path, error.orig) or error

    def _prepare(self) -> None:
        with self.transaction() as connection:
            _SCHEMA.create(connection, checkfirst=True)
            found = connection.execute(sql.select(_SCHEMA.c.version)).scalar()
            if found is None:
                connection.execute(sql.insert(_SCHEMA).values(id=1, version=SCHEMA_VERSION))
            elif found != SCHEMA_VERSION:
                raise Unsupported(
                    f"catalogue {self._path} has schema {found}, this build of Fogline reads "
                    f"schema {SCHEMA_VERSION}; use the build that wrote it, or a later one"
                )
            sql.METADATA.create_all(connection, checkfirst=True)


def _storage_error(path: Path, cause: object) -> FoglineError | None:
    name = getattr(cause, "sqlite_errorname", "") if isinstance(cause, sqlite3.Error) else ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Unavailable(f"catalogue {path}: another process holds it; try again")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Corrupt(f"catalogue {path} is damaged ({cause}); restore it from a backup")
    if name.startswith("SQLITE_FULL"):
        return Unavailable(f"catalogue {path}: the disk is full; free some space")
    if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")):
        return Unavailable(f"catalogue {path}: {cause}; check the disk and the folder's rights")
    return None


def _engine(path: Path, bounds: CatalogueBounds) -> sqlalchemy.Engine:
    engine = sqlalchemy.create_engine(
        sqlalchemy.URL.create("sqlite", database=str(path)),
        pool_size=bounds.connections,
        max_overflow=0,
        pool_timeout=bounds.busy_timeout_ms / 1000,
        connect_args={"timeout": bounds.busy_timeout_ms / 1000, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        # None: the driver starts no transaction by itself; `begin` below does.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options()[_BEGIN])

    return engine
