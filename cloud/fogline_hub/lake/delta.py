"""The only importer of deltalake: one Delta table, its commits, and what its errors mean here.

A plain append of delta-rs never conflicts: on a stale handle it moves to the newest version and
commits there. It also casts a value of another type without a word (0.5 becomes 0 in a column of
integers). Both are stopped here: `max_commit_retries=0` makes a commit the compare-and-swap that
the log offers (create version n + 1 or fail), and a column's type must be the table's.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from fogline.errors import Conflict, Corrupt, FoglineError, InvalidInput, NotFound, Unavailable

_FIRST_CHUNK = 64
"""How many commits are read from the log at first; twice as many at each further try."""

_TABLE_PROPERTIES = {
    # A commit's metadata is in its log entry alone, not in checkpoints, and says what was accepted:
    # no engine may clean entries up by age.
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
}
_MAX_ERROR_CHARS = 500
"""Of a library's error; Arrow's hold whole schemas."""
_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class DeltaLog:
    """A loaded table: its version, schema, commits, rows, and a compare-and-swap append."""

    def __init__(self, path: Path) -> None:
        """Loads the newest version.

        Raises:
            NotFound: there is no table.
            Unavailable: it cannot be read.
        """
        self._path = path
        with _mapped(f"lake table {path.name} cannot be loaded", Unavailable):
            try:
                self._table = DeltaTable(path)
            except TableNotFoundError as e:
                raise NotFound(f"no lake table {path.name} yet") from e

    @staticmethod
    def create(path: Path, schema: pa.Schema, partition: str, metadata: Mapping[str, str]) -> None:
        """Makes an empty table, unless there is one; of two at once, one wins and both return.

        Raises:
            Unavailable: the folder cannot be written.
        """
        with _mapped(f"lake table {path.name} cannot be made", Unavailable):
            if DeltaTable.is_deltatable(str(path)):
                return
            try:
                DeltaTable.create(
                    path,
                    schema,
                    mode="error",
                    partition_by=[partition],
                    configuration=_TABLE_PROPERTIES,
                    commit_properties=_commit(metadata),
                    post_commithook_properties=_NO_HOOKS,
                )
            except DeltaError:
                if not DeltaTable.is_deltatable(str(path)):
                    raise

    @property
    def version(self) -> int:
        return int(self._table.version())

    def schema(self) -> pa.Schema:
        return pa.schema(self._table.schema().to_arrow())

    def commits(self) -> Iterator[dict[str, Any]]:
        """Metadata of the commits, newest first, back to the oldest that the log still has.

        Raises:
            Unavailable: the log cannot be read.
        """
        seen, limit = 0, _FIRST_CHUNK
        while True:
            with _mapped(f"lake table {self._path.name}: its log cannot be read", Unavailable):
                entries = self._table.history(limit)
            yield from entries[seen:]
            if len(entries) < limit:
                return
            seen, limit = len(entries), limit * 2

    def append(self, rows: pa.Table, metadata: Mapping[str, str]) -> int:
        """Commits `rows` as the version after this handle's and returns it; new columns are added.

        Raises:
            InvalidInput: a column's type is not the table's.
            Conflict: there is such a version already; nothing was committed.
            Unavailable: the outcome is unknown: load the table to learn it.
        """
        check_types(rows.schema, self.schema(), self._path.name)
        with _mapped(f"lake table {self._path.name}: append failed", Unavailable):
            try:
                write_deltalake(
                    self._table,
                    rows,
                    mode="append",
                    schema_mode="merge",
                    commit_properties=_commit(metadata),
                    post_commithook_properties=_NO_HOOKS,
                )
            except CommitFailedError as e:
                text = f"lake table {self._path.name}: version {self.version + 1}: {e}"
                raise Conflict(text) from e
        return self.version

    def checkpoint(self) -> None:
        """Writes a checkpoint of this version, so that loading reads few log entries.

        Raises:
            Unavailable: it cannot be written; the table is none the worse.
        """
        with _mapped(f"lake table {self._path.name}: no checkpoint", Unavailable):
            self._table.create_checkpoint()

    def read(self, columns: list[str] | None, where: pc.Expression | None) -> pa.Table:
        """The rows of this version that match `where`.

        Raises:
            InvalidInput: the table has no such column.
            Corrupt: a file of the table is missing or not what was written.
        """
        unknown = sorted(set(columns or ()) - set(self.schema().names))
        if unknown:
            raise InvalidInput(f"lake table {self._path.name} has no column {', '.join(unknown)}")
        with _mapped(f"lake table {self._path.name} cannot be read", Corrupt):
            return self._table.to_pyarrow_table(columns=columns, filters=where)


def check_types(rows: pa.Schema, table: pa.Schema, name: str) -> None:
    """Raises InvalidInput when a column is in both with different types."""
    for field in rows:
        at = table.get_field_index(field.name)
        if at >= 0 and not field.type.equals(table.field(at).type):
            raise InvalidInput(
                f"lake table {name}: column {field.name} is {field.type} "
                f"and the table holds {table.field(at).type}"
            )


@contextmanager
def _mapped(what: str, kind: type[FoglineError]) -> Iterator[None]:
    """Raises what deltalake and pyarrow raise as `kind`.

    Broad, because delta-rs raises bare `Exception` for much of what its kernel refuses.
    """
    try:
        yield
    except FoglineError:
        raise
    except Exception as e:
        raise kind(f"{what}: {str(e)[:_MAX_ERROR_CHARS]}") from e


def _commit(metadata: Mapping[str, str]) -> CommitProperties:
    return CommitProperties(custom_metadata=dict(metadata), max_commit_retries=0)
