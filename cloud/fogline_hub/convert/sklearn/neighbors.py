"""Nearest neighbours: all distances to the training rows, and the nearest of them."""

from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.decision import (
    Decision,
    most_probable,
)
from fogline_hub.convert.sklearn.tensor import INT64, Tensor, joined

MAX_ELEMENTS = 4_000_000
"""Numbers of the training rows that a model carries, and compares each row with."""


def nearest(model: Any, x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances, float64, and places, int64, of the nearest training rows: [rows, count] each.

    Raises:
        Unsupported: a metric that is not converted, or too many training rows.
    """
    points = model._fit_X  # noqa: SLF001
    known = np.asarray(points.toarray() if hasattr(points, "toarray") else points, dtype=np.float64)
    if known.size > MAX_ELEMENTS:
        raise Unsupported(
            f"{type(model).__name__} carries {known.size} training numbers, at most {MAX_ELEMENTS} "
            "are converted; train it on fewer rows"
        )
    distance = _distances(model, x, known)
    graph = distance.graph
    places = f"{distance.name}.places"
    top = distance.op(
        "TopK", distance.constant([count], INT64), width=count, axis=1, largest=0, sorted=1
    )
    graph.nodes[-1].output.append(places)
    return top, Tensor(graph, places, INT64, count)


def _distances(model: Any, x: Tensor, known: Any) -> Tensor:
    metric, power = model.effective_metric_, 2.0
    if metric == "minkowski":
        power = float((model.effective_metric_params_ or {}).get("p", 2.0))
        if "w" in (model.effective_metric_params_ or {}):
            metric = "weighted minkowski"
    total: Tensor | None = None
    for number in range(x.width):  # one column after the other, in the order of the original's sum
        away = (x.column(number) - known[None, :, number]).abs()
        part = _part(metric, power, away)
        if total is None:
            total = part
        else:
            total = total.op("Max", part) if metric == "chebyshev" else total + part
    if total is None:
        raise Unsupported("nearest neighbours without columns")
    if metric in ("euclidean", "l2") or (metric == "minkowski" and power == 2.0):
        return total.sqrt()
    return total ** (1.0 / power) if metric == "minkowski" else total


def _part(metric: str, power: float, away: Tensor) -> Tensor:
    match metric:
        case "euclidean" | "l2" | "sqeuclidean":
            return away * away
        case "minkowski":
            return away * away if power == 2.0 else away**power
        case "manhattan" | "cityblock" | "l1" | "chebyshev":
            return away
        case _:
            raise Unsupported(f"nearest neighbours by {metric!r} are not converted")


def _weights(model: Any, distance: Tensor) -> Tensor | None:
    """[rows, k]; None where all are 1. A row at distance 0 counts alone."""
    if model.weights in ("uniform", None):
        return None
    if model.weights != "distance":
        raise Unsupported(f"{type(model).__name__} with weights of Python code is not converted")
    same = (distance == 0.0).double()
    any_same = same.max() > 0.0
    safe = any_same.choose(distance.constant(1.0), distance)
    return any_same.choose(same, 1.0 / safe)


def classification(model: Any, x: Tensor) -> Decision:
    if model.outputs_2d_:
        raise Unsupported("KNeighborsClassifier with several outputs is not converted")
    distance, places = nearest(model, x, model.n_neighbors)
    weights = _weights(model, distance)
    labels = np.asarray(model._y)  # noqa: SLF001
    seen = places.rows_of(labels, INT64)
    shares = []
    for code in range(len(model.classes_)):
        hit = (seen == code).double()
        shares.append((hit if weights is None else hit * weights).sum())
    votes = joined(shares)
    return Decision(
        kind=most_probable(votes).kind, numbers=votes / votes.sum(), codes=votes.argmax()
    )


def regression(model: Any, x: Tensor) -> Tensor:
    distance, places = nearest(model, x, model.n_neighbors)
    weights = _weights(model, distance)
    targets = np.asarray(model._y, dtype=np.float64).reshape(len(model._y), -1)  # noqa: SLF001
    columns = []
    for number in range(targets.shape[1]):
        seen = places.rows_of(targets[:, number])
        if weights is None:
            columns.append(seen.sum() / float(model.n_neighbors))
        else:
            columns.append((seen * weights).sum() / weights.sum())
    return joined(columns)


def outlier_factor(model: Any, x: Tensor) -> Tensor:
    """LocalOutlierFactor(novelty=True): Breunig et al. 2000, def. 5 to 7; the decision function."""
    count = int(model.n_neighbors_)
    distance, places = nearest(model, x, count)
    fit_distances = model._distances_fit_X_
    radius = places.rows_of(np.asarray(fit_distances[:, count - 1], dtype=np.float64))
    reach = distance.op("Max", radius)
    density = 1.0 / (reach.sum() / float(count) + 1e-10)
    others = places.rows_of(np.asarray(model._lrd, dtype=np.float64))  # noqa: SLF001
    factor = (others / density).sum() / float(count)
    return -factor - float(model.offset_)


REGRESSORS = {"KNeighborsRegressor": regression}
CLASSIFIERS = {"KNeighborsClassifier": classification}
