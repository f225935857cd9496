"""A kernel between a row and the training rows, times weights: Gaussian processes, kernel ridge."""

from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.kernels import kernel as named_kernel
from fogline_hub.convert.sklearn.kernels import squared_distances
from fogline_hub.convert.sklearn.tensor import Tensor


def regression(model: Any, x: Tensor) -> Tensor:
    kernel = _written(model.kernel_, x, np.asarray(model.X_train_, dtype=np.float64))
    weights = np.asarray(model.alpha_).reshape(len(model.X_train_), -1)
    scale = np.reshape(model._y_train_std, (1, -1))  # noqa: SLF001
    return (kernel @ weights) * scale + np.reshape(model._y_train_mean, (1, -1))  # noqa: SLF001


def _written(kernel: Any, x: Tensor, known: Any) -> Tensor:  # noqa: PLR0911 - one a kernel
    """One of `sklearn.gaussian_process.kernels`, [rows, training rows]."""
    match type(kernel).__name__:
        case "Sum":
            return _written(kernel.k1, x, known) + _written(kernel.k2, x, known)
        case "Product":
            return _written(kernel.k1, x, known) * _written(kernel.k2, x, known)
        case "Exponentiation":
            return _written(kernel.kernel, x, known) ** float(kernel.exponent)
        case "ConstantKernel":
            return x.zeros(len(known)) + float(kernel.constant_value)
        case "WhiteKernel":  # noise of the training rows alone
            return x.zeros(len(known))
        case "DotProduct":
            return x @ known.T + float(kernel.sigma_0) ** 2
        case "RBF":
            return (_scaled(kernel, x, known) * -0.5).exp()
        case "RationalQuadratic":
            base = squared_distances(x, known) / (2.0 * kernel.alpha * kernel.length_scale**2)
            return (base + 1.0) ** float(-kernel.alpha)
        case "Matern":
            return _matern(kernel, _scaled(kernel, x, known))
        case other:
            raise Unsupported(f"the kernel {other} of a Gaussian process is not converted")


def _scaled(kernel: Any, x: Tensor, known: Any) -> Tensor:
    length = np.reshape(np.asarray(kernel.length_scale, dtype=np.float64), (1, -1))
    return squared_distances(x / length, known / length)


def _matern(kernel: Any, square: Tensor) -> Tensor:
    distance = square.sqrt()
    match float(kernel.nu):
        case 0.5:
            return (-distance).exp()
        case 1.5:
            wide = distance * np.sqrt(3.0)
            return (wide + 1.0) * (-wide).exp()
        case 2.5:
            wide = distance * np.sqrt(5.0)
            return (wide + 1.0 + wide * wide / 3.0) * (-wide).exp()
        case np.inf:
            return (square * -0.5).exp()
        case _:
            raise Unsupported("a Matern kernel is converted with nu of 0.5, 1.5, 2.5 or infinity")


def ridge(model: Any, x: Tensor) -> Tensor:
    """KernelRidge."""
    options = {"gamma": model.gamma, "coef0": model.coef0, "degree": model.degree}
    weights = np.asarray(model.dual_coef_).reshape(len(model.X_fit_), -1)
    return named_kernel(model.kernel, x, model.X_fit_, options) @ weights


REGRESSORS = {"KernelRidge": ridge, "GaussianProcessRegressor": regression}
