"""Converts trained models to bundles and proves that they answer as the original did."""

from fogline_hub.convert.conversion import (
    Conversion,
    ConversionLimits,
    ConversionResult,
    convert,
)
from fogline_hub.convert.parity import Parity, Verdict

__all__ = ["Conversion", "ConversionLimits", "ConversionResult", "Parity", "Verdict", "convert"]
