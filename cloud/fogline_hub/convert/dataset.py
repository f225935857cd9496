"""Tables that users hand over: named columns of numbers, texts and booleans.

The sole importer of pyarrow in this room. Files are read in a limited child; what is kept is
bounded in rows, taken evenly over the file so that a sample sorted by time keeps its span.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from fogline.errors import Corrupt, Exhausted, InvalidInput, NotFound, Unsupported
from fogline.records import Record

Column = NDArray[Any]

FORMATS = (".parquet", ".csv", ".npz")


class DatasetLimits(Record, frozen=True, kw_only=True):
    """Bounds of one table."""

    max_file_bytes: Annotated[int, Meta(ge=1)] = 2**30
    """Longer files are refused."""
    max_rows: Annotated[int, Meta(ge=1)] = 20_000
    """Rows kept; of a longer table every n-th."""
    max_columns: Annotated[int, Meta(ge=1)] = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Columns of equal length.

    Attributes:
        columns: Name -> float64, float32, int64, bool or object (of str) [rows]. A missing number
            is NaN, a missing text the empty string.
        skipped: Names of columns of other types (dates, lists ...), which are not read.
        total_rows: Rows of the file, of which `rows` were kept.
        sha256: Digest of the file.
        name: The file's name, for errors and lineage.
        tensors: Name -> whole array [rows, ...] of an npz file with two dimensions or more, of the
            same types; one of two dimensions is also columns `name[i]`.
    """

    columns: Mapping[str, Column]
    skipped: tuple[str, ...]
    total_rows: int
    sha256: str
    name: str
    tensors: Mapping[str, Column] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def rows(self) -> int:
        return next((len(c) for held in (self.columns, self.tensors) for c in held.values()), 0)

    def column(self, name: str) -> Column:
        """One column.

        Raises:
            InvalidInput: there is none of that name, or it is of a type that is not read.
        """
        if name in self.columns:
            return self.columns[name]
        if name in self.skipped:
            raise InvalidInput(
                f"{self.name}: column {name!r} is neither numbers, text nor booleans; "
                "convert it to one of them before"
            )
        there = tuple(self.columns) or tuple(self.tensors)
        raise InvalidInput(f"{self.name}: no column {name!r}; there are {shown_names(there)}")

    def features(self, target: str | None) -> dict[str, Column]:
        """All columns but the target.

        Raises:
            InvalidInput: there is no such target.
        """
        if target is not None:
            self.column(target)
        return {n: c for n, c in self.columns.items() if n != target}


def shown_names(names: tuple[str, ...], limit: int = 12) -> str:
    """At most `limit` quoted names, and how many more there are."""
    listed = ", ".join(repr(n) for n in names[:limit])
    return listed + (f" and {len(names) - limit} more" if len(names) > limit else "") or "none"


