"""What may be counted as independent: rows, blocks of rows, devices or whole seasons.

Chosen from how much rows resemble their neighbours in time and within devices, and printed with
every verdict: rows that resemble each other, counted as if they did not, are the commonest cause of
false alarms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fogline_hub.statistics.dependence import (
    autocorrelation_time,
    block_rows,
    intraclass_correlation,
    resembles_neighbours,
)
from fogline_hub.statistics.permutation import Relabelling
from fogline_hub.statistics.shares import Floats

Unit = Literal["row", "block", "device", "season"]
UnitChoice = Literal["auto", "row", "block", "device"]

MANY_BLOCKS: Final = 30
"""With so many blocks on the smaller side, blocks cost nothing and are taken without proof."""
FILE_ORDER_LEVEL: Final = 1e-3
"""How sure it must be that rows resemble their neighbours, where nobody said they are in order."""
TIMES: Final = 10.0
"""Autocorrelation times of a block, at least."""
ENOUGH_BLOCKS: Final = 12
"""While a side has so many blocks, they are up to twice as long: a block's end still resembles the
next one's beginning, which makes the test of a contiguous window a little too keen."""
LOOKED_ROWS: Final = 20_000
"""Rows of a side in which likeness is looked for."""
MAX_UNITS: Final = 300
"""Units of one side; more are joined to longer ones, which is as valid."""
PHASE_BINS: Final = 20
COVERED: Final = 0.9
"""Share of the current window's phase bins that a reference season must hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What is known of one side's rows.

    Attributes:
        rows: How many there are.
        series: Given rows, int64 [n], numbers float64 [n, k] in which they may resemble each other.
        time: float64 [rows], any unit; None where not given.
        device: int64 [rows], codes shared by both sides; None where not given.
    """

    rows: int
    series: Callable[[NDArray[np.int64]], Floats]
    time: Floats | None
    device: NDArray[np.int64] | None

    def order(self) -> NDArray[np.int64]:
        """Rows in order of device and time; in file order where neither is known."""
        keys = [k for k in (self.time, self.device) if k is not None]
        return np.lexsort(keys) if keys else np.arange(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class UnitPlan:
    """The units of both sides.

    Attributes:
        unit: What they are.
        reference: int64 [rows], each row's unit, -1 for rows left out; None: each row is one.
        current: The same, numbered on from the reference's.
        counts: Units of the reference, and of the current side.
        relabelling: Who may be exchanged; None for rows.
        why: One sentence for people.
    """

    unit: Unit
    reference: NDArray[np.int64] | None
    current: NDArray[np.int64] | None
    counts: tuple[int, int]
    relabelling: Relabelling | None
    why: str


def choose_units(
    reference: Side, current: Side, *, choice: UnitChoice, season: float | None
) -> UnitPlan:
    """Chooses the units, by the columns that were given and by what the rows show."""
    if choice == "row":
        return _rows(reference, current, "rows, as asked for")
    if season is not None:
        return _seasons(reference, current, season)
    if choice == "device":
        return _devices(reference, current)
    if choice == "auto" and _has_devices(reference) and _has_devices(current):
        return _devices(reference, current)
    return _blocks(reference, current, forced=choice == "block")


def _rows(reference: Side, current: Side, why: str) -> UnitPlan:
    return UnitPlan("row", None, None, (reference.rows, current.rows), None, why)


def _has_devices(side: Side) -> bool:
    return side.device is not None and len(np.unique(side.device)) > 1


def _devices(reference: Side, current: Side) -> UnitPlan:
    assert reference.device is not None
    assert current.device is not None
    first, places = np.unique(reference.device, return_inverse=True)
    second, others = np.unique(current.device, return_inverse=True)
    partner = np.full(len(first) + len(second), -1)
    _, at, also = np.intersect1d(first, second, return_indices=True)
    partner[at], partner[len(first) + also] = len(first) + also, at
    looked = np.arange(reference.rows)[:: -(-reference.rows // LOOKED_ROWS)]
    likeness = max(
        (intraclass_correlation(s, places[looked]).value for s in reference.series(looked).T),
        default=0.0,
    )
    paired = f", {len(at)} of them on both sides" if len(at) else ""
    return UnitPlan(
        "device",
        places.astype(np.int64),
        others.astype(np.int64) + len(first),
        (len(first), len(second)),
        Relabelling(_sides(len(first), len(second)), partner),
        f"devices{paired}; likeness of a device's rows (ICC) up to {likeness:.2f}",
    )


def _sides(reference: int, current: int) -> NDArray[np.bool_]:
    return np.arange(reference + current) >= reference


def _blocks(reference: Side, current: Side, *, forced: bool) -> UnitPlan:
    timed = reference.time is not None and current.time is not None
    sides = [(side, side.order()) for side in (reference, current)]
    ordered = [side.series(_middle(order)) for side, order in sides]
    p = _likeness_p_value(ordered)
    given = "time" if timed else "file order"
    if not forced and not timed and p > FILE_ORDER_LEVEL:
        return _rows(reference, current, "rows; neighbours in the file are not alike")
    tau = _longest_time(ordered)
    smallest = min(reference.rows, current.rows)
    length = max(block_rows(tau, TIMES), min(block_rows(tau, 2 * TIMES), smallest // ENOUGH_BLOCKS))
    if not forced and p > 0.05 and smallest < MANY_BLOCKS * length:
        return _rows(reference, current, "rows; neighbours in time are not alike")
    first = _cut(sides[0][1], length)
    second = _cut(sides[1][1], length)
    counts = (int(first.max(initial=-1)) + 1, int(second.max(initial=-1)) + 1)
    second = np.where(second >= 0, second + counts[0], -1)
    return UnitPlan(
        "block",
        first,
        second,
        counts,
        Relabelling.free(_sides(*counts)),
        f"blocks of {max(length, -(-smallest // MAX_UNITS))} or more rows in {given}; "
        f"a row resembles its neighbours over {tau:.1f} rows",
    )


def _middle(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most `LOOKED_ROWS` rows that follow each other."""
    start = max(0, (len(order) - LOOKED_ROWS) // 2)
    return order[start : start + LOOKED_ROWS]


def _likeness_p_value(ordered: Sequence[Floats]) -> float:
    """Family-wise p-value of "no column resembles its neighbours on either side"."""
    found = [resembles_neighbours(column) for table in ordered for column in table.T]
    return min(1.0, len(found) * min(found, default=1.0))


def _longest_time(ordered: Sequence[Floats]) -> float:
    """The longest autocorrelation time of a column, each the mean of both sides by rows."""
    rows = sum(len(t) for t in ordered)
    times = [
        sum(len(t) / rows * autocorrelation_time(t[:, j]).rows for t in ordered)
        for j in range(ordered[0].shape[1])
    ]
    return max(times, default=1.0)


def _cut(order: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Block of each row; what is left over joins the last one."""
    rows = len(order)
    count = min(MAX_UNITS, rows // length)
    found = np.full(rows, -1, dtype=np.int64)
    if count:
        found[order] = np.minimum(np.arange(rows) * count // rows, count - 1)
    return found


def _seasons(reference: Side, current: Side, season: float) -> UnitPlan:
    """Whole seasons, or that part of each in which the current window lies."""
    assert reference.time is not None
    assert current.time is not None
    # A little earlier, so that rounding never puts the first row behind the last one.
    start = float(np.nanmin(current.time)) - 1e-6 * season
    occupied = np.unique(_bins(current.time, start, season))
    first = _like_seasons(reference.time, start, season, occupied)
    second = _like_seasons(current.time, start, season, occupied)
    counts = (int(first.max(initial=-1)) + 1, int(second.max(initial=-1)) + 1)
    part = "whole seasons"
    if len(occupied) < COVERED * PHASE_BINS:
        part = f"the same {len(occupied) / PHASE_BINS:.0%} of each season"
    return UnitPlan(
        "season",
        first,
        np.where(second >= 0, second + counts[0], -1),
        counts,
        Relabelling.free(_sides(*counts)),
        f"{part}, by time",
    )


def _like_seasons(
    time: Floats, start: float, season: float, occupied: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Number of each row's season, -1 where the season lacks part of what is occupied now."""
    passed = np.floor((time - start) / season)
    bins = _bins(time, start, season)
    like = np.isin(bins, occupied)
    found = np.full(len(time), -1, dtype=np.int64)
    count = 0
    for number in np.unique(passed[like]):
        members = like & (passed == number)
        if len(np.unique(bins[members])) >= COVERED * len(occupied):
            found[members] = count
            count += 1
    return found


def _bins(time: Floats, start: float, season: float) -> NDArray[np.int64]:
    share = ((time - start) / season) % 1.0
    share = np.where(np.isfinite(share), share, 0.0)
    return np.minimum((share * PHASE_BINS).astype(np.int64), PHASE_BINS - 1)
