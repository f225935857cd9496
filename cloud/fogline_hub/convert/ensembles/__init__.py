"""Trees of any library as arrays, and the one writer of them."""

from fogline_hub.convert.ensembles.assembly import Assembly
from fogline_hub.convert.ensembles.ensemble import Ensemble, Mode, Preparation, Tree, joined
from fogline_hub.convert.ensembles.evaluation import evaluate
from fogline_hub.convert.ensembles.onnx_trees import write_trees

__all__ = [
    "Assembly",
    "Ensemble",
    "Mode",
    "Preparation",
    "Tree",
    "evaluate",
    "joined",
    "write_trees",
]
