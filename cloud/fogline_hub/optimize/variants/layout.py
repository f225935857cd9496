"""Weights in a file beside the model, which the runtime maps instead of reading."""

from pathlib import Path

import onnx
from onnx.external_data_helper import set_external_data

from fogline_hub.optimize.variants.weights import copy_model

MIN_TENSOR_BYTES = 1024
MIN_TOTAL_BYTES = 256 * 1024
"""Less is not worth a second file."""
ALIGNMENT = 4096
"""Tensors begin at pages, so that each can be mapped as it lies.

Source: onnx.proto, `TensorProto.external_data`: offsets should be multiples of the page size."""


def external_data(model: onnx.ModelProto, path: Path) -> onnx.ModelProto | None:
    """Writes large constants to `path`; the model refers to it by name. None where none is large.

    Initializers have to be in `raw_data`, as `graph.finish` leaves them.
    """
    made = copy_model(model)
    large = [t for t in made.graph.initializer if len(t.raw_data) >= MIN_TENSOR_BYTES]
    if sum(len(t.raw_data) for t in large) < MIN_TOTAL_BYTES:
        return None
    with path.open("wb") as file:
        for tensor in large:
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            offset = file.tell()
            file.write(tensor.raw_data)
            set_external_data(tensor, path.name, offset=offset, length=len(tensor.raw_data))
            tensor.ClearField("raw_data")
    return made
