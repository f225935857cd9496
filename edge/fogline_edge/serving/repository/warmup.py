"""Runs before a version answers, as its declaration asks for them.

Other versions wait meanwhile for their loads, so the runs of one version have a time together. What
is not done by then is left out: a version that is not warm answers all the same.
"""

import logging
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from fogline.clock import Clock, SystemClock
from fogline.errors import DeadlineExceeded, FoglineError, InvalidInput
from fogline.schema import Field, check_inputs
from fogline.tensors import DATATYPES, Array
from fogline_edge.serving.repository.declaration import Warmup, WarmupInput
from fogline_edge.serving.served import ServedModel

FOLDER = "warmup"
MAX_BYTES = 64 * 1024 * 1024
"""Longest tensor of a warm-up."""
WARMUPS_S = 30.0
"""All runs of one version."""

_LOG = logging.getLogger(__name__)


def warm_up(
    served: ServedModel,
    warmups: Sequence[Warmup],
    folder: Path,
    *,
    budget_s: float = WARMUPS_S,
    clock: Clock | None = None,
) -> None:
    """Makes the runs of every warm-up, as many as the time allows; logs if that is not all.

    Args:
        served: The version; its runner is asked.
        warmups: What to ask.
        folder: The model's, in which the folder `warmup` may hold data.
        budget_s: What all runs may take together, seconds.
        clock: Time.

    Raises:
        InvalidInput: a warm-up does not fit the model, or a run of it fails.
    """
    timer = clock or SystemClock()
    until = timer.monotonic() + budget_s
    fields = {f.name: f for f in served.schema.inputs}
    for warmup in warmups:
        what = f"{served.label}, model_warmup {warmup.name[:80]!r}"
        try:
            arrays = {
                given.name: _array(given, fields.get(given.name), warmup.batch_size, folder)
                for given in warmup.inputs
            }
            check_inputs(served.schema, arrays, what)
            for done in range(warmup.runs):
                if not _ran(served, arrays, until - timer.monotonic()):
                    _LOG.warning(
                        "warm-up ended early: all of a version may take that long together",
                        extra={"warmup": what, "done": done, "of": warmup.runs, "s": budget_s},
                    )
                    return
        except FoglineError as e:
            raise InvalidInput(f"{what}: {e}") from e


def _ran(served: ServedModel, arrays: Mapping[str, Array], left_s: float) -> bool:
    """Makes one run; whether it was done in time."""
    if left_s <= 0:
        return False
    try:
        served.runner.run(arrays, None, left_s)
    except DeadlineExceeded:
        return False
    return True


def _array(given: WarmupInput, field: Field | None, rows: int, folder: Path) -> Array:
    """An input of a run; rows are repeated where the model takes rows."""
    if field is None or given.datatype not in DATATYPES:
        raise InvalidInput(f"input {given.name[:80]!r} {given.datatype}: the model has none such")
    dtype = DATATYPES[given.datatype]
    has_rows = len(field.shape) == len(given.dims) + 1
    count = prod(given.dims)
    if count * max(dtype.itemsize, 1) * (rows if has_rows else 1) > MAX_BYTES:
        raise InvalidInput(f"input {given.name!r}: more than {MAX_BYTES} bytes")
    one = _content(given, dtype, count, folder).reshape(given.dims)
    return np.repeat(one[np.newaxis], rows, axis=0) if has_rows else one


def _content(given: WarmupInput, dtype: "np.dtype[Any]", count: int, folder: Path) -> Array:
    match given.content:
        case "file":
            return _read(folder / FOLDER / given.file, dtype, count)
        case "random" if dtype.kind == "f":
            return np.random.default_rng(0).random(count).astype(dtype)
        case "random" if dtype.kind in "iu":
            return np.random.default_rng(0).integers(0, 100, count).astype(dtype)
        case _ if dtype.kind == "O":
            return np.full(count, "", dtype)
        case _:
            return np.zeros(count, dtype)


def _read(path: Path, dtype: "np.dtype[Any]", count: int) -> Array:
    if dtype.kind == "O":
        raise InvalidInput(f"{path.name}: texts cannot be read from a file; use zero_data")
    if path.resolve().parent != path.parent.resolve() or not path.is_file():
        raise InvalidInput(f"{path.name}: no such file in the model's folder {FOLDER}")
    size = path.stat().st_size
    if size != count * dtype.itemsize:
        raise InvalidInput(f"{path.name}: {size} bytes, the input has {count * dtype.itemsize}")
    return np.fromfile(path, dtype)
