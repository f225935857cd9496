"""Categories as numbers: one-hot, ordinal and target encoders, of columns of any type.

A missing text is served as the empty string; where an encoder has learned a category of missing
values (None, NaN or pandas.NA), the empty string is that category.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.tensor import INT64, STRING, Table, Tensor, joined

MISSING_TEXT = ""


def is_missing(value: object) -> bool:
    """True for None, NaN and pandas.NA.

    >>> is_missing(None), is_missing(float("nan")), is_missing("nan")
    (True, True, False)
    """
    if value is None or type(value).__name__ == "NAType":
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def one_hot(model: Any, given: Table) -> Tensor:
    return joined(
        [
            codes(column, model.categories_[i]).rows_of(_one_hot_table(model, i))
            for i, column in enumerate(given.columns)
        ]
    )


def _one_hot_table(model: Any, feature: int) -> NDArray[np.float64]:
    """What each category, and after them an unknown one, becomes: float64 [categories + 1, k]."""
    count = len(model.categories_[feature])
    places = np.arange(count)
    grouped = count
    unknown = -1
    if getattr(model, "_infrequent_enabled", False):
        mapping = model._default_to_infrequent_mappings[feature]  # noqa: SLF001
        if mapping is not None:
            places = np.asarray(mapping)
            grouped = int(places.max()) + 1
            if model.handle_unknown in ("infrequent_if_exist", "warn"):
                unknown = grouped - 1
    table = np.zeros((count + 1, grouped))
    table[np.arange(count), places] = 1.0
    if unknown >= 0:
        table[count, unknown] = 1.0
    dropped = model._drop_idx_after_grouping  # noqa: SLF001
    if dropped is not None and dropped[feature] is not None:
        table = np.delete(table, int(dropped[feature]), axis=1)
    return table


def ordinal(model: Any, given: Table) -> Tensor:
    made = []
    for i, column in enumerate(given.columns):
        categories = model.categories_[i]
        places = np.arange(len(categories), dtype=np.float64)
        unknown = np.nan if model.unknown_value is None else float(model.unknown_value)
        if getattr(model, "_infrequent_enabled", False):
            mapping = model._default_to_infrequent_mappings[i]  # noqa: SLF001
            places = places if mapping is None else np.asarray(mapping, dtype=np.float64)
        # scikit-learn's `_missing_indices`: of NaN alone; None is a category like others.
        gaps = [isinstance(c, float) and np.isnan(c) for c in categories]
        places = np.where(gaps, float(model.encoded_missing_value), places)
        table = np.append(places, unknown)[:, None]
        made.append(codes(column, categories).rows_of(table))
    return joined(made)


def target(model: Any, given: Table) -> Tensor:
    """TargetEncoder; several classes give a column a class, feature by feature."""
    classes = len(model.classes_) if model.target_type_ == "multiclass" else 1
    means = np.asarray(model.target_mean_, dtype=np.float64).ravel()
    made = []
    for i, column in enumerate(given.columns):
        picked = codes(column, model.categories_[i])
        tables = [
            np.append(np.asarray(model.encodings_[i * classes + c]), means[c])
            for c in range(classes)
        ]
        made.append(picked.rows_of(np.column_stack(tables)))
    return joined(made)


def codes(column: Tensor, categories: Any) -> Tensor:
    """The place of each value of a column [rows, 1] in `categories`; their count for others.

    Raises:
        Unsupported: the column and the categories are of different types.
    """
    values = list(categories)
    gap = next((i for i, v in enumerate(values) if is_missing(v)), None)
    known = [v for i, v in enumerate(values) if i != gap]
    is_text = bool(known) and all(isinstance(v, str) for v in known)
    if column.type == STRING and (is_text or not known):
        return _text_codes(column, values, gap)
    if column.type == STRING or is_text or any(isinstance(v, str) for v in known):
        raise Unsupported(
            "an encoder meets a column of another type than it was trained on; give the sample "
            "the types of the training data"
        )
    return _number_codes(column, values, gap)


def _text_codes(column: Tensor, values: list[Any], gap: int | None) -> Tensor:
    keys = [v for i, v in enumerate(values) if i != gap]
    places = [i for i in range(len(values)) if i != gap]
    if gap is not None and MISSING_TEXT not in keys:
        keys, places = [*keys, MISSING_TEXT], [*places, gap]
    return column.vector().op(
        "LabelEncoder",
        kind=INT64,
        width=0,
        keys_strings=keys,
        values_int64s=places,
        default_int64=len(values),
    )


def _number_codes(column: Tensor, values: list[Any], gap: int | None) -> Tensor:
    count = len(values)
    known = np.array([np.nan if i == gap else float(v) for i, v in enumerate(values)])
    x = column.double()
    hits = (x == known[None, :]).cast(INT64)  # NaN equals nothing, so the gap's column stays 0
    distance = hits * (np.arange(count) - count)[None, :]
    code = distance.sum(keep=False) + count
    if gap is None:
        return code
    return x.is_nan().vector().choose(code.constant(gap), code)


COLUMN_TRANSFORMERS = {"OneHotEncoder": one_hot, "OrdinalEncoder": ordinal, "TargetEncoder": target}
