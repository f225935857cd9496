"""Columns of categories as the codes that a library gave them when it was trained."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from fogline_hub.convert.ensembles.assembly import Assembly


def write_codes(assembly: Assembly, given: str, categories: NDArray[np.generic]) -> str:
    """Adds nodes that turn a column into codes 0, 1, 2 ...; what is no category is missing.

    Args:
        assembly: Gets the nodes.
        given: A tensor [rows, 1] of text or float64.
        categories: object of str, or numbers; in the order of their codes.

    Returns:
        The name of a float64 tensor [rows, 1].
    """
    codes = np.arange(len(categories))
    if categories.dtype.kind == "O":
        coded = assembly.add(
            "LabelEncoder",
            given,
            keys_strings=categories.tolist(),
            values_floats=codes.astype(float).tolist(),
            default_float=float("nan"),
        )
        return assembly.cast(coded, onnx.TensorProto.DOUBLE)
    return assembly.add(
        "LabelEncoder",
        given,
        keys_tensor=numpy_helper.from_array(categories.astype(np.float64)),
        values_tensor=numpy_helper.from_array(codes.astype(np.float64)),
        default_tensor=numpy_helper.from_array(np.array([np.nan])),
    )
