"""Rows that a sample lacks and a conversion stumbles over, made from the sample.

Each probe is a frame of whole rows: real rows with something changed, so that everything else about
them stays likely. Pure but for `boundaries`, which asks the original model where it jumps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fogline_hub.convert.frame import Column, Frame, is_text, rows_of, take

PROBE_ROWS = 64
"""Rows of each probe."""
LENGTH_ROWS = 4
"""Rows asked at each other length."""
UNSEEN = "never seen before \N{SNOWMAN}"

Ask = Callable[[Frame], NDArray[np.float64]]
"""The original's numbers, float64 [rows, k], for a frame."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Rows, and whether the original may refuse them as invalid."""

    rows: Frame
    may_refuse: bool = False


def static_probes(sample: Frame, rng: np.random.Generator) -> dict[str, Probe]:
    """The probes that need no model: missing values, unseen categories, extremes."""
    probes = {"extremes": Probe(_extremes(sample, rng), may_refuse=True)}
    numbers = _float_names(sample)
    texts = [n for n, c in sample.items() if is_text(c)]
    if numbers:
        holed = _chosen(sample, rng)
        for row in range(rows_of(holed)):
            _set(holed[numbers[row % len(numbers)]], row, np.nan, rng)
        probes["missing_numbers"] = Probe(holed, may_refuse=True)
    for name, value in (("missing_texts", ""), ("unseen_categories", UNSEEN)):
        if texts:
            changed = _chosen(sample, rng)
            for row in range(rows_of(changed)):
                _set(changed[texts[row % len(texts)]], row, value, rng)
            probes[name] = Probe(changed, may_refuse=True)
    return probes


def boundaries(
    sample: Frame, ask: Ask, rng: np.random.Generator, dtype: np.dtype[np.floating[Any]]
) -> Frame | None:
    """Pairs of rows that are one ulp apart in one column, at the places where the model jumps most.

    A pair starts as a real row and the same row with one column taken from another; bisection over
    the representable numbers between the two keeps the half over which the answer changes more, so
    it ends at a tree's threshold if there is one, without a look inside the model.

    Args:
        sample: Real rows.
        ask: The original.
        rng: Chooses rows and columns.
        dtype: The numbers that the converted model can be given: float32 or float64.

    Returns:
        Up to `PROBE_ROWS` rows; None when no two rows get different answers.
    """
    numbers = [n for n in _float_names(sample) if sample[n].ndim == 1]
    if not numbers:
        return None
    count = PROBE_ROWS // 2
    base = take(sample, rng.integers(0, rows_of(sample), 4 * count))
    other = take(sample, rng.integers(0, rows_of(sample), 4 * count))
    column = rng.integers(0, len(numbers), 4 * count)
    low = _ordinal(_picked(base, numbers, column), dtype)
    high = _ordinal(_picked(other, numbers, column), dtype)
    at_low = ask(_with(base, numbers, column, _number(low, dtype)))
    at_high = ask(_with(base, numbers, column, _number(high, dtype)))
    change = np.abs(at_low - at_high).max(axis=1)
    keep = np.argsort(-change, kind="stable")[:count]
    keep = keep[change[keep] > 0]
    if len(keep) == 0:
        return None
    base, column = take(base, keep), column[keep]
    low, high, at_low, at_high = low[keep], high[keep], at_low[keep], at_high[keep]
    while True:
        middle = (low >> 1) + (high >> 1) + (low & high & 1)  # their mean, without an overflow
        is_open = (middle != low) & (middle != high)
        if not is_open.any():
            break
        at_middle = ask(_with(base, numbers, column, _number(middle, dtype)))
        left = np.abs(at_middle - at_low).max(axis=1) >= np.abs(at_high - at_middle).max(axis=1)
        high, at_high = _choose(is_open & left, middle, high, at_middle, at_high)
        low, at_low = _choose(is_open & ~left, middle, low, at_middle, at_low)
    sides = [_with(base, numbers, column, _number(side, dtype)) for side in (low, high)]
    return {name: np.concatenate([side[name] for side in sides]) for name in sample}


