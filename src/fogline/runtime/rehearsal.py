"""Different rows to try a model with: out of golden cases, or made up from what it declares.

Identical rows hide that rows mix: a scale over a batch of equal rows is the scale of each.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fogline.bundle import GoldenCase
from fogline.schema import Field
from fogline.tensors import DATATYPES, Array

if TYPE_CHECKING:
    from numpy.random import Generator

MAX_BYTES = 32 * 2**20
"""What all rows together may take; larger rows are fewer, and stand in a stack more than once."""
MIN_ROWS = 4
FEW_ROWS = 8
"""Rows of a form beside the first."""
MAX_FORMS = 3
_FREE_SIZES = (32, 1)
"""What a free dimension beside the batch is tried with: images want multiples of 32."""
_OTHER_SIZES = (1, 64)
"""... and then also, because a kernel is chosen by the sizes."""
_WORDS = ("a", "b", "red", "0", "1", "2.5", "the quick fox", "")
_TEXT_BYTES = 64
"""What an element of BYTES counts as."""

Source = Literal["none", "golden", "made up"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one form: equal trailing dimensions. Or one request that holds no batch."""

    arrays: Mapping[str, Array]
    """Inputs by name; of a batch [count, ...] each."""
    count: int
    source: Source
    is_batch: bool = True

    @property
    def size_bytes(self) -> int:
        """Without the text itself."""
        return sum(a.nbytes for a in self.arrays.values())

    @property
    def differ(self) -> bool:
        """Whether any row is another than the first."""
        return any(bool(np.any(a[1:] != a[:1])) for a in self.arrays.values())

    def one(self) -> dict[str, Array]:
        """One row, or the request that holds no batch."""
        return self.take(0, 1) if self.is_batch else dict(self.arrays)

    def take(self, start: int, count: int) -> dict[str, Array]:
        """`count` rows from `start` on, as one batch; after the last comes the first."""
        chosen = (np.arange(start, start + count)) % self.count
        return {name: array[chosen] for name, array in self.arrays.items()}


def rows_of_cases(
    fields: Sequence[Field], cases: Sequence[GoldenCase], count: int, seed: int = 0
) -> list[Rows]:
    """Different rows of each form that the cases, at least one, have; then crossings of them.

    A crossing takes each element from any row at the same place, so it stays within what was seen;
    numbers are also scaled a little. `count` rows of the first case's form, few of the others'.
    Where none holds a row, the first case as it is.
    """
    if not has_rows(fields):
        return [whole_case(cases[0])]
    forms: dict[object, list[Mapping[str, Array]]] = {}
    for case in cases:
        if len({case.inputs[f.name].shape[:1] for f in fields}) == 1:
            shapes = tuple(case.inputs[f.name].shape[1:] for f in fields)
            forms.setdefault(shapes, []).append(case.inputs)
    found = []
    for batches in list(forms.values())[:MAX_FORMS]:
        seen = {f.name: np.concatenate([b[f.name] for b in batches])[:count] for f in fields}
        if min(len(a) for a in seen.values()):
            wanted = _bounded(count, sum(_row_bytes(a) for a in seen.values()))
            rng = _generator(seed)
            arrays = {name: _crossed(array, wanted, rng) for name, array in seen.items()}
            found.append(Rows(arrays, wanted, "golden"))
        count = min(count, FEW_ROWS)
    return found or [whole_case(cases[0])]


def whole_case(case: GoldenCase) -> Rows:
    """A request that no row is taken out of."""
    return Rows(case.inputs, 1, "golden", is_batch=False)


def made_up_rows(fields: Sequence[Field], count: int, seed: int = 0) -> Iterator[Rows]:
    """Rows that a model of these inputs may take, likelier ones first: most models take one.

    Numbers are normal, whole numbers 0 or 1 (an index into nearly any table), then 0 alone.
    """
    has_free = any(-1 in shape for shape in _inner(fields).values())
    for size in _FREE_SIZES if has_free else _FREE_SIZES[:1]:
        for top in (2, 1):
            yield from _made_up_of(fields, count, size, top, seed)


