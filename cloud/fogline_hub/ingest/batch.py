"""What one commit of one table will hold: rows of many messages, gathered column by column."""

from datetime import UTC, datetime, timedelta

import numpy as np
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
        self._constants: dict[str, list[object]] = {}
        self._lengths: list[int] = []
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
        for name, column in values.items():
            known = self._values.setdefault(name, [])
            known.extend([None] * (self.rows - len(known)))
            known.extend(column)
        constants = {**columns.constants, **_origin(message)}
        for name, value in constants.items():
            once = self._constants.setdefault(name, [])
            once.extend([None] * (len(self._lengths) - len(once)))
            once.append(value)
        self._lengths.append(columns.rows)
        self.rows += columns.rows

    def table(self) -> pa.Table:
        """All rows; columns that a message lacked are null in its rows."""
        if mixed := self._constants.keys() & self._values.keys():
            raise ValueError(f"columns {sorted(mixed)} are one value here and a list there")
        message_of_row = np.repeat(np.arange(len(self._lengths)), self._lengths)
        arrays: dict[str, pa.Array] = {}
        for name, once in self._constants.items():
            once.extend([None] * (len(self._lengths) - len(once)))
            arrays[name] = pa.array(once, self._types[name]).take(pa.array(message_of_row))
        for name, values in self._values.items():
            values.extend([None] * (self.rows - len(values)))
            arrays[name] = pa.array(values, self._types[name])
        schema = pa.schema([pa.field(name, self._types[name]) for name in arrays])
        return pa.Table.from_arrays(list(arrays.values()), schema=schema)

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


def _origin(message: Received) -> dict[str, object]:
    return {
        "device": message.source.device,
        "outbox_id": message.source.outbox_id,
        "seq": message.seq,
        "body_digest": message.body_digest,
        "received_at": _unix_us(message.received_at),
        PARTITION: message.received_at.date(),
    }


def _unix_us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _widen(values: list[object], kind: pa.DataType, wanted: pa.DataType, name: str) -> list[object]:
    """Integers for a column of floats, where floats hold them exactly."""
    if kind == pa.int64() and wanted == pa.float64():
        if all(isinstance(v, int) and abs(v) <= _EXACT for v in values):
            return values
        raise Corrupt(f"column {name} has integers that the table's floats would round")
    raise Corrupt(f"column {name} is {kind} and the table holds {wanted}; give it another name")