def other_lengths(sample: Frame, axes: Sequence[tuple[str, int]]) -> dict[int, Frame]:
    """The sample's first rows, cut and repeated to other lengths along axes that are one length.

    Exporters of traced models bake in the example's length; at that length nobody sees it.

    Args:
        sample: Real rows.
        axes: (name, axis) of tensors whose lengths are equal and free.

    Returns:
        Length -> rows: 1, about half, one more, and about twice the sample's.
    """
    rows = take(sample, slice(0, LENGTH_ROWS))
    length = max(rows[name].shape[axis] for name, axis in axes)
    if not min(rows[name].shape[axis] for name, axis in axes):
        return {}
    made: dict[int, Frame] = {}
    for wanted in sorted({1, -(-length // 2), length + 1, 2 * length + 3} - {length}):
        changed = rows
        for name, axis in axes:  # an input may have two such axes
            picked = np.arange(wanted) % changed[name].shape[axis]
            changed = changed | {name: np.take(changed[name], picked, axis=axis)}
        made[wanted] = changed
    return made


def _extremes(sample: Frame, rng: np.random.Generator) -> Frame:
    """Ten ranges below and above what each column holds, and zero, one column a row."""
    numbers = _float_names(sample)
    changed = _chosen(sample, rng)
    for row in range(rows_of(changed)):
        if not numbers:
            break
        name = numbers[row % len(numbers)]
        finite = sample[name][np.isfinite(sample[name])].astype(np.float64)
        low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
        reach = 10 * max(high - low, 1.0)
        _set(changed[name], row, (low - reach, high + reach, 0.0)[row // len(numbers) % 3], rng)
    return changed


def _set(column: Column, row: int, value: object, rng: np.random.Generator) -> None:
    """Sets a row of a column; of a whole tensor one element of the row."""
    if column.ndim == 1:
        column[row] = value
    elif column[row].size:
        column[row].reshape(-1)[rng.integers(0, column[row].size)] = value


def _float_names(frame: Frame) -> list[str]:
    """Columns that can hold any number; integers are served as such and have none between them."""
    return [n for n, c in frame.items() if c.dtype.kind == "f"]


def _chosen(sample: Frame, rng: np.random.Generator) -> dict[str, Column]:
    return take(sample, rng.integers(0, rows_of(sample), PROBE_ROWS))


def _picked(frame: Frame, names: list[str], which: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.stack([frame[n] for n in names])[which, np.arange(len(which))].astype(np.float64)


def _with(
    frame: Frame, names: list[str], which: NDArray[np.int64], values: NDArray[np.float64]
) -> dict[str, Column]:
    changed = {n: c.copy() for n, c in frame.items()}
    for i, name in enumerate(names):
        changed[name][which == i] = values[which == i]
    return changed


def _choose(
    where: NDArray[np.bool_],
    new: NDArray[np.int64],
    old: NDArray[np.int64],
    at_new: NDArray[np.float64],
    at_old: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return np.where(where, new, old), np.where(where[:, None], at_new, at_old)


def _ordinal(values: NDArray[np.float64], dtype: np.dtype[np.floating[Any]]) -> NDArray[np.int64]:
    """Numbers as integers in the same order, neighbours one apart; NaN as 0.

    The bits of an IEEE 754 number order as its magnitude does; negative ones are mirrored.
    """
    bits = np.nan_to_num(values, nan=0.0).astype(dtype).view(f"i{dtype.itemsize}").astype(np.int64)
    lowest = -(2 ** (8 * dtype.itemsize - 1))
    return np.where(bits < 0, lowest - bits, bits)


def _number(ordinal: NDArray[np.int64], dtype: np.dtype[np.floating[Any]]) -> NDArray[np.float64]:
    lowest = -(2 ** (8 * dtype.itemsize - 1))
    bits = np.where(ordinal < 0, lowest - ordinal, ordinal).astype(f"i{dtype.itemsize}")
    return bits.view(dtype).astype(np.float64)
