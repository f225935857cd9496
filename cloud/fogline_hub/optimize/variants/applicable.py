"""Which variants a graph gives reason to try, by a look at it."""

import onnx

from fogline_hub.optimize.variants.catalogue import VARIANTS
from fogline_hub.optimize.variants.layout import MIN_TOTAL_BYTES
from fogline_hub.optimize.variants.static import QUANTISED
from fogline_hub.optimize.variants.tree_nodes import tree_nodes
from fogline_hub.optimize.variants.weights import MIN_ELEMENTS, factor_of

_OF_TREES = frozenset({"narrow-trees", "fewer-trees"})
_OF_PRODUCTS = frozenset({"int8-dynamic", "int8-weights", "int4-weights"})
_OF_FILES = frozenset({"external-data", "external-unpacked"})


def applicable(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the variants that this model may have, in their order; weights are in `raw_data`."""
    constants = {t.name: t for t in model.graph.initializer}
    floats = [t for t in constants.values() if t.data_type == onnx.TensorProto.FLOAT]
    has = dict.fromkeys((k.name for k in VARIANTS), True)
    if not tree_nodes(model):
        has |= dict.fromkeys(_OF_TREES, False)
    if all(factor_of(n, constants) is None for n in model.graph.node):
        has |= dict.fromkeys(_OF_PRODUCTS, False)
    if sum(len(t.raw_data) for t in constants.values()) < MIN_TOTAL_BYTES:
        has |= dict.fromkeys(_OF_FILES, False)
    if all(len(t.raw_data) < 4 * MIN_ELEMENTS for t in floats):
        has["fp16-storage"] = False
    has["int8-static"] = any(
        n.op_type in QUANTISED and len(n.input) > 1 and n.input[1] in constants
        for n in model.graph.node
    )
    return tuple(name for name, is_tried in has.items() if is_tried)