def other_forms(fields: Sequence[Field], rows: Rows, seed: int = 0) -> Iterator[Rows]:
    """Few made-up rows of other sizes, where dimensions beside the batch are free."""
    inner = _inner(fields)
    if rows.source == "made up" and rows.is_batch:
        for size in _OTHER_SIZES:
            shapes = {n: tuple(size if d == -1 else d for d in s) for n, s in inner.items()}
            if any(shapes[n] != rows.arrays[n].shape[1:] for n in shapes):
                yield from _made_up_of(fields, FEW_ROWS, size, 2, seed)


def _made_up_of(
    fields: Sequence[Field], count: int, size: int, top: int, seed: int
) -> Iterator[Rows]:
    """One set of rows, none if a row is too large."""
    is_batch = has_rows(fields)
    inner = _inner(fields)
    shapes = {n: tuple(size if d == -1 else d for d in shape) for n, shape in inner.items()}
    row_bytes = sum(math.prod(shapes[f.name]) * DATATYPES[f.datatype].itemsize for f in fields)
    if row_bytes > MAX_BYTES:
        return
    wanted = _bounded(count, row_bytes) if is_batch else 1
    head = (wanted,) if is_batch else ()
    rng = _generator(seed)
    arrays = {f.name: _made_up(f.datatype, head + shapes[f.name], top, rng) for f in fields}
    yield Rows(arrays, wanted, "made up", is_batch)


def _inner(fields: Sequence[Field]) -> dict[str, tuple[int, ...]]:
    """Dimensions beside the batch; all where there is none."""
    is_batch = has_rows(fields)
    return {f.name: f.shape[1:] if is_batch else f.shape for f in fields}


def has_rows(fields: Sequence[Field]) -> bool:
    """Whether every input has a free first dimension."""
    return bool(fields) and all(f.shape and f.shape[0] == -1 for f in fields)


def _row_bytes(array: Array) -> int:
    per_element = _TEXT_BYTES if array.dtype == np.object_ else array.dtype.itemsize
    return math.prod(array.shape[1:]) * per_element


def _bounded(count: int, row_bytes: int) -> int:
    return min(count, max(MIN_ROWS, MAX_BYTES // max(1, row_bytes)))


def _generator(seed: int) -> "Generator":
    # Here, for the child alone: what only reads a proof's result has no use for seven megabytes.
    from numpy.random import default_rng

    return default_rng(seed)


def _crossed(seen: Array, count: int, rng: "Generator") -> Array:
    if len(seen) >= count:
        return seen[:count]
    missing = count - len(seen)
    from_row = rng.integers(0, len(seen), (missing, *seen.shape[1:]))
    made = np.take_along_axis(seen, from_row, axis=0)
    if seen.dtype.kind == "f":
        by = rng.uniform(0.7, 1.3, (missing, *(1 for _ in seen.shape[1:])))
        with np.errstate(all="ignore"):
            made = (made * by).astype(seen.dtype)
    elif len(seen) == 1 and made.ndim > 1:  # one row crossed with itself would be that row
        flat = made.reshape(missing, -1)
        made = rng.permuted(flat, axis=1).reshape(made.shape)
    return np.concatenate([seen, made])


def _made_up(datatype: str, shape: tuple[int, ...], top: int, rng: "Generator") -> Array:
    dtype: np.dtype[Any] = DATATYPES[datatype]
    if datatype == "BYTES":
        words = np.array(_WORDS, np.object_)
        chosen = np.asarray(rng.integers(0, len(words) if top > 1 else 1, shape))
        return np.asarray(words[chosen], np.object_)
    if dtype.kind == "f":
        scale = rng.uniform(0.5, 2.0, shape[:1] + (1,) * (len(shape) - 1))
        return np.asarray(rng.normal(size=shape) * scale, dtype)
    return np.asarray(rng.integers(0, top, shape), dtype)
