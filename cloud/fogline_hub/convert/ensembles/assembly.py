"""A part of an ONNX graph while it is written: nodes and constants with names of their own."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

STANDARD_OPSET = 18
ML_OPSET = 5
"""The first with `TreeEnsemble`."""
IR_VERSION = 10


@dataclass(slots=True)
class Assembly:
    """Nodes and constants, whose names all begin with `prefix`."""

    prefix: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Adds a node of the standard domain, or of ONNX-ML for tree and text operators.

        Returns:
            The name of its output: `output`, or one of the assembly's own.
        """
        domain = "ai.onnx.ml" if operator in ("TreeEnsemble", "LabelEncoder") else ""
        made = output or f"{self.prefix}.{operator.lower()}{len(self.nodes)}"
        node = helper.make_node(operator, list(inputs), [made], domain=domain, **attributes)
        self.nodes.append(node)
        return made

    def constant(self, array: NDArray[Any]) -> str:
        """Adds an initializer, stored as raw bytes unless it is text; returns its name."""
        name = f"{self.prefix}.constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def cast(self, given: str, to: int) -> str:
        """Casts to an element type of `onnx.TensorProto`."""
        return self.add("Cast", given, to=to)

    def model(
        self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """The parts as a whole model."""
        graph = helper.make_graph(self.nodes, "model", inputs, outputs, self.constants)
        opsets = [
            helper.make_opsetid("", STANDARD_OPSET),
            helper.make_opsetid("ai.onnx.ml", ML_OPSET),
        ]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
