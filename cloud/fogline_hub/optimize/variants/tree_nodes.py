"""Tree ensemble nodes of an ONNX graph, cut to their first trees or narrowed to float32.

Understood are `TreeEnsemble` of ONNX-ML 5, also where its leaves are rows of a table that is
gathered and added, and `TreeEnsembleClassifier` and `TreeEnsembleRegressor` of versions 1 to 3.

Source: ONNX, Operators-ml.md, the three operators.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from fogline.errors import Unsupported

OPERATOR = "TreeEnsemble"
OLDER = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")
_BELOW = (0, 3, "BRANCH_LEQ", "BRANCH_GT")
"""Modes whose answer for every float32 stays when the threshold is rounded down to float32."""
_ABOVE = (1, 2, "BRANCH_LT", "BRANCH_GTE")
_LEAF = "LEAF"


def tree_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [n for n in model.graph.node if n.op_type == OPERATOR or n.op_type in OLDER]


def settings(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes as Python values; tensors as arrays, texts as bytes."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {
        n: numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v
        for n, v in found.items()
    }


def replace_settings(node: onnx.NodeProto, values: dict[str, Any]) -> None:
    """Gives a node other attributes; arrays become tensors."""
    del node.attribute[:]
    for name, value in sorted(values.items()):
        given = numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        node.attribute.append(helper.make_attribute(name, given))


def tree_count(node: onnx.NodeProto) -> int:
    values = settings(node)
    if node.op_type == OPERATOR:
        return len(values["tree_roots"])
    return len(set(values["nodes_treeids"]))


def is_by_tree(node: onnx.NodeProto) -> bool:
    """True where each tree answers by itself, with the number of its leaf."""
    values = settings(node)
    return (
        node.op_type == OPERATOR
        and values["n_targets"] == len(values["tree_roots"])
        and np.array_equal(values["leaf_weights"], np.arange(len(values["leaf_weights"])))
    )


def cut(node: onnx.NodeProto, keep: int, scale: float) -> NDArray[np.int64]:
    """Leaves the first `keep` trees, their leaves times `scale`; numbered leaves are not scaled.

    Returns:
        Old numbers of the leaves that stay, for a table of them.

    Raises:
        Unsupported: the ensemble has sets of categories.
    """
    if node.op_type != OPERATOR:
        return _cut_older(node, keep, scale)
    values = settings(node)
    if "membership_values" in values:
        raise Unsupported("trees with sets of categories are not cut")
    inner, leaves = _reached(values, keep)
    by_tree = is_by_tree(node)
    for side in ("true", "false"):
        ids = np.array(values[f"nodes_{side}nodeids"])[inner]
        is_leaf = np.array(values[f"nodes_{side}leafs"])[inner].astype(bool)
        places = np.where(is_leaf, np.searchsorted(leaves, ids), np.searchsorted(inner, ids))
        values[f"nodes_{side}nodeids"] = places.tolist()
        values[f"nodes_{side}leafs"] = is_leaf.astype(int).tolist()
    roots = np.array(values["tree_roots"][:keep])
    values["tree_roots"] = np.searchsorted(inner, roots).tolist()
    for name in ("nodes_featureids", "nodes_missing_value_tracks_true"):
        if name in values:
            values[name] = np.array(values[name])[inner].tolist()
    for name in ("nodes_modes", "nodes_splits", "nodes_hitrates"):
        if name in values:
            values[name] = values[name][inner]
    values["leaf_targetids"] = np.array(values["leaf_targetids"])[leaves].tolist()
    weights = values["leaf_weights"][leaves]
    numbered = np.arange(len(leaves)).astype(weights.dtype)
    values["leaf_weights"] = numbered if by_tree else (weights * scale).astype(weights.dtype)
    if by_tree:
        values["n_targets"] = keep
    replace_settings(node, values)
    return leaves


def narrow(node: onnx.NodeProto) -> bool:
    """Makes a float64 node compare and add in float32; every float32 input goes the same way.

    A threshold is rounded towards the side on which no float32 lies between it and what it was.

    Returns:
        False where the node is float32 already.

    Raises:
        Unsupported: a question that rounding would change.
    """
    values = settings(node)
    names = (
        ("nodes_splits", "leaf_weights")
        if node.op_type == OPERATOR
        else ("nodes_values_as_tensor", "class_weights_as_tensor", "target_weights_as_tensor")
    )
    if names[0] not in values or values[names[0]].dtype != np.float64:
        return False
    if "membership_values" in values:
        raise Unsupported("sets of categories are not narrowed")
    modes = values["nodes_modes"]
    listed = [m.decode() for m in modes] if node.op_type != OPERATOR else modes.tolist()
    values[names[0]] = _rounded(values[names[0]], listed)
    for name in names[1:]:
        if name in values:
            values[name] = values[name].astype(np.float32)
    if node.op_type != OPERATOR:
        values = {
            n.removesuffix("_as_tensor"): v.astype(np.float32).tolist()
            if n.endswith("_as_tensor")
            else v
            for n, v in values.items()
        }
    elif "nodes_hitrates" in values:
        del values["nodes_hitrates"]
    replace_settings(node, values)
    return True


def _reached(values: dict[str, Any], keep: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Inner nodes and leaves of the first trees, ascending."""
    inner: set[int] = set()
    leaves: set[int] = set()
    todo = list(values["tree_roots"][:keep])
    while todo:
        node = todo.pop()
        if node in inner:
            continue
        inner.add(node)
        for side in ("true", "false"):
            child = values[f"nodes_{side}nodeids"][node]
            if values[f"nodes_{side}leafs"][node]:
                leaves.add(child)
            else:
                todo.append(child)
    return np.array(sorted(inner), np.int64), np.array(sorted(leaves), np.int64)


def _cut_older(node: onnx.NodeProto, keep: int, scale: float) -> NDArray[np.int64]:
    values = settings(node)
    kept = set(sorted(set(values["nodes_treeids"]))[:keep])
    for prefix, key in (
        ("nodes", "nodes_treeids"),
        ("class", "class_treeids"),
        ("target", "target_treeids"),
    ):
        if key not in values:
            continue
        chosen = np.array([t in kept for t in values[key]])
        for name, value in list(values.items()):
            if name.startswith(f"{prefix}_") and len(value) == len(chosen):
                values[name] = _chosen(value, chosen)
    for name in ("class_weights", "target_weights"):
        if name in values:
            values[name] = (np.array(values[name]) * scale).tolist()
        if f"{name}_as_tensor" in values:
            values[f"{name}_as_tensor"] = values[f"{name}_as_tensor"] * scale
    replace_settings(node, values)
    return np.zeros(0, np.int64)


def _chosen(value: Any, chosen: NDArray[np.bool_]) -> Any:
    if isinstance(value, np.ndarray):
        return value[chosen]
    return [v for v, is_kept in zip(value, chosen.tolist(), strict=True) if is_kept]


def _rounded(thresholds: NDArray[np.float64], modes: list[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    below = np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
    above = np.where(near < thresholds, np.nextafter(near, np.float32(np.inf)), near)
    made = near.copy()
    for i, mode in enumerate(modes):
        if mode in _BELOW:
            made[i] = below[i]
        elif mode in _ABOVE:
            made[i] = above[i]
        elif mode != _LEAF and float(near[i]) != thresholds[i]:
            raise Unsupported("a threshold of equality is no float32")
    return made
