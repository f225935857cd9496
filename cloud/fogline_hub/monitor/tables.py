"""Two tables made comparable: common columns of one kind, and what is to be said of the rest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fogline.errors import InvalidInput
from fogline_hub.monitor.frame import Frame, FrameColumn
from fogline_hub.monitor.report import QualityFinding
from fogline_hub.statistics.shares import Floats

ROW_INDEX = ("", "Unnamed: 0", "__index_level_0__")
"""Names under which tools write a table's row numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class ColumnPair:
    """One common column: both sides' values, numbers or categories on both."""

    name: str
    is_number: bool
    reference: NDArray[np.generic]
    current: NDArray[np.generic]


def pair_columns(
    reference: Frame, current: Frame, left_out: Iterable[str]
) -> tuple[list[ColumnPair], list[QualityFinding]]:
    """The columns to compare, in the reference's order.

    Raises:
        InvalidInput: there is none.
    """
    aside = set(left_out)
    pairs: list[ColumnPair] = []
    quality: list[QualityFinding] = []
    for name in (n for n in ROW_INDEX if n in reference.columns or n in current.columns):
        aside.add(name)
        quality.append(_finding(name, "not_compared", "a row index, not a measurement"))
    for name, before in reference.columns.items():
        if name in aside:
            continue
        after = current.columns.get(name)
        if after is None:
            quality.append(_finding(name, "missing_column", "only the reference has this column"))
            continue
        pair, finding = _pair(name, before, after)
        pairs += [pair] if pair else []
        quality += [finding] if finding else []
    for name in current.columns:
        if name not in reference.columns and name not in aside:
            quality.append(_finding(name, "new_column", "only the current table has this column"))
    if not pairs:
        raise InvalidInput(
            "the tables have no comparable column in common; the reference has "
            f"{_names(reference.columns)}, the current table {_names(current.columns)}"
        )
    return pairs, quality


def _names(columns: Mapping[str, FrameColumn]) -> str:
    shown = ", ".join(list(columns)[:8])
    return f"{shown} and {len(columns) - 8} more" if len(columns) > 8 else shown or "none"


def _finding(column: str, finding: str, detail: str) -> QualityFinding:
    return QualityFinding(column=column, finding=finding, detail=detail)


def _pair(
    name: str, before: FrameColumn, after: FrameColumn
) -> tuple[ColumnPair | None, QualityFinding | None]:
    kinds = {before.kind, after.kind} - {"empty"}
    if len(kinds) == 2:
        detail = f"{before.kind} in the reference, {after.kind} now; not compared"
        return None, _finding(name, "type_changed", detail)
    kind = kinds.pop() if kinds else "empty"
    if kind not in ("number", "category"):
        return None, _finding(name, "not_compared", f"values of kind {kind!r} are not compared")
    is_number = kind == "number"
    single = is_number and (before.single or after.single)
    sides = [_values(c, is_number=is_number, single=single) for c in (before, after)]
    pair = ColumnPair(name, is_number, sides[0], sides[1])
    gone = [bool(np.all(missing(v, is_number=is_number))) for v in sides]
    if gone[0] != gone[1]:
        where = "reference" if gone[0] else "current table"
        return pair, _finding(name, "all_missing", f"the {where} has no value in this column")
    return pair, None


def _values(column: FrameColumn, *, is_number: bool, single: bool) -> NDArray[np.generic]:
    if column.kind == "empty" and not is_number:
        return np.full(len(column.values), None, dtype=object)
    if single:
        # 0.1 in double and in single precision are two numbers: compare in the coarser one.
        with np.errstate(over="ignore"):
            return column.values.astype(np.float32).astype(np.float64)
    return column.values


def missing(values: NDArray[np.generic], *, is_number: bool) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (
        ~np.isfinite(values.astype(np.float64))
        if is_number
        else np.array([v is None for v in values.tolist()], dtype=bool)
    )
    return found


def metadata_column(frame: Frame, name: str, what: str, table: str) -> FrameColumn:
    """A column that says something about rows instead of being compared.

    Raises:
        InvalidInput: there is none of that name.
    """
    if name not in frame.columns:
        raise InvalidInput(
            f"{table}: no column {name!r} for {what}; there are {_names(frame.columns)}"
        )
    return frame.columns[name]


def times_of(column: FrameColumn, name: str, table: str) -> Floats:
    """Times [rows] as numbers: seconds of timestamps, numbers as they are.

    Raises:
        InvalidInput: texts that are no ISO 8601 times, or a missing time.
    """
    if column.kind == "category":
        try:
            parsed = np.array(column.values.tolist(), dtype="datetime64[us]")
        except (ValueError, TypeError) as e:
            raise InvalidInput(f"{table}: column {name!r} holds no times: {e}") from e
        found = parsed.astype(np.int64) / 1e6
        found[np.isnat(parsed)] = np.nan
    elif column.kind in ("number", "time"):
        found = column.values
    else:
        raise InvalidInput(f"{table}: column {name!r} holds no times")
    if not np.isfinite(found).all():
        raise InvalidInput(f"{table}: {int((~np.isfinite(found)).sum())} rows have no {name!r}")
    return found


def weights_of(values: ArrayLike, rows: int, what: str) -> Floats:
    """Sampling weights [rows], 1 / inclusion probability.

    Raises:
        InvalidInput: another number of them, a negative or missing one, or none above zero.
    """
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as e:
        raise InvalidInput(f"{what}: weights must be numbers") from e
    if found.shape != (rows,):
        raise InvalidInput(f"{what}: weights of shape {found.shape} for {rows} rows")
    if not np.isfinite(found).all() or (found < 0).any():
        raise InvalidInput(f"{what}: weights must be finite and not negative")
    if not found.any():
        raise InvalidInput(f"{what}: all weights are zero")
    return found


def codes_of(
    first: FrameColumn, second: FrameColumn
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One numbering for the values of both sides; a missing value is a value of its own."""
    texts = [[str(v) for v in c.values.tolist()] for c in (first, second)]
    names = {n: i for i, n in enumerate(sorted({*texts[0], *texts[1]}))}
    a, b = (np.array([names[t] for t in side], dtype=np.int64) for side in texts)
    return a, b
