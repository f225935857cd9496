"""What one commit of one table will hold: rows of many messages, gathered column by column."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from fogline.errors import Corrupt
from fogline_hub.ingest.received import Received
from fogline_hub.ingest.rows import Columns
from fogline_hub.lake import State
from fogline_hub.lake.tables import PARTITION

_EXACT = 2**53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Batch:
    """Rows on their way into one table.

    Args:
        schema: The table's columns and types.
        max_columns: Columns that the table may have.
    """

    def __init__(self, schema: pa.Schema, *, max_columns: int) -> None:
        self._types: dict[str, pa.DataType] = {f.name: f.type for f in schema}
        self._folded = {name.casefold(): name for name in self._types}
        self._max_columns = max_columns
        self._values: dict[str, list[object]] = {}
        self.rows = 0
        self.added = State()

    def add(self, message: Received, columns: Columns) -> None:
        """Takes all rows of a message, or none.

        Raises:
            Corrupt: a column does not fit the table.
        """
        values = self._fitted(columns)
        self._types.update({n: t for n, t in columns.types.items() if n not in self._types})
        self._folded.update({name.casefold(): name for name in columns.types})
        values.update(
            device=[message.source.device] * columns.rows,
            outbox_id=[message.source.outbox_id] * columns.rows,
            seq=[message.seq] * columns.rows,
            body_digest=[message.body_digest] * columns.rows,
            received_at=[_unix_us(message.received_at)] * columns.rows,
        )
        values[PARTITION] = [message.received_at.date()] * columns.rows
        for name, column in values.items():
            known = self._values.setdefault(name, [])
            known.extend([None] * (self.rows - len(known)))
            known.extend(column)
        self.rows += columns.rows

    def table(self) -> pa.Table:
        """All rows; columns that a message lacked are null in its rows."""
        arrays, fields = [], []
        for name, values in self._values.items():
            values.extend([None] * (self.rows - len(values)))
            fields.append(pa.field(name, self._types[name]))
            arrays.append(pa.array(values, self._types[name]))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _fitted(self, columns: Columns) -> dict[str, list[object]]:
        """The message's values in the table's types."""
        values = dict(columns.values)
        new: dict[str, str] = {}
        for name, kind in columns.types.items():
            folded = name.casefold()
            at = self._folded.get(folded) or new.get(folded)
            if at is None:
                new[folded] = name
            elif at != name:  # Delta's names are the same in any case
                raise Corrupt(f"column {name} differs from column {at} in the case of letters only")
            elif self._types[name] != kind:
                values[name] = _widen(values[name], kind, self._types[name], name)
        if len(self._types) + len(new) > self._max_columns:
            raise Corrupt(
                f"{len(new)} more columns would make {len(self._types) + len(new)} in the table, "
                f"at most {self._max_columns} are kept"
            )
        return values


def _unix_us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _widen(values: list[object], kind: pa.DataType, wanted: pa.DataType, name: str) -> list[object]:
    """Integers for a column of floats, where floats hold them exactly."""
    if kind == pa.int64() and wanted == pa.float64():
        if all(isinstance(v, int) and abs(v) <= _EXACT for v in values):
            return values
        raise Corrupt(f"column {name} has integers that the table's floats would round")
    raise Corrupt(f"column {name} is {kind} and the table holds {wanted}; give it another name")
