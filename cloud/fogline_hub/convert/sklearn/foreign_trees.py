"""Makes the tree nodes that skl2onnx writes compute what scikit-learn does, on every input.

Three things get lost on the way. Thresholds of histogram boosting are float64 and are written as
float32; version 3 of the operators (ONNX-ML, `*_as_tensor`) holds doubles. Forests send a missing
value to the side that their nodes name, which is not written at all. And a forest's leaves are
written divided by the number of trees, so that ten of twenty votes add up to a little more than one
half and the label flips: votes are added first here, and divided after.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

STANDARD_OPSET = 14
"""Of graphs that had no node of the standard domain."""
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
    if _is_forest(estimator):
        return tuple(_grown(e.tree_) for e in estimator.estimators_)
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
    if _is_forest(estimator) and node.op_type == "TreeEnsembleClassifier":
        _add_votes_first(model, node, estimator)
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


def _add_votes_first(model: onnx.ModelProto, node: onnx.NodeProto, estimator: Any) -> None:
    """Puts a sum of leaves, a division and an ArgMax in the place of a forest's classifier node."""
    label, probabilities = node.output
    at = list(model.graph.node).index(node)
    classes = len(estimator.classes_)
    made = [_votes_node(node, estimator, f"{probabilities}.votes")]
    made.append(
        helper.make_node("Div", [f"{probabilities}.votes", "fogline.trees"], [f"{label}.share"])
    )
    if classes == 2:
        made.append(helper.make_node("Sub", ["fogline.one", f"{label}.share"], [f"{label}.rest"]))
        both = [f"{label}.rest", f"{label}.share"]
        made.append(helper.make_node("Concat", both, [probabilities], axis=1))
    else:
        made[-1].output[0] = probabilities
    made += [
        helper.make_node("ArgMax", [probabilities], [f"{label}.code"], axis=1, keepdims=0),
        helper.make_node("Gather", ["fogline.classes", f"{label}.code"], [label], axis=0),
    ]
    names = np.asarray(estimator.classes_)
    names = names.astype(np.object_ if names.dtype.kind in "UO" else np.int64)
    constants = {
        "fogline.trees": np.array([len(estimator.estimators_)], dtype=np.float32),
        "fogline.classes": names,
    }
    if classes == 2:
        constants["fogline.one"] = np.ones(1, dtype=np.float32)
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
    model.graph.node.remove(node)
    for offset, one in enumerate(made):
        model.graph.node.insert(at + offset, one)
    if not any(o.domain == "" for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", STANDARD_OPSET))


def _votes_node(node: onnx.NodeProto, estimator: Any, output: str) -> onnx.NodeProto:
    """The same trees, whose answer is the sum of the leaves' class shares."""
    values = {a.name: a for a in node.attribute}
    trees = list(values["class_treeids"].ints)
    leaves = list(values["class_nodeids"].ints)
    is_binary = len(estimator.classes_) == 2
    targets = [0] * len(trees) if is_binary else list(values["class_ids"].ints)
    shares = [_shares(e.tree_) for e in estimator.estimators_]
    weights = [
        float(shares[t][n, 1 if is_binary else c])
        for t, n, c in zip(trees, leaves, targets, strict=True)
    ]
    made = helper.make_node(
        "TreeEnsembleRegressor",
        list(node.input),
        [output],
        domain="ai.onnx.ml",
        n_targets=1 if is_binary else len(estimator.classes_),
        target_treeids=trees,
        target_nodeids=leaves,
        target_ids=targets,
        target_weights=weights,
    )
    made.attribute.extend(a for name, a in values.items() if name.startswith("nodes_"))
    return made


def _shares(tree: Any) -> NDArray[np.float64]:
    """Class shares of each node, float64 [nodes, classes]."""
    values = tree.value[:, 0, :]
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def _is_forest(estimator: Any) -> bool:
    name = type(estimator).__name__
    return name.startswith(("RandomForest", "ExtraTrees")) and hasattr(estimator, "estimators_")


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
