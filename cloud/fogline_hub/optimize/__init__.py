"""Makes a bundle smaller: variants that are measured, and kept only where they earn it."""

from fogline_hub.optimize.choice import Earning, Measurement
from fogline_hub.optimize.optimization import (
    Optimization,
    OptimizationLimits,
    OptimizationResult,
    optimize,
)

__all__ = [
    "Earning",
    "Measurement",
    "Optimization",
    "OptimizationLimits",
    "OptimizationResult",
    "optimize",
]