def read_dataset(path: Path, limits: DatasetLimits | None = None) -> Dataset:
    """Reads a table.

    Raises:
        NotFound: there is no such file.
        Unsupported: the name ends in none of `FORMATS`.
        Corrupt: the file is not what its name says.
        Exhausted: it is longer or wider than the bounds.
        InvalidInput: it has no rows, no usable column, or two columns of one name.
    """
    bounds = limits or DatasetLimits()
    if not path.is_file():
        raise NotFound(f"{path}: no such file")
    if path.suffix not in FORMATS:
        raise Unsupported(f"{path.name}: data is read from {', '.join(FORMATS)}")
    size = path.stat().st_size
    if size > bounds.max_file_bytes:
        raise Exhausted(f"{path.name}: {size} bytes, at most {bounds.max_file_bytes} are read")
    tensors: dict[str, Column] = {}
    if path.suffix == ".npz":
        columns, skipped, tensors = _read_npz(path, bounds.max_columns)
    else:
        columns, skipped = _read_arrow(path)
    lengths = {len(c) for c in (*columns.values(), *tensors.values())}
    if not lengths:
        raise InvalidInput(f"{path.name}: no column of numbers, text or booleans")
    if len(lengths) > 1:
        raise InvalidInput(f"{path.name}: columns of different lengths: {sorted(lengths)}")
    if len(columns) > bounds.max_columns:
        raise Exhausted(f"{path.name}: {len(columns)} columns, at most {bounds.max_columns}")
    total = lengths.pop()
    if total == 0:
        raise InvalidInput(f"{path.name}: holds no rows")
    step = -(-total // bounds.max_rows)
    return Dataset(
        columns={n: np.ascontiguousarray(c[::step]) for n, c in columns.items()},
        tensors={n: np.ascontiguousarray(c[::step]) for n, c in tensors.items()},
        skipped=skipped,
        total_rows=total,
        sha256=file_digest(path),
        name=path.name,
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; of a folder, of its files' names and digests."""
    if path.is_dir():
        whole = hashlib.sha256()
        for part in _files(path):
            whole.update(f"{part.relative_to(path).as_posix()}\0{file_digest(part)}\n".encode())
        return whole.hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_bytes(path: Path) -> int:
    """Length of a file, or of all files of a folder."""
    return sum(f.stat().st_size for f in (_files(path) if path.is_dir() else [path]))


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.is_file())


def write_parquet(path: Path, columns: Mapping[str, Column]) -> None:
    """Writes columns as one Parquet file, with the same bytes for the same columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({n: pa.array(c) for n, c in columns.items()}), path, compression="zstd")


def _read_arrow(path: Path) -> tuple[dict[str, Column], tuple[str, ...]]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        read = pa.csv.read_csv if path.suffix == ".csv" else pa.parquet.read_table
        table = read(path)
    except (pa.ArrowException, OSError) as e:
        raise Corrupt(f"{path.name}: not a readable {path.suffix[1:]} file: {e}") from e
    if len(set(table.column_names)) != len(table.column_names):
        raise InvalidInput(f"{path.name}: a column name stands twice")
    columns = {n: _from_arrow(c) for n, c in zip(table.column_names, table.columns, strict=True)}
    skipped = tuple(n for n, c in columns.items() if c is None)
    return {n: c for n, c in columns.items() if c is not None}, skipped


def _from_arrow(chunked: Any) -> Column | None:
    import pyarrow as pa

    kind = chunked.type
    if pa.types.is_dictionary(kind):
        chunked = chunked.cast(kind.value_type)
        kind = chunked.type
    if pa.types.is_boolean(kind) and chunked.null_count == 0:
        return np.asarray(chunked.to_numpy(), dtype=np.bool_)
    if pa.types.is_integer(kind) and chunked.null_count == 0:
        return np.asarray(chunked.to_numpy()).astype(np.int64)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        wanted = np.float32 if kind == pa.float32() else np.float64
        return np.asarray(chunked.cast(pa.float64()).to_numpy(), dtype=wanted)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        texts = np.empty(len(chunked), dtype=np.object_)
        texts[:] = [v or "" for v in chunked.to_pylist()]
        return texts
    return None


def _read_npz(
    path: Path, max_columns: int
) -> tuple[dict[str, Column], tuple[str, ...], dict[str, Column]]:
    """Columns, names that are skipped, and tensors; those wider than `max_columns` stay whole."""
    columns: dict[str, Column] = {}
    tensors: dict[str, Column] = {}
    skipped: list[str] = []
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                taken = _from_numpy(arrays[name])
                if taken is None:
                    skipped.append(name)
                    continue
                if taken.ndim > 1:
                    tensors[name] = taken
                for column, values in _split_matrix(name, taken, max_columns):
                    if column in columns:
                        raise InvalidInput(f"{path.name}: column {column!r} stands twice")
                    columns[column] = values
    except (ValueError, OSError, EOFError) as e:
        raise Corrupt(f"{path.name}: not a readable npz file without pickles: {e}") from e
    except Exception as e:  # zipfile and zlib raise kinds of their own on bad archives
        if isinstance(e, InvalidInput):
            raise
        raise Corrupt(f"{path.name}: not a readable npz file: {e}") from e
    return columns, tuple(skipped), tensors


def _split_matrix(name: str, array: Column, max_columns: int) -> list[tuple[str, Column]]:
    if array.ndim == 1:
        return [(name, array)]
    if array.ndim > 2 or array.shape[1] > max_columns:
        return []
    return [(f"{name}[{i}]", array[:, i]) for i in range(array.shape[1])]


def _from_numpy(values: Column) -> Column | None:
    if values.ndim == 0:
        return None
    match values.dtype.kind:
        case "b":
            return values
        case "i" | "u":
            return values.astype(np.int64)
        case "f":
            return values.astype(np.float32 if values.dtype.itemsize <= 4 else np.float64)
        case "U":
            return values.astype(np.object_)
        case _:
            return None
