"""Makes the tree nodes that skl2onnx writes compute what scikit-learn does, on every input.

Two things get lost on the way. Thresholds of histogram boosting are float64 and are written as
float32; version 3 of the operators (ONNX-ML, `*_as_tensor`) holds doubles. And forests send a
missing value to the side that their nodes name, which is not written at all.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_DOUBLES = ("nodes_values", "class_weights", "target_weights", "base_values")


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree's nodes, in the order of their ids.

    Attributes:
        thresholds: float64 [nodes].
        missing_left: bool [nodes]; where a missing value goes.
        leaves: float64 [nodes]; the value of a leaf of histogram boosting, else empty.
    """

    thresholds: NDArray[np.float64]
    missing_left: NDArray[np.bool_]
    leaves: NDArray[np.float64]


def trees_of(estimator: Any) -> tuple[Tree, ...]:
    """The trees in the order in which skl2onnx numbers them; none for other estimators."""
    if hasattr(estimator, "_predictors"):
        return tuple(_boosted(t) for row in estimator._predictors for t in row)  # noqa: SLF001
    if hasattr(estimator, "tree_"):
        return (_grown(estimator.tree_),)
    made = getattr(estimator, "estimators_", None)
    name = type(estimator).__name__
    if isinstance(made, list) and ("Forest" in name or name.startswith("ExtraTrees")):
        return tuple(_grown(e.tree_) for e in made)
    return ()


def restore(model: onnx.ModelProto, estimator: Any, *, is_double: bool) -> None:
    """Writes back what was lost, where the graph has the one tree node of `estimator`.

    Args:
        model: Changed in place.
        estimator: The fitted trees.
        is_double: Compare in float64; the node's input has to be float64.
    """
    trees = trees_of(estimator)
    nodes = [n for n in model.graph.node if n.op_type.startswith("TreeEnsemble")]
    if not trees or len(nodes) != 1:
        return
    node = nodes[0]
    values = {a.name: a for a in node.attribute}
    places = list(zip(values["nodes_treeids"].ints, values["nodes_nodeids"].ints, strict=True))
    tracks = [int(trees[t].missing_left[n]) for t, n in places]
    _set(node, "nodes_missing_value_tracks_true", tracks)
    if is_double and hasattr(estimator, "_predictors"):
        _widen(node, trees, places, float_base=estimator._baseline_prediction)  # noqa: SLF001
        for opset in model.opset_import:
            if opset.domain == "ai.onnx.ml":
                opset.version = max(opset.version, 3)


def _widen(
    node: onnx.NodeProto, trees: tuple[Tree, ...], places: list[tuple[int, int]], float_base: Any
) -> None:
    """Turns a node's lists of floats into tensors of doubles."""
    values = {a.name: a for a in node.attribute}
    kind = "class" if "class_treeids" in values else "target"
    leaves = zip(values[f"{kind}_treeids"].ints, values[f"{kind}_nodeids"].ints, strict=True)
    doubles = {
        "nodes_values": np.array([trees[t].thresholds[n] for t, n in places]),
        f"{kind}_weights": np.array([trees[t].leaves[n] for t, n in leaves]),
        "base_values": np.asarray(float_base, dtype=np.float64).ravel(),
    }
    for name in (*_DOUBLES, "nodes_hitrates"):
        _drop(node, name)
    for name, array in doubles.items():
        tensor = numpy_helper.from_array(array, name)
        node.attribute.append(helper.make_attribute(f"{name}_as_tensor", tensor))


def _set(node: onnx.NodeProto, name: str, value: list[int]) -> None:
    _drop(node, name)
    node.attribute.append(helper.make_attribute(name, value))


def _drop(node: onnx.NodeProto, name: str) -> None:
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _boosted(predictor: Any) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(np.bool_)
    name = "num_threshold" if "num_threshold" in nodes.dtype.names else "threshold"
    return Tree(
        np.where(is_leaf, 0.0, nodes[name]),
        nodes["missing_go_to_left"].astype(np.bool_) & ~is_leaf,
        nodes["value"].astype(np.float64),
    )


def _grown(tree: Any) -> Tree:
    nodes = tree.__getstate__()["nodes"]
    is_leaf = nodes["left_child"] == -1
    missing = nodes["missing_go_to_left"].astype(np.bool_) & ~is_leaf
    return Tree(nodes["threshold"], missing, np.zeros(0))
