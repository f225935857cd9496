"""Missing values: filled in, or told of in columns of their own."""

from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.encoding import MISSING_TEXT, codes, is_missing
from fogline_hub.convert.sklearn.tensor import STRING, Given, Table, Tensor, beside, joined


def simple(model: Any, given: Table) -> Given:
    """SimpleImputer: each column by itself; columns that were empty in training are dropped."""
    kept: list[Tensor] = []
    for column, statistic in zip(given.columns, model.statistics_, strict=True):
        if is_missing(statistic) and not model.keep_empty_features:
            continue
        value = 0.0 if is_missing(statistic) and column.type != STRING else statistic
        kept.append(_filled(column, value, model.missing_values))
    made = beside(kept)
    if not model.add_indicator or not len(model.indicator_.features_):
        return made
    return beside([made, indicator(model.indicator_, given)])


def indicator(model: Any, given: Table) -> Tensor:
    """MissingIndicator: 1 where a value is missing, for the columns that it tells of."""
    places = np.asarray(model.features_).tolist()
    holes = [_holes(given.columns[p], model.missing_values).double() for p in places]
    if not holes:
        raise Unsupported("MissingIndicator tells of no column: the training data had no gaps")
    return joined(holes)


def _filled(column: Tensor, value: Any, missing: Any) -> Tensor:
    if column.type == STRING:
        return _holes(column, missing).choose(column.constant(str(value)), column)
    number = column.double()
    return _holes(number, missing).choose(number.constant(float(value)), number)


def _holes(column: Tensor, missing: Any) -> Tensor:
    if column.type == STRING:
        hole = MISSING_TEXT if is_missing(missing) else str(missing)
        return codes(column, [hole]).matrix() == 0  # Equal takes texts from opset 19 on only
    number = column.double()
    return number.is_nan() if is_missing(missing) else number == float(missing)


COLUMN_TRANSFORMERS = {"SimpleImputer": simple, "MissingIndicator": indicator}
