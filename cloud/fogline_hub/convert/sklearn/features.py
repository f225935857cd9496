"""Steps that make columns of several others: polynomials, splines, projections, choices."""

from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.kernels import kernel, squared_distances
from fogline_hub.convert.sklearn.tensor import Tensor, joined


def polynomial(model: Any, x: Tensor) -> Tensor:
    """PolynomialFeatures: products from the last factor to the first, as the original's."""
    powers = np.asarray(model.powers_)
    factors = [np.repeat(np.arange(x.width), row) for row in powers]
    degree = max((len(f) for f in factors), default=0)
    wide = joined([x, x.zeros() + 1.0])
    places = np.full((len(powers), max(degree, 1)), x.width)
    for row, chosen in enumerate(factors):
        places[row, places.shape[1] - len(chosen) :] = chosen
    made = wide.take(places[:, -1])
    for column in range(places.shape[1] - 2, -1, -1):
        made = made * wide.take(places[:, column])
    return made


def splines(model: Any, x: Tensor) -> Tensor:
    """SplineTransformer by the recursion of de Boor 1978, ch. IX, eq. 14."""
    if model.extrapolation not in ("constant", "error"):
        raise Unsupported(
            f"SplineTransformer(extrapolation={model.extrapolation!r}) is not converted; "
            "use 'constant'"
        )
    made = []
    for number, spline in enumerate(model.bsplines_):
        knots, degree = np.asarray(spline.t, dtype=np.float64), int(spline.k)
        low, high = float(knots[degree]), float(knots[-degree - 1])
        basis = _basis(x.column(number).clip(low, high), knots, degree)
        made.append(basis if model.include_bias else basis.take(range(basis.width - 1)))
    return joined(made)


def _basis(x: Tensor, knots: Any, degree: int) -> Tensor:
    """All B-splines of a degree at [rows, 1] numbers inside of the base interval."""
    closed = np.zeros(len(knots) - 1, dtype=np.bool_)
    closed[len(knots) - degree - 2] = True  # the last interval of the base holds its end too
    inside = (x >= knots[None, :-1]) & (x < knots[None, 1:])
    at_end = (x == knots[None, 1:]) & x.constant(closed[None, :], 9)
    beyond = x.constant(np.roll(closed, 1)[None, :], 9) & (x == float(knots[-degree - 1]))
    made = (at_end | (inside & ~beyond)).double()
    for k in range(1, degree + 1):
        left, right = knots[: -k - 1], knots[k + 1 :]
        rise = _inverse(knots[k:-1] - left)
        fall = _inverse(right - knots[1:-k])
        width = made.width - 1
        made = ((x - left[None, :]) * rise[None, :]) * made.take(range(width)) + (
            (right[None, :] - x) * fall[None, :]
        ) * made.take(range(1, width + 1))
    return made


def _inverse(gaps: Any) -> Any:
    return np.divide(1.0, gaps, out=np.zeros_like(gaps), where=gaps > 0)


def pca(model: Any, x: Tensor) -> Tensor:
    axes = np.asarray(model.components_, dtype=np.float64)
    made = x @ axes.T - (np.asarray(model.mean_).reshape(1, -1) @ axes.T)
    if not model.whiten:
        return made
    scale = np.sqrt(model.explained_variance_)
    scale[scale < np.finfo(scale.dtype).eps] = np.finfo(scale.dtype).eps
    return made / scale[None, :]


def projected(model: Any, x: Tensor) -> Tensor:
    """TruncatedSVD, random projections, NeighborhoodComponentsAnalysis: a product alone."""
    axes = model.components_
    return x @ np.asarray(axes.toarray() if hasattr(axes, "toarray") else axes).T


def independent(model: Any, x: Tensor) -> Tensor:
    """FastICA."""
    made = x - model.mean_[None, :] if model.whiten else x
    return made @ np.asarray(model.components_).T


def factors(model: Any, x: Tensor) -> Tensor:
    """FactorAnalysis: Barber 2012, 21.2.33."""
    loads = np.asarray(model.components_)
    scaled = loads / model.noise_variance_
    covariance = np.linalg.inv(np.eye(len(loads)) + scaled @ loads.T)
    return ((x - model.mean_[None, :]) @ scaled.T) @ covariance


def random_fourier(model: Any, x: Tensor) -> Tensor:
    """RBFSampler."""
    angles = x @ model.random_weights_ + model.random_offset_[None, :]
    return angles.op("Cos") * float(np.sqrt(2.0 / model.n_components))


def nystroem(model: Any, x: Tensor) -> Tensor:
    options = {
        "gamma": model.gamma,
        "coef0": 1.0 if model.coef0 is None else model.coef0,
        "degree": 3 if model.degree is None else model.degree,
    }
    made = kernel(model.kernel, x, model.components_, options)
    return made @ np.asarray(model.normalization_).T


def kernel_pca(model: Any, x: Tensor) -> Tensor:
    options = {
        "gamma": getattr(model, "gamma_", model.gamma),
        "coef0": model.coef0,
        "degree": model.degree,
    }
    made = kernel(model.kernel, x, model.X_fit_, options)
    center = model._centerer  # noqa: SLF001
    means = made.sum() / float(len(center.K_fit_rows_))
    made = made - np.asarray(center.K_fit_rows_)[None, :] - means + float(center.K_fit_all_)
    keep = np.flatnonzero(model.eigenvalues_)
    axes = np.zeros_like(model.eigenvectors_)
    axes[:, keep] = model.eigenvectors_[:, keep] / np.sqrt(model.eigenvalues_[keep])
    return made @ axes


def partial_least_squares(model: Any, x: Tensor) -> Tensor:
    """PLSRegression, PLSCanonical and CCA as steps."""
    return ((x - model._x_mean[None, :]) / model._x_std[None, :]) @ model.x_rotations_  # noqa: SLF001


def discriminants(model: Any, x: Tensor) -> Tensor:
    """LinearDiscriminantAnalysis as a step."""
    if model.solver == "svd":
        made = (x - model.xbar_[None, :]) @ model.scalings_
    else:
        made = x @ model.scalings_
    return made.take(range(model._max_components))  # noqa: SLF001


def distances(model: Any, x: Tensor) -> Tensor:
    """KMeans and its kin as steps: the distance to each centre."""
    return squared_distances(x, model.cluster_centers_).sqrt()


def chosen(model: Any, x: Tensor) -> Tensor:
    """All that chooses columns."""
    return x.take(model.get_support(indices=True))


TRANSFORMERS = {
    "PolynomialFeatures": polynomial,
    "SplineTransformer": splines,
    "PCA": pca,
    "IncrementalPCA": pca,
    "TruncatedSVD": projected,
    "GaussianRandomProjection": projected,
    "SparseRandomProjection": projected,
    "NeighborhoodComponentsAnalysis": projected,
    "FastICA": independent,
    "FactorAnalysis": factors,
    "RBFSampler": random_fourier,
    "Nystroem": nystroem,
    "KernelPCA": kernel_pca,
    "PLSRegression": partial_least_squares,
    "PLSCanonical": partial_least_squares,
    "CCA": partial_least_squares,
    "LinearDiscriminantAnalysis": discriminants,
    "KMeans": distances,
    "MiniBatchKMeans": distances,
    "BisectingKMeans": distances,
    **dict.fromkeys(
        (
            "VarianceThreshold",
            "SelectKBest",
            "SelectPercentile",
            "SelectFpr",
            "SelectFdr",
            "SelectFwe",
            "GenericUnivariateSelect",
            "SelectFromModel",
            "SequentialFeatureSelector",
            "RFE",
            "RFECV",
        ),
        chosen,
    ),
}
