"""Tables that users hand over, as named columns of numbers and categories.

Beside `files`, the only importer of pyarrow in this room. pandas and polars tables, pyarrow tables
and record batches, and mappings of arrays are taken; neither pandas nor polars need be installed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fogline.errors import InvalidInput
from fogline.summaries import category_text

ColumnKind = Literal["number", "category", "time", "empty", "other"]


@dataclass(frozen=True, slots=True, eq=False)
class FrameColumn:
    """One column.

    Attributes:
        kind: Numbers; categories (text, booleans); times; empty (all missing, of no type); other
            (lists, binary ...), which has no values.
        values: Numbers and times (in seconds): float64 [rows], missing NaN. Categories: object
            [rows] of str, missing None.
        single: Whether the numbers came in single precision.
    """

    kind: ColumnKind
    values: NDArray[Any]
    single: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Columns of equal length, and how many rows they have."""

    columns: Mapping[str, FrameColumn]
    rows: int


def read_frame(table: object, what: str) -> Frame:
    """Reads a pandas, polars or pyarrow table, or a mapping of columns.

    Raises:
        InvalidInput: none of these, no rows, or columns of different lengths or equal names.
    """
    arrow = _arrow(table, what)
    names = arrow.column_names
    if len(set(names)) != len(names):
        raise InvalidInput(f"{what}: two columns have the same name")
    if arrow.num_rows == 0:
        raise InvalidInput(f"{what}: the table has no rows")
    return Frame({n: _column(arrow.column(n)) for n in names}, arrow.num_rows)


def _arrow(table: Any, what: str) -> Any:
    try:
        if isinstance(table, pa.Table):
            return table
        if isinstance(table, pa.RecordBatch):
            return pa.Table.from_batches([table])
        if isinstance(table, Mapping):
            return pa.table({str(n): _array(c) for n, c in table.items()})
        if hasattr(table, "to_arrow"):  # polars
            return table.to_arrow()
        if hasattr(table, "iloc") and hasattr(table, "columns"):  # pandas
            if not table.columns.is_unique:
                raise InvalidInput(f"{what}: two columns have the same name")
            return pa.table({str(n): _array(table[n]) for n in table.columns})
    except pa.ArrowException as e:
        raise InvalidInput(f"{what}: {e}") from e
    raise InvalidInput(
        f"{what}: a {type(table).__name__} is no table; give a pandas, polars or pyarrow table"
    )


def _array(values: Any) -> Any:
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        # Mixed Python objects: compared as the text that they read as.
        return pa.array([category_text(v) for v in np.asarray(values, dtype=object)], pa.string())


def _column(chunked: Any) -> FrameColumn:
    kind = chunked.type
    if pa.types.is_dictionary(kind):
        chunked = chunked.cast(kind.value_type)
        kind = chunked.type
    if pa.types.is_null(kind):
        return FrameColumn("empty", np.full(len(chunked), np.nan))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        single = pa.types.is_float32(kind) or pa.types.is_float16(kind)
        return FrameColumn("number", _floats(chunked), single)
    if pa.types.is_boolean(kind):
        return FrameColumn("category", _texts(chunked))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or _is_view(kind):
        return FrameColumn("category", _texts(chunked))
    if pa.types.is_timestamp(kind):
        whole = chunked.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64())
        return FrameColumn("time", _floats(whole) / 1e6)
    if pa.types.is_date(kind):
        return FrameColumn("time", _floats(chunked.cast(pa.date32()).cast(pa.int32())) * 86_400.0)
    return FrameColumn("other", np.empty(0))


def _is_view(kind: Any) -> bool:
    return bool(getattr(pa.types, "is_string_view", lambda _: False)(kind))


def _floats(chunked: Any) -> NDArray[np.float64]:
    values = chunked.cast(pa.float64(), safe=False).to_numpy()
    found: NDArray[np.float64] = np.where(np.isfinite(values), values, np.nan)
    return found


def _texts(chunked: Any) -> NDArray[Any]:
    encoded = chunked.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    names = np.array(
        [*(category_text(v) for v in encoded.dictionary.to_pylist()), None], dtype=object
    )
    codes = encoded.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
    found: NDArray[Any] = names[codes]
    return found
