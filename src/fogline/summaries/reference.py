"""The reference: what the training data looked like, as a bundle carries it (`reference.json`)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray

from fogline.errors import InvalidInput
from fogline.records import Record
from fogline.summaries.categories import CategoryCells
from fogline.summaries.confusion import ConfusionCounts
from fogline.summaries.labels import category_text
from fogline.summaries.numeric import cell_counts

Kind = Literal["number", "category"]
Count = Annotated[int, Meta(ge=0, le=2**48)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]

MAX_EDGES = 63
MAX_CATEGORIES = 256
MAX_FIELDS = 1024
MAX_LABELS = 100


class FieldReference(Record, frozen=True, kw_only=True):
    """One column of the reference.

    Attributes:
        name: The column.
        kind: `number` or `category` (strings, booleans, labels).
        edges: Numbers: ascending edges of the cells, at most 63.
        categories: Categories: the listed ones; all others share the last cell.
        counts: The reference's own rows in the cells: `len(edges) + 1`, `len(categories) + 1`.
        missing: Its rows without a value (NaN and infinities; None and empty strings).
    """

    name: Name
    kind: Kind
    edges: Annotated[tuple[float, ...], Meta(max_length=MAX_EDGES)] = ()
    categories: Annotated[tuple[str, ...], Meta(max_length=MAX_CATEGORIES)] = ()
    counts: Annotated[tuple[Count, ...], Meta(max_length=MAX_CATEGORIES + 1)]
    missing: Count = 0

    def __post_init__(self) -> None:
        """Raises ValueError, which decoding turns into `Corrupt`."""
        cells = len(self.edges if self.kind == "number" else self.categories) + 1
        if len(self.counts) != cells:
            raise ValueError(f"column {self.name}: {len(self.counts)} counts for {cells} cells")
        if self.categories if self.kind == "number" else self.edges:
            raise ValueError(f"column {self.name}: edges and categories exclude each other")
        if not np.isfinite(self.edges).all() or not (np.diff(self.edges) > 0).all():
            raise ValueError(f"column {self.name}: edges must be finite and ascend")
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"column {self.name}: a category twice")


class Reference(Record, frozen=True, kw_only=True):
    """What a version was trained on, and how it did on rows held out.

    Attributes:
        rows: Rows of training data that the counts are of.
        season_s: The season's length in seconds; 0: none declared.
        inputs: Columns that the model takes.
        outputs: Columns that it returns.
        labels: Labels of the predicted class; empty for other models, or for too many classes.
        confusion: Counts over held-out rows, `[actual * n + predicted]`; empty when not known.
        omitted: Columns left out because there were more than the bound.
    """

    rows: Count = 0
    season_s: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    inputs: Annotated[tuple[FieldReference, ...], Meta(max_length=MAX_FIELDS)] = ()
    outputs: Annotated[tuple[FieldReference, ...], Meta(max_length=MAX_FIELDS)] = ()
    labels: Annotated[tuple[Name, ...], Meta(max_length=MAX_LABELS)] = ()
    confusion: Annotated[tuple[Count, ...], Meta(max_length=MAX_LABELS**2)] = ()
    omitted: Count = 0

    def __post_init__(self) -> None:
        """Raises ValueError, which decoding turns into `Corrupt`."""
        for fields in (self.inputs, self.outputs):
            names = [f.name for f in fields]
            if len(set(names)) != len(names):
                raise ValueError("a column twice")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label twice")
        if self.confusion and len(self.confusion) != len(self.labels) ** 2:
            raise ValueError(f"{len(self.confusion)} confusion counts, {len(self.labels)} labels")


class ReferenceLimits(Record, frozen=True, kw_only=True):
    """Bounds of a reference, and so of each summary that is sent.

    Attributes:
        max_edges: Cell edges of a numeric column.
        max_categories: Categories listed of a categorical column, the most frequent ones.
        max_fields: Columns, inputs first; a summary takes up to about 250 bytes for each, and
            one message holds 64 KiB.
    """

    max_edges: Annotated[int, Meta(ge=1, le=MAX_EDGES)] = 63
    max_categories: Annotated[int, Meta(ge=1, le=MAX_CATEGORIES)] = 63
    max_fields: Annotated[int, Meta(ge=1, le=MAX_FIELDS)] = 200


def build_reference(
    inputs: Mapping[str, ArrayLike],
    outputs: Mapping[str, ArrayLike] | None = None,
    *,
    kinds: Mapping[str, Kind] | None = None,
    labels: Sequence[str] = (),
    held_out: tuple[ArrayLike, ArrayLike] | None = None,
    season_s: float = 0.0,
    limits: ReferenceLimits | None = None,
) -> Reference:
    """Describes training data by the counts that live traffic will be compared with.

    Give columns in the dtype that the model is served with: a value that is 0.1 in float64 and
    0.1 in float32 are two numbers, and a heavy tie between them would look like drift.

    Args:
        inputs: Column name -> values [rows]; floats and integers are numbers, strings and booleans
            categories.
        outputs: The same for what the model answered on the training rows; here integers are
            categories, because they are class labels.
        kinds: Column name -> kind, where that rule is wrong.
        labels: The classes, in the model's order, if it is a classifier.
        held_out: (actual, predicted) labels [held-out rows], for the expected accuracy.
        season_s: Length of the season in seconds; 0 for none.
        limits: Bounds.

    Raises:
        InvalidInput: columns of different lengths, no vectors, or an unknown kind's name.
    """
    bounds = limits or ReferenceLimits()
    produced = outputs or {}
    chosen = dict(kinds or {})
    if unknown := sorted(chosen.keys() - inputs.keys() - produced.keys()):
        raise InvalidInput(f"kinds name columns that are not there: {', '.join(unknown)}")
    rows, columns_in, columns_out = _columns(inputs, produced)
    taken_in = dict(list(columns_in.items())[: bounds.max_fields])
    taken_out = dict(list(columns_out.items())[: bounds.max_fields - len(taken_in)])
    names = tuple(labels) if len(labels) <= MAX_LABELS else ()
    return Reference(
        rows=rows,
        season_s=season_s,
        inputs=tuple(
            _field(n, c, chosen.get(n) or _kind(c, "iuf"), bounds) for n, c in taken_in.items()
        ),
        outputs=tuple(
            _field(n, c, chosen.get(n) or _kind(c, "f"), bounds) for n, c in taken_out.items()
        ),
        labels=names,
        confusion=_confusion(names, held_out),
        omitted=len(columns_in) + len(columns_out) - len(taken_in) - len(taken_out),
    )


def _columns(
    inputs: Mapping[str, ArrayLike], outputs: Mapping[str, ArrayLike]
) -> tuple[int, dict[str, NDArray[np.generic]], dict[str, NDArray[np.generic]]]:
    columns_in = {name: np.asarray(c) for name, c in inputs.items()}
    columns_out = {name: np.asarray(c) for name, c in outputs.items()}
    lengths = {c.shape for c in (*columns_in.values(), *columns_out.values())}
    if len(lengths) > 1 or any(len(shape) != 1 for shape in lengths):
        raise InvalidInput(f"reference columns must all be [rows]; their shapes: {sorted(lengths)}")
    return (next(iter(lengths))[0] if lengths else 0), columns_in, columns_out


def _kind(column: NDArray[np.generic], numeric: str) -> Kind:
    return "number" if column.dtype.kind in numeric else "category"


def _field(
    name: str, column: NDArray[np.generic], kind: Kind, limits: ReferenceLimits
) -> FieldReference:
    if kind == "category":
        return _category_field(name, column, limits.max_categories)
    try:
        numbers = column.astype(np.float64)
    except (TypeError, ValueError) as e:
        raise InvalidInput(f"column {name}: not numbers ({column.dtype})") from e
    finite = numbers[np.isfinite(numbers)]
    edges = quantile_edges(finite, limits.max_edges)
    return FieldReference(
        name=name,
        kind="number",
        edges=edges,
        counts=tuple(cell_counts(finite, edges).tolist()),
        missing=len(numbers) - len(finite),
    )


def quantile_edges(values: NDArray[np.float64], count: int = MAX_EDGES) -> tuple[float, ...]:
    """At most `count` ascending edges: quantiles of finite `values` [rows], each one of them.

    A value so frequent that several quantiles fall on it gets a cell of its own, by a second edge
    just below it: otherwise a constant column that dropped would stay in the cell `<= edge`.

    >>> quantile_edges(np.array([1.0, 2.0, 3.0, 4.0]), 3)
    (1.0, 2.0, 3.0)
    >>> [e == 5 for e in quantile_edges(np.full(10, 5.0), 3)]
    [False, True]
    """
    if len(values) == 0:
        return ()
    at = np.arange(1, count + 1) / (count + 1)
    quantiles, copies = np.unique(
        np.quantile(values, at, method="inverted_cdf"), return_counts=True
    )
    below = np.nextafter(quantiles[copies > 1], -np.inf)
    return tuple(np.unique(np.concatenate([quantiles, below[np.isfinite(below)]])).tolist())


def _category_field(name: str, column: NDArray[np.generic], limit: int) -> FieldReference:
    found = Counter(category_text(v) for v in column.tolist())
    found.pop(None, None)
    # Ties by name, so that the same data always gives the same reference.
    categories = tuple(
        str(c) for c, _ in sorted(found.items(), key=lambda item: (-item[1], str(item[0])))[:limit]
    )
    cells = CategoryCells(name, categories)
    cells.add(column)
    return FieldReference(
        name=name,
        kind="category",
        categories=categories,
        counts=tuple(cells.counts.tolist()),
        missing=cells.missing,
    )


def _confusion(
    labels: tuple[str, ...], held_out: tuple[ArrayLike, ArrayLike] | None
) -> tuple[int, ...]:
    if held_out is None or not labels:
        return ()
    counts = ConfusionCounts(labels)
    counts.add(np.asarray(held_out[0]), np.asarray(held_out[1]))
    return tuple(counts.counts.tolist())
