"""The tail of a weighted sum of chi-squares: the null distribution of every quadratic form here.

P(sum_i w_i X_i > x) for independent X_i ~ chi-square(1) and w_i > 0. Computed by inverting the
moment generating function along a parabola through its saddle point (S. O. Rice, "Distribution of
quadratic forms in normal random variables - evaluation by numerical integration", SIAM J. Sci.
Stat. Comput. 1, 1980): the integrand falls like a Gaussian on it, so the trapezoid rule is exact to
about ten digits **relative** to the tail, however small that is.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

POINTS: Final = 128
POINTS_BELOW: Final = 1024
"""Far below the mean the integrand falls slowly; nobody decides there, but it should be right."""
_FALL: Final = 40.0
"""The integral stops where the integrand fell by exp(-40)."""
SMALLEST_P: Final = 1e-300


def mixture_tail(x: float, weights: NDArray[np.float64]) -> float:
    """P(sum_i weights[i] * chi2_1 > x), relative error about 1e-9.

    Args:
        x: The observed quadratic form.
        weights: Eigenvalues [k]; those below 1e-12 of the largest are left out.

    >>> from scipy.stats import chi2
    >>> round(mixture_tail(3.841, np.ones(1)), 6), round(float(chi2.sf(3.841, 1)), 6)
    (0.050014, 0.050014)
    >>> f"{mixture_tail(400.0, np.ones(3)):.6e}" == f"{chi2.sf(400.0, 3):.6e}"
    True
    """
    kept = weights[weights > 1e-12 * weights.max(initial=0.0)]
    if kept.size == 0 or x <= 0:
        return 1.0
    scale = float(kept.max())
    lambdas, at = kept / scale, x / scale
    saddle = _saddle(at, lambdas)
    g2, g3 = _curvatures(saddle, lambdas)
    exponent = _log_mgf(complex(saddle), lambdas).real - saddle * at - np.log(saddle)
    if exponent < np.log(SMALLEST_P):
        return SMALLEST_P
    bend = max(g3 / (6 * g2), 0.1 * np.sqrt(g2))
    return float(np.clip(np.exp(exponent) * _integral(at, lambdas, saddle, bend, g2), 0.0, 1.0))


def _saddle(x: float, lambdas: NDArray[np.float64]) -> float:
    """Where exp(K(s) - s x) / s is least on (0, 1/2), the largest weight being 1."""

    def slope(s: float) -> float:
        return float((lambdas / (1 - 2 * lambdas * s)).sum()) - x - 1 / s

    low, gap = 1e-3, 1e-3
    while slope(low) > 0:
        low *= 1e-3
    while slope(0.5 - gap) < 0 and gap > 1e-15:
        gap *= 1e-3
    return float(brentq(slope, low, 0.5 - gap, xtol=1e-15, rtol=1e-6))


def _curvatures(s: float, lambdas: NDArray[np.float64]) -> tuple[float, float]:
    ratio = 2 * lambdas / (1 - 2 * lambdas * s)
    return float((ratio**2).sum() / 2 + 1 / s**2), float((ratio**3).sum() - 2 / s**3)


def _log_mgf(
    s: NDArray[np.complex128] | complex, lambdas: NDArray[np.float64]
) -> NDArray[np.complex128]:
    found: NDArray[np.complex128] = -0.5 * np.log(1 - 2 * np.multiply.outer(s, lambdas)).sum(-1)
    return found


def _integral(
    x: float, lambdas: NDArray[np.float64], saddle: float, bend: float, g2: float
) -> float:
    """1/pi times the integral, the integrand divided by its value at the saddle point."""

    def log_integrand(y: NDArray[np.float64]) -> NDArray[np.complex128]:
        s = saddle + bend * y**2 + 1j * y
        found: NDArray[np.complex128] = _log_mgf(s, lambdas) - s * x - np.log(s)
        return found

    start = log_integrand(np.zeros(1))[0].real
    end = 8 / np.sqrt(g2)
    while log_integrand(np.array([end]))[0].real > start - _FALL:
        end *= 1.3
    y = np.linspace(0.0, end, POINTS if x > lambdas.sum() / 4 else POINTS_BELOW)
    slope = 2 * bend * y + 1j
    values = (np.exp(log_integrand(y) - start) * slope).imag
    values[0] *= 0.5
    return float(values.sum() * (y[1] - y[0]) / np.pi)
