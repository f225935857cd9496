"""From the sums of trees to the answers of a model: link, probabilities, label."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fogline_hub.convert.ensembles.assembly import Assembly
from fogline_hub.convert.ensembles.ensemble import Ensemble
from fogline_hub.convert.ensembles.linear import Linear, write_linear
from fogline_hub.convert.ensembles.onnx_trees import write_trees


class Link(Enum):
    """What is done to the sums."""

    IDENTITY = "identity"
    EXP = "exp"
    SIGMOID = "sigmoid"
    """Of each sum times `scale`."""
    SOFTMAX = "softmax"
    SOFTPLUS = "softplus"
    """`log(1 + exp(sum))`."""
    SIGNED_SQUARE = "signed_square"
    """`sign(sum) * sum ** 2`."""
    IS_POSITIVE = "is_positive"
    """1 where the sum is above 0, else 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """A whole model of summed parts.

    Attributes:
        model: What is summed.
        link: What is done to the sums.
        scale: Of the sums, before a sigmoid.
        classes: [classes] whole numbers, or object of str; None for a model without classes. A
            model of two classes has one sum, whose link is the second's probability.
        is_single: The library answers in float32, and so does the graph.
        by_sums: The label is that of the largest sum, not of the largest probability.
    """

    model: Ensemble | Linear
    link: Link = Link.IDENTITY
    scale: float = 1.0
    classes: NDArray[Any] | None = None
    is_single: bool = False
    by_sums: bool = False

    @property
    def outputs(self) -> int:
        return len(self.classes) if self.classes is not None else self.model.outputs


def write_predictor(
    assembly: Assembly,
    predictor: Predictor,
    given: str,
    outputs: tuple[str, ...],
    *,
    is_double: bool,
) -> None:
    """Adds nodes from the columns to the answers.

    Args:
        assembly: Gets the nodes.
        predictor: The model.
        given: A tensor [rows, columns] of the graph.
        outputs: Names: of the label [rows] and the probabilities [rows, classes], or of the
            answers [rows, outputs] alone where there are no classes.
        is_double: `given` is float64, else float32.
    """
    if isinstance(predictor.model, Linear):
        sums = write_linear(assembly, predictor.model, given, is_double=is_double)
    else:
        sums = write_trees(assembly, predictor.model, given, is_double=is_double)
    linked = _write_link(assembly, predictor, sums)
    is_binary = predictor.classes is not None and predictor.model.outputs == 1
    linked = assembly.cast(linked, onnx.TensorProto.FLOAT) if predictor.is_single else linked
    if is_binary:
        one = assembly.constant(np.ones(1, np.float32 if predictor.is_single else np.float64))
        linked = assembly.add("Concat", assembly.add("Sub", one, linked), linked, axis=1)
    assembly.add("Identity", linked, output=outputs[-1])
    if predictor.classes is not None:
        ranked = sums if predictor.by_sums and not is_binary else linked
        code = assembly.add("ArgMax", ranked, axis=1, keepdims=0)
        names = assembly.constant(predictor.classes)
        assembly.add("Gather", names, code, axis=0, output=outputs[0])


def _write_link(assembly: Assembly, predictor: Predictor, sums: str) -> str:
    match predictor.link:
        case Link.IDENTITY:
            return sums
        case Link.EXP:
            return assembly.add("Exp", sums)
        case Link.SIGMOID:
            return _write_sigmoid(assembly, sums, predictor.scale)
        case Link.SOFTMAX:
            return assembly.add("Softmax", sums, axis=1)
        case Link.SOFTPLUS:
            one = assembly.constant(np.ones(1))
            return assembly.add("Log", assembly.add("Add", one, assembly.add("Exp", sums)))
        case Link.SIGNED_SQUARE:
            return assembly.add("Mul", sums, assembly.add("Abs", sums))
        case Link.IS_POSITIVE:
            above = assembly.add("Greater", sums, assembly.constant(np.zeros(1)))
            return assembly.cast(above, onnx.TensorProto.DOUBLE)


def _write_sigmoid(assembly: Assembly, sums: str, scale: float) -> str:
    """`1 / (1 + exp(-scale * sum))`, as the libraries write it; onnxruntime's own approximates."""
    one = assembly.constant(np.ones(1))
    power = assembly.add("Mul", sums, assembly.constant(np.array([-scale])))
    return assembly.add("Div", one, assembly.add("Add", one, assembly.add("Exp", power)))
