"""Which versions are in memory, and what they may hold there."""

from fogline_edge.serving.residency.config import PressureConfig, ResidencyConfig
from fogline_edge.serving.residency.residency import Residency, ResidencyCounts
from fogline_edge.serving.residency.room import Need
from fogline_edge.serving.residency.source import Source
from fogline_edge.serving.residency.watch import MemoryWatch

__all__ = [
    "MemoryWatch",
    "Need",
    "PressureConfig",
    "Residency",
    "ResidencyConfig",
    "ResidencyCounts",
    "Source",
]
