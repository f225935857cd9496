"""The lake: a folder of Delta tables, each read by anyone and written by one fenced writer."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fogline.errors import Conflict, NotFound
from fogline.ids import IdSource, random_id
from fogline_hub.lake.delta import DeltaLog
from fogline_hub.lake.note import State, read_note, rebuild
from fogline_hub.lake.tables import is_table, sampled_model, schema_of
from fogline_hub.lake.writer import TableWriter

FULL_EVERY = 64
"""Default number of appends from one full note of accepted ranges to the next."""
_TAKEOVER_TRIES = 5


class LakeTable:
    """Reads one table; a table that nobody has written yet reads as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        return self._path.name

    def version(self) -> int | None:
        """The newest version; None when there is no table yet."""
        log = self._load()
        return None if log is None else log.version

    def schema(self) -> pa.Schema:
        log = self._load()
        return schema_of(self.name) if log is None else log.schema()

    def read(
        self, columns: Iterable[str] | None = None, where: pc.Expression | None = None
    ) -> pa.Table:
        """Rows of the newest version.

        Args:
            columns: Those to read, in this order; None for all.
            where: A pyarrow expression; files that cannot match it are not opened.

        Raises:
            InvalidInput: the table has no such column.
            Corrupt: a file of the table is missing or not what was written.
            Unavailable: the table cannot be loaded.
        """
        names = None if columns is None else list(columns)
        log = self._load()
        if log is None:
            empty = schema_of(self.name).empty_table()
            return (
                empty
                if names is None
                else empty.select([n for n in names if n in empty.schema.names])
            )
        return log.read(names, where)

    def accepted(self) -> State:
        """What the table's commits say that they accepted, rebuilt from the log.

        Raises:
            Corrupt: the log does not say it.
        """
        log = self._load()
        if log is None:
            return State()
        return rebuild((read_note(commit, self.name) for commit in log.commits()), self.name)

    def _load(self) -> DeltaLog | None:
        try:
            return DeltaLog(self._path)
        except NotFound:
            return None


class Lake:
    """All tables below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> tuple[str, ...]:
        """The tables that exist, sorted; a folder with another name is none of them."""
        if not self._root.is_dir():
            return ()
        folders = (p for p in self._root.iterdir() if (p / "_delta_log").is_dir())
        return tuple(sorted(p.name for p in folders if is_table(p.name)))

    def sampled_models(self) -> tuple[str, ...]:
        """The models of which there are samples, sorted."""
        models = (sampled_model(name) for name in self.names())
        return tuple(model for model in models if model is not None)

    def table(self, name: str) -> LakeTable:
        """A table to read.

        Raises:
            NotFound: the lake never has a table of that name.
        """
        schema_of(name)
        return LakeTable(self._root / name)

    def writer(
        self, name: str, *, full_every: int = FULL_EVERY, new_id: IdSource = random_id
    ) -> TableWriter:
        """Takes a table over for writing; errors as `TableWriter`, and `NotFound` as `table`."""
        schema_of(name)
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_TAKEOVER_TRIES - 1):
            with suppress(Conflict):  # the old worker may have committed in between
                return TableWriter(self._root / name, writer=new_id(), full_every=full_every)
        return TableWriter(self._root / name, writer=new_id(), full_every=full_every)
