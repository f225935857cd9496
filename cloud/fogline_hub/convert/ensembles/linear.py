"""A linear model whose missing values count as zero, as boosters of linear parts have it."""

from dataclasses import dataclass

import numpy as np
import onnx

from fogline.errors import Corrupt
from fogline_hub.convert.ensembles.assembly import Assembly
from fogline_hub.convert.ensembles.ensemble import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """`rows @ weights + base`, over numbers rounded to float32.

    Attributes:
        weights: float64 [columns, outputs].
        base: float64 [outputs].
    """

    weights: Floats
    base: Floats

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or self.base.shape != (self.weights.shape[1],):
            raise Corrupt("the weights of a linear model do not fit its outputs")
        if not (np.isfinite(self.weights).all() and np.isfinite(self.base).all()):
            raise Corrupt("a linear model's weight is not a finite number")

    @property
    def outputs(self) -> int:
        return int(self.weights.shape[1])


def write_linear(assembly: Assembly, linear: Linear, given: str, *, is_double: bool) -> str:
    """Adds nodes that compute it; returns the name of a float64 tensor [rows, outputs]."""
    rounded = assembly.cast(given, onnx.TensorProto.FLOAT) if is_double else given
    wide = assembly.cast(rounded, onnx.TensorProto.DOUBLE)
    hole = assembly.add("IsNaN", wide)
    filled = assembly.add("Where", hole, assembly.constant(np.zeros(1)), wide)
    product = assembly.add("MatMul", filled, assembly.constant(linear.weights))
    return assembly.add("Add", product, assembly.constant(linear.base[None, :]))
