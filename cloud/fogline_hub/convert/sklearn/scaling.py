"""Steps that change each number by itself: scalers, powers, quantiles, bins, plain functions.

Each function takes a fitted step and a float64 matrix and writes what its `transform` computes,
operation by operation, so that a threshold behind it sees the same number to the last bit.
"""

from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.tensor import Tensor, joined


def standard(model: Any, x: Tensor) -> Tensor:
    made = x - model.mean_[None, :] if model.with_mean else x
    return made / model.scale_[None, :] if model.with_std else made


def min_max(model: Any, x: Tensor) -> Tensor:
    made = x * model.scale_[None, :] + model.min_[None, :]
    return made.clip(*model.feature_range) if model.clip else made


def max_abs(model: Any, x: Tensor) -> Tensor:
    made = x / model.scale_[None, :]
    return made.clip(-1.0, 1.0) if getattr(model, "clip", False) else made


def robust(model: Any, x: Tensor) -> Tensor:
    made = x - model.center_[None, :] if model.with_centering else x
    return made / model.scale_[None, :] if model.with_scaling else made


def normalized(model: Any, x: Tensor) -> Tensor:
    return unit_rows(x, model.norm)


def unit_rows(x: Tensor, norm: str) -> Tensor:
    """Rows divided by their norm, `l1`, `l2` or `max`; rows of zeros stay."""
    match norm:
        case "l1":
            size = x.abs().sum()
        case "l2":
            size = (x * x).sum().sqrt()
        case _:
            size = x.abs().max()
    return x / (size == 0.0).choose(size.constant(1.0), size)


def binarized(model: Any, x: Tensor) -> Tensor:
    return (x > float(model.threshold)).double()


def power(model: Any, x: Tensor) -> Tensor:
    exponents = np.asarray(model.lambdas_, dtype=np.float64)
    if not np.isfinite(exponents).all():
        raise Unsupported("PowerTransformer has a column without an exponent; drop that column")
    made = _box_cox(x, exponents) if model.method == "box-cox" else _yeo_johnson(x, exponents)
    return standard(model._scaler, made) if model.standardize else made  # noqa: SLF001


def _box_cox(x: Tensor, exponents: Any) -> Tensor:
    return _powered(x.log(), exponents)


def _powered(logs: Tensor, exponents: Any) -> Tensor:
    """(e^(logs * p) - 1) / p, and `logs` where p is 0."""
    is_log = np.abs(exponents) < np.spacing(1.0)
    safe = np.where(is_log, 1.0, exponents)[None, :]
    return logs.constant(is_log[None, :], 9).choose(logs, ((logs * safe).exp() - 1.0) / safe)


def _yeo_johnson(x: Tensor, exponents: Any) -> Tensor:
    """Yeo and Johnson 2000, eq. 2.1; NaN stays NaN."""
    size = x.abs()
    logs = (size + 1.0).log()
    return (x >= 0.0).choose(_powered(logs, exponents), -_powered(logs, 2.0 - exponents))


def quantiles(model: Any, x: Tensor) -> Tensor:
    if model.output_distribution != "uniform":
        raise Unsupported(
            "QuantileTransformer(output_distribution='normal') has no exact ONNX form; use "
            "'uniform', or a PowerTransformer"
        )
    references = np.asarray(model.references_, dtype=np.float64)
    columns = []
    for number in range(x.width):
        column = x.column(number)
        knots = np.asarray(model.quantiles_[:, number], dtype=np.float64)
        up = _interpolated(column, knots, references)
        down = _interpolated(-column, -knots[::-1], -references[::-1])
        made = 0.5 * (up - down)
        made = (column == float(knots[-1])).choose(made.constant(1.0), made)
        made = (column == float(knots[0])).choose(made.constant(0.0), made)
        columns.append(column.is_nan().choose(column, made))
    return joined(columns)


