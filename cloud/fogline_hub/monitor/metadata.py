"""What is known of rows beside their values: weight, time, device and season."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fogline.errors import InvalidInput
from fogline_hub.monitor.frame import Frame
from fogline_hub.monitor.tables import codes_of, metadata_column, times_of, weights_of
from fogline_hub.monitor.units import UnitChoice
from fogline_hub.statistics.shares import Floats

_TABLES: Final = ("reference", "current table")


@dataclass(frozen=True, slots=True, eq=False)
class Metadata:
    """Of the reference, and of the current table; None where not given.

    Attributes:
        names: Columns that are therefore not compared.
        season: Length of the season in the unit of `time`; None: none.
    """

    names: tuple[str, ...]
    weights: tuple[Floats | None, Floats | None]
    time: tuple[Floats | None, Floats | None]
    device: tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]
    season: float | None


def read_metadata(
    frames: tuple[Frame, Frame],
    *,
    weights: str | ArrayLike | None,
    time: str | None,
    device: str | None,
    season: str | float | None,
    unit: UnitChoice,
) -> Metadata:
    """Reads it.

    Raises:
        InvalidInput: unknown columns, bad weights or times, or a choice that needs a column that
            was not given.
    """
    names = [n for n in (time, device, weights, season) if isinstance(n, str)]
    times: tuple[Floats | None, Floats | None] = (None, None)
    if time is not None:
        times = (_times(frames, time, 0), _times(frames, time, 1))
    codes: tuple[NDArray[np.int64] | None, NDArray[np.int64] | None] = (None, None)
    if device is not None:
        codes = codes_of(
            *(metadata_column(f, device, "device", t) for f, t in zip(frames, _TABLES, strict=True))
        )
    if unit == "device" and device is None:
        raise InvalidInput("unit 'device' needs the column that names devices")
    weighed = _weights(frames, weights)
    period: float | None = None
    if isinstance(season, str):
        times, weighed, period = _by_part(frames, season, times, weighed)
    elif season is not None:
        period = float(season)
        if not period > 0 or time is None:
            raise InvalidInput("a season's length must be positive, and needs the column of times")
    return Metadata(tuple(names), weighed, times, codes, period)


def _times(frames: tuple[Frame, Frame], name: str, side: int) -> Floats:
    table = _TABLES[side]
    return times_of(metadata_column(frames[side], name, "time", table), name, table)


def _weights(
    frames: tuple[Frame, Frame], weights: str | ArrayLike | None
) -> tuple[Floats | None, Floats | None]:
    if weights is None:
        return None, None
    if not isinstance(weights, str):
        return None, weights_of(weights, frames[1].rows, "current table")
    found: list[Floats | None] = []
    for frame, table in zip(frames, _TABLES, strict=True):
        column = frame.columns.get(weights)
        found.append(None if column is None else weights_of(column.values, frame.rows, table))
    if all(w is None for w in found):
        metadata_column(frames[1], weights, "weights", "current table")
    return found[0], found[1]


def _by_part(
    frames: tuple[Frame, Frame],
    name: str,
    times: tuple[Floats | None, Floats | None],
    weights: tuple[Floats | None, Floats | None],
) -> tuple[tuple[Floats | None, Floats | None], tuple[Floats | None, Floats | None], float | None]:
    """A season given by the names of its parts.

    With times, rows get the time "seasons so far, and which part", so that whole seasons are units.
    Without, the reference's rows are weighted so that parts are as frequent as they are now.
    """
    codes = codes_of(
        *(metadata_column(f, name, "season", t) for f, t in zip(frames, _TABLES, strict=True))
    )
    parts = int(max(c.max() for c in codes)) + 1
    if times[0] is None or times[1] is None:
        return times, (_matched(codes, parts, weights), weights[1]), None
    rank = _in_sequence(codes[0][np.argsort(times[0], kind="stable")], parts)
    counted = [
        _seasons_passed(rank[c], t) for c, t in zip(codes, (times[0], times[1]), strict=True)
    ]
    placed = [(n + (rank[c] + 0.5) / parts) for n, c in zip(counted, codes, strict=True)]
    return (placed[0], placed[1]), weights, 1.0


def _in_sequence(ordered: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    """Rank of each part by its first appearance; parts that never appear come last."""
    seen, first = np.unique(ordered, return_index=True)
    rank = np.full(parts, parts - 1, dtype=np.int64)
    rank[seen[np.argsort(first)]] = np.arange(len(seen))
    return rank


def _seasons_passed(rank: NDArray[np.int64], time: Floats) -> NDArray[np.int64]:
    """How often the parts began anew before each row."""
    order = np.argsort(time, kind="stable")
    passed = np.empty(len(rank), dtype=np.int64)
    passed[order] = np.cumsum(np.diff(rank[order], prepend=rank[order][:1]) < 0)
    return passed


def _matched(
    codes: tuple[NDArray[np.int64], NDArray[np.int64]],
    parts: int,
    weights: tuple[Floats | None, Floats | None],
) -> Floats:
    """Weights of the reference's rows that give its parts the current shares (post-stratification).

    Raises:
        InvalidInput: the two sides have no part in common.
    """
    own = [np.ones(len(c)) if w is None else w for c, w in zip(codes, weights, strict=True)]
    before, after = (np.bincount(c, w, minlength=parts) for c, w in zip(codes, own, strict=True))
    factor = np.divide(after, before, out=np.zeros(parts), where=before > 0)
    found: Floats = own[0] * factor[codes[0]]
    if not found.any():
        raise InvalidInput("reference and current table have no part of the season in common")
    scaled: Floats = found * (own[0].sum() / found.sum())
    return scaled
