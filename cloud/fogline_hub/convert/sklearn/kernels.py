"""Kernels and distances between rows and fixed points, in float64."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.scaling import unit_rows
from fogline_hub.convert.sklearn.tensor import Tensor


def squared_distances(x: Tensor, points: Any) -> Tensor:
    """|x - p|^2, [rows, points], as x x - 2 x p + p p, never below 0."""
    known = np.asarray(points, dtype=np.float64)
    made = (x * x).sum() - 2.0 * (x @ known.T) + (known * known).sum(axis=1)[None, :]
    return made.clip(0.0)


def kernel(name: Any, x: Tensor, points: Any, options: Mapping[str, Any]) -> Tensor:
    """One of `sklearn.metrics.pairwise`'s kernels, [rows, points].

    Raises:
        Unsupported: another, or a function.
    """
    known = np.asarray(points.toarray() if hasattr(points, "toarray") else points, dtype=np.float64)
    gamma = options.get("gamma")
    scale = 1.0 / known.shape[1] if gamma is None else float(gamma)
    match name:
        case "linear":
            return x @ known.T
        case "rbf":
            return (squared_distances(x, known) * -scale).exp()
        case "poly" | "polynomial":
            inner = (x @ known.T) * scale + float(options["coef0"])
            return inner ** float(options["degree"])
        case "sigmoid":
            return ((x @ known.T) * scale + float(options["coef0"])).op("Tanh")
        case "cosine":
            sizes = np.linalg.norm(known, axis=1, keepdims=True)
            return unit_rows(x, "l2") @ (known / np.where(sizes == 0, 1.0, sizes)).T
        case _:
            shown = name if isinstance(name, str) else "a function"
            raise Unsupported(
                f"the kernel {shown} is not converted; linear, rbf, poly, sigmoid and cosine are"
            )
