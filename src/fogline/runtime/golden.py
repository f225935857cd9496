"""Golden cases on this very processor: is a variant's answer near enough to the original's?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fogline.bundle import GoldenCase, Tolerance
from fogline.errors import FoglineError, InvalidInput
from fogline.tensors import Array, datatype_of

if TYPE_CHECKING:
    from fogline.runtime.session import Session

_EXACT = Tolerance()


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenReport:
    """How the cases went, up to the first that did not pass."""

    cases: int
    """That passed."""
    worst: float = 0.0
    """Largest error of an element in units of what its tolerance allows; above 1 does not pass."""
    worst_output: str = ""
    """Of which output; empty where every answer was equal."""
    mismatch: str = ""
    """What did not pass: which case, which output, how many elements; empty if all passed."""


def check_golden(
    session: "Session", cases: Sequence[GoldenCase], *, deadline_s: float | None = None
) -> GoldenReport:
    """Runs every case, each run ended after `deadline_s` seconds.

    Raises:
        DeadlineExceeded: a run took too long.
        Exhausted: a run took too much memory.
    """
    worst, worst_output = 0.0, ""
    for number, case in enumerate(cases):
        try:
            answers = session.run(case.inputs, deadline_s=deadline_s)
        except InvalidInput as e:
            return GoldenReport(cases=number, mismatch=f"golden case {number}: {e}")
        for name, expected in case.outputs.items():
            found = answers.get(name)
            mismatch = _misform(found, expected)
            error = 0.0
            if found is not None and not mismatch:
                errors = element_errors(found, expected, case.tolerances.get(name, _EXACT))
                error = float(errors.max(initial=0.0))
                mismatch = _misfit(errors)
            if error > worst:
                worst, worst_output = error, name
            if mismatch:
                return GoldenReport(
                    cases=number,
                    worst=worst,
                    worst_output=worst_output,
                    mismatch=f"golden case {number}: output {name!r} {mismatch}",
                )
    return GoldenReport(cases=len(cases), worst=worst, worst_output=worst_output)


def _misform(found: Array | None, expected: Array) -> str:
    if found is None:
        return "is none of the model's"
    form, wanted = (f"{_datatype(a)} {list(a.shape)}" for a in (found, expected))
    return "" if form == wanted else f"is {form}, expected {wanted}"


def _misfit(errors: NDArray[np.float64]) -> str:
    off = int(np.count_nonzero(errors > 1))
    if not off:
        return ""
    top = errors.max()
    far = f", at worst {top:.3g} times as far" if np.isfinite(top) else ""
    return f"is further off than its tolerance allows in {off} of {errors.size} elements{far}"


def _datatype(array: Array) -> str:
    try:
        return datatype_of(array)
    except FoglineError:
        return str(array.dtype)


def element_errors(found: Array, expected: Array, tolerance: Tolerance) -> NDArray[np.float64]:
    """By element: 0 where equal, to 1 where allowed, above where not.

    Two NaN are equal, and so are two infinities of one sign; every other pair with one of them is
    infinitely far apart.
    """
    if expected.dtype.kind != "f":
        return np.where(found == expected, 0.0, np.inf)
    there, wanted = found.astype(np.float64), expected.astype(np.float64)
    same = (there == wanted) | (np.isnan(there) & np.isnan(wanted))
    with np.errstate(all="ignore"):
        allowed = tolerance.absolute + tolerance.relative * np.abs(wanted)
        error = np.asarray(np.abs(there - wanted) / allowed)  # of scalars too
    error[~(np.isfinite(there) & np.isfinite(wanted))] = np.inf
    error[same] = 0.0
    return error
