"""Tables in files: Parquet and CSV."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from fogline.errors import Corrupt, InvalidInput, NotFound, Unsupported

FORMATS = (".parquet", ".csv")
MAX_CSV_BYTES = 4 * 2**30
"""Longer CSV files are refused: they are read into memory as a whole."""


def read_table(path: Path) -> Any:
    """Reads one file as a pyarrow table.

    Raises:
        NotFound: there is no such file.
        Unsupported: neither Parquet nor CSV, or too long.
        InvalidInput: the file is empty.
        Corrupt: it is not what its name says.
    """
    if not path.exists():
        raise NotFound(f"{path}: no such file")
    if path.is_dir():
        kind = "a Delta table" if (path / "_delta_log").exists() else "a folder"
        raise Unsupported(f"{path}: {kind} is not read; give a Parquet or CSV file")
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise Unsupported(f"{path}: {suffix or 'no'} ending; files must end in {_endings()}")
    size = path.stat().st_size
    if size == 0:
        raise InvalidInput(f"{path}: the file is empty")
    if suffix == ".csv" and size > MAX_CSV_BYTES:
        raise Unsupported(f"{path}: {size} bytes of CSV, at most {MAX_CSV_BYTES}; use Parquet")
    try:
        if suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        return pyarrow.csv.read_csv(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
        what = "Parquet" if suffix == ".parquet" else "CSV"
        raise Corrupt(f"{path}: cannot be read as {what}: {e}") from e


def _endings() -> str:
    return " or ".join(FORMATS)
