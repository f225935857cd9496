"""Constant factors of products as small integers with a scale for each block of a column.

The activations stay float, so nothing needs a sample, and rows do not change one another.

Source: ONNX Runtime, contrib operator `com.microsoft.MatMulNBits`: B is [n, blocks, bytes], the
lower half of a byte first, and the zero point is half the range where none is given.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from fogline_hub.optimize.variants.weights import copy_model, drop_unused, factor_of

DOMAIN = "com.microsoft"
BLOCK = 32
"""Elements that share a scale; the runtime takes powers of two from 16 on."""


def block_weights(model: onnx.ModelProto, *, bits: int) -> onnx.ModelProto | None:
    """The model with `MatMulNBits` for products with constants; None where there are none."""
    made = copy_model(model)
    constants = {t.name: t for t in made.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    used: set[str] = set()
    for node in made.graph.node:
        weights = factor_of(node, constants)
        if weights is None or weights.shape[0] < BLOCK:
            nodes.append(node)
            continue
        name = node.input[1]
        if name not in used:
            packed, scales = pack(weights, bits)
            made.graph.initializer.append(numpy_helper.from_array(packed, f"{name}.b"))
            made.graph.initializer.append(numpy_helper.from_array(scales, f"{name}.s"))
            used.add(name)
        nodes.extend(_product(node, weights.shape, bits))
    if not used:
        return None
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    drop_unused(made.graph, used)
    if all(o.domain != DOMAIN for o in made.opset_import):
        made.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return made


def pack(weights: NDArray[np.float32], bits: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Weights [k, n] as bytes [n, blocks, BLOCK * bits / 8] and scales [n * blocks].

    >>> packed, scales = pack(np.full((32, 1), -8, np.float32), 4)
    >>> packed.shape, scales.tolist(), int(packed[0, 0, 0])
    ((1, 1, 16), [1.0], 0)
    """
    k, n = weights.shape
    blocks = -(-k // BLOCK)
    padded = np.zeros((n, blocks * BLOCK), np.float32)
    padded[:, :k] = weights.T
    grouped = padded.reshape(n, blocks, BLOCK)
    half = 1 << (bits - 1)
    # The end of the range that has one value more goes to the element furthest from zero.
    furthest = np.take_along_axis(grouped, np.abs(grouped).argmax(axis=2)[..., None], axis=2)
    scales = furthest / -half
    inverse = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales != 0)
    whole = np.clip(np.rint(grouped * inverse) + half, 0, 2 * half - 1).astype(np.uint8)
    packed = whole if bits == 8 else whole[..., ::2] | (whole[..., 1::2] << 4)
    return np.ascontiguousarray(packed), scales.reshape(-1).astype(np.float32)


def _product(node: onnx.NodeProto, shape: tuple[int, ...], bits: int) -> list[onnx.NodeProto]:
    name, out = node.input[1], node.output[0]
    has_bias = node.op_type == "Gemm" and len(node.input) > 2
    product = f"{out}.p" if has_bias else out
    made = [
        helper.make_node(
            "MatMulNBits",
            [node.input[0], f"{name}.b", f"{name}.s"],
            [product],
            domain=DOMAIN,
            K=shape[0],
            N=shape[1],
            bits=bits,
            block_size=BLOCK,
        )
    ]
    if has_bias:
        made.append(helper.make_node("Add", [product, node.input[2]], [out]))
    return made