def _interpolated(x: Tensor, knots: Any, heights: Any) -> Tensor:
    """`np.interp` of a column [rows, 1]."""
    last = len(knots) - 1
    place = (x >= knots[None, :]).cast(7).sum(keep=False) - 1  # of the last knot that is not above
    low = place.clip(0, max(0, last - 1))
    run, rise = np.diff(knots), np.diff(heights)
    slopes = np.divide(rise, run, out=np.zeros_like(run), where=run > 0)
    table = np.column_stack([knots[:-1], heights[:-1], slopes]) if last else np.zeros((1, 3))
    picked = low.rows_of(table)
    made = picked.column(2) * (x - picked.column(0)) + picked.column(1)
    made = (x >= float(knots[-1])).choose(made.constant(float(heights[-1])), made)
    return (x < float(knots[0])).choose(made.constant(float(heights[0])), made)


def bins(model: Any, x: Tensor) -> Tensor:
    """KBinsDiscretizer: how many inner edges are not above a number, or one column a bin."""
    columns = []
    for number, edges in enumerate(model.bin_edges_):
        inner = np.asarray(edges, dtype=np.float64)[1:-1]
        column = x.column(number)
        code = (column >= inner[None, :]).double().sum() if len(inner) else column * 0.0
        if model.encode == "ordinal":
            columns.append(code)
        else:
            columns.append((code == np.arange(len(edges) - 1.0)[None, :]).double())
    return joined(columns)


_FUNCTIONS = {
    np.log1p: lambda x: (x + 1.0).log(),
    np.expm1: lambda x: x.exp() - 1.0,
    np.log: lambda x: x.log(),
    np.log2: lambda x: x.log() / np.log(2.0),
    np.log10: lambda x: x.log() / np.log(10.0),
    np.exp: lambda x: x.exp(),
    np.sqrt: lambda x: x.sqrt(),
    np.square: lambda x: x * x,
    np.abs: lambda x: x.abs(),
    np.negative: lambda x: -x,
    np.reciprocal: lambda x: 1.0 / x,
    np.sin: lambda x: x.op("Sin"),
    np.cos: lambda x: x.op("Cos"),
    np.tanh: lambda x: x.op("Tanh"),
    np.floor: lambda x: x.op("Floor"),
    np.ceil: lambda x: x.op("Ceil"),
}


def function(model: Any, x: Tensor) -> Tensor:
    """FunctionTransformer of a numpy function."""
    written = _FUNCTIONS.get(model.func)
    if written is None or model.kw_args:
        name = getattr(model.func, "__name__", "a function")
        raise Unsupported(
            f"FunctionTransformer({name}): Python code is not converted; use a numpy function "
            "such as numpy.log1p, or a transformer of scikit-learn"
        )
    return written(x)


def inverse(model: Any, x: Tensor) -> Tensor:
    """`inverse_transform` of what was done to a target."""
    match type(model).__name__:
        case "StandardScaler":
            made = x * model.scale_[None, :] if model.with_std else x
            return made + model.mean_[None, :] if model.with_mean else made
        case "MinMaxScaler":
            return (x - model.min_[None, :]) / model.scale_[None, :]
        case "MaxAbsScaler":
            return x * model.scale_[None, :]
        case "RobustScaler":
            made = x * model.scale_[None, :] if model.with_scaling else x
            return made + model.center_[None, :] if model.with_centering else made
        case "FunctionTransformer" if model.inverse_func is None:
            return x
        case "FunctionTransformer" if model.inverse_func in _FUNCTIONS and not model.inv_kw_args:
            return _FUNCTIONS[model.inverse_func](x)
        case name:
            raise Unsupported(
                f"a target transformed by {name} is not converted; use a scaler, or numpy "
                "functions such as func=numpy.log1p and inverse_func=numpy.expm1"
            )


TRANSFORMERS = {
    "StandardScaler": standard,
    "MinMaxScaler": min_max,
    "MaxAbsScaler": max_abs,
    "RobustScaler": robust,
    "Normalizer": normalized,
    "Binarizer": binarized,
    "PowerTransformer": power,
    "QuantileTransformer": quantiles,
    "KBinsDiscretizer": bins,
}
