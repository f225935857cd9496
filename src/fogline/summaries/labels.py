"""Categories as text: how booleans, integers and strings become names that a reference lists."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MISSING = -1
"""The code of a missing value."""
_TRUE, _FALSE = ("true", "True", "1"), ("false", "False", "0")


def category_text(value: object) -> str | None:
    """The one name of a category; `None` for a missing value (None, NaN or the empty string).

    Booleans are `true` and `false`; whole floats read as integers, so that a label that came back
    as `1.0` is the label `1`.

    >>> [category_text(v) for v in (True, 3, 3.0, 0.5, b"rain", "", None, float("nan"))]
    ['true', '3', '3', '0.5', 'rain', None, None, None]
    """
    match value:
        case None | "" | b"":
            return None
        case bool() | np.bool_():
            return "true" if value else "false"
        case str():
            return str(value)
        case bytes():
            return value.decode("utf-8", "replace")
        case float() | np.floating():
            return _float_text(float(value))
        case _:
            return str(value)


def _float_text(value: float) -> str | None:
    if value != value:  # noqa: PLR0124 - NaN is the one value that differs from itself
        return None
    return str(int(value)) if value.is_integer() else repr(value)


class CategoryIndex:
    """Finds the code of a value: its place in `categories`, one more for others, -1 for missing.

    Where exactly one of the spellings of true (`true`, `True`, `1`) is a category, the others find
    it too, likewise for false: outcomes come back from applications as whichever they use.
    """

    __slots__ = ("_codes", "categories", "other")

    def __init__(self, categories: Sequence[str]) -> None:
        self.categories = tuple(categories)
        self.other = len(self.categories)
        codes: dict[str, int] = {name: i for i, name in enumerate(self.categories)}
        for spellings in (_TRUE, _FALSE):
            known = [s for s in spellings if s in codes]
            if len(known) == 1:
                codes.update((s, codes[known[0]]) for s in spellings)
        self._codes = codes

    def code(self, value: object) -> int:
        text = category_text(value)
        return MISSING if text is None else self._codes.get(text, self.other)

    def codes(self, values: NDArray[np.generic]) -> NDArray[np.int64]:
        """Codes of a column, int64 [rows]."""
        if values.dtype.kind in "iub":
            return self._codes_of_few(values)
        memo: dict[object, int] = {}
        found = np.empty(len(values), dtype=np.int64)
        for i, value in enumerate(values.tolist()):
            code = memo.get(value) if value.__hash__ is not None else None
            if code is None:
                code = self.code(value)
                if len(memo) < 1024 and value.__hash__ is not None:
                    memo[value] = code
            found[i] = code
        return found

    def _codes_of_few(self, values: NDArray[np.generic]) -> NDArray[np.int64]:
        distinct, places = np.unique(values, return_inverse=True)
        return np.array([self.code(v) for v in distinct.tolist()], dtype=np.int64)[places]
