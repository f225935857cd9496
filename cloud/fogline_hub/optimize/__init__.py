"""Makes a model smaller: variants that are measured, and kept only where they earn it."""

from fogline_hub.optimize.choice import Choice, Earning
from fogline_hub.optimize.measurement import Measurement
from fogline_hub.optimize.observed import Observation
from fogline_hub.optimize.optimization import (
    Optimization,
    OptimizationLimits,
    OptimizationResult,
    optimize,
)
from fogline_hub.optimize.profile import Profile, read_profile

__all__ = [
    "Choice",
    "Earning",
    "Measurement",
    "Observation",
    "Optimization",
    "OptimizationLimits",
    "OptimizationResult",
    "Profile",
    "optimize",
    "read_profile",
]
