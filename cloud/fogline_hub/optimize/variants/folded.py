"""Graph optimisation ahead of time, as far as it holds on every processor.

onnxruntime's basic level folds constants and merges nodes in standard operators; its higher levels
choose layouts and fused operators for the processor that optimises, so a file made by them is
refused elsewhere, or slow. The owner of onnxruntime's offline optimiser.

Source: ONNX Runtime, Graph Optimizations in ONNX Runtime, "Layout Optimizations".
"""

from pathlib import Path

import onnx
import onnxruntime

from fogline.errors import Unsupported
from fogline_hub.convert import graph

PORTABLE = frozenset({"", "ai.onnx", "ai.onnx.ml"})
SILENT = 4


def folded(path: Path, out: Path) -> onnx.ModelProto:
    """The model at `path` as onnxruntime's basic optimiser leaves it, by way of the file `out`.

    Raises:
        Unsupported: it cannot be loaded, or the result needs operators of one runtime.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime's errors share no base class
        raise Unsupported(
            f"onnxruntime cannot optimise it ahead of time ({type(e).__name__})"
        ) from e
    before = {n.domain for n in graph.load(path).graph.node}
    made = graph.load(out)
    out.unlink()
    foreign = {n.domain for n in made.graph.node} - PORTABLE - before
    if foreign:
        raise Unsupported(f"the optimised graph needs operators of {', '.join(sorted(foreign))}")
    used = {n.domain for n in made.graph.node} | {""}
    for opset in [o for o in made.opset_import if o.domain not in used]:
        made.opset_import.remove(opset)  # it names every domain that this build knows
    return made
