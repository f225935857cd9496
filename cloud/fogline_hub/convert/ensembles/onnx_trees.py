"""Writes an ensemble as `TreeEnsemble` of ONNX-ML 5, in float64; the one place that does.

A leaf of that operator has one value for one output. Trees whose leaves have one value for each
output (forests of classifiers) answer with the number of their leaf instead, a tree each; the
values come from a table (Gather) and are added (ReduceSum). That is exact, smaller than a tree for
each class, and does not depend on batch or threads.

Where onnxruntime's kernel needs care (1.32, held against `evaluation` by a property test):
it has no base values, so they are added after; a tree that is one leaf needs a root with two
branches to it; and a MEMBER set longer than two numbers also holds every fraction above its
members, so that only columns of whole numbers, or truncated to them, are asked for membership.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from fogline.errors import Unsupported
from fogline_hub.convert.ensembles.assembly import Assembly
from fogline_hub.convert.ensembles.ensemble import (
    Ensemble,
    Floats,
    Ints,
    Mode,
    Preparation,
    Whole,
)

SUM = 1
"""`aggregate_function`."""


def write_trees(assembly: Assembly, ensemble: Ensemble, given: str, *, is_double: bool) -> str:
    """Adds nodes that answer as `evaluation.evaluate` does.

    Args:
        assembly: Gets the nodes.
        ensemble: The trees.
        given: A tensor [rows, columns] of the graph.
        is_double: It is float64, else float32.

    Returns:
        The name of a tensor, float64 [rows, outputs].

    Raises:
        Unsupported: a set of categories holds fractions, or its column is not truncated.
    """
    _check_sets(ensemble)
    prepared = _write_preparation(assembly, ensemble, given, is_double=is_double)
    table = _Table.of(ensemble)
    if ensemble.has_vector_leaves:
        total = _write_vectors(assembly, ensemble, table, prepared)
    else:
        total = _write_node(assembly, ensemble, table, prepared, table.values[:, 0])
    if ensemble.divisor != 1.0:
        total = assembly.add("Div", total, assembly.constant(np.array([ensemble.divisor])))
    if ensemble.base.any():
        total = assembly.add("Add", total, assembly.constant(ensemble.base[None, :]))
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Inner nodes and leaves apart, as the operator numbers them."""

    features: Ints
    modes: NDArray[np.uint8]
    thresholds: Floats
    missing_yes: NDArray[np.bool_]
    yes: Ints
    yes_is_leaf: NDArray[np.bool_]
    no: Ints
    no_is_leaf: NDArray[np.bool_]
    members: Floats
    """The sets, each followed by NaN."""
    roots: Ints
    leaf_trees: Ints
    values: Floats
    """[leaves, width]."""

    @classmethod
    def of(cls, ensemble: Ensemble) -> "_Table":
        is_leaf = ensemble.is_leaf
        inner = np.flatnonzero(~is_leaf)
        stumps = np.flatnonzero(is_leaf[ensemble.roots])
        places = np.where(is_leaf, np.cumsum(is_leaf) - 1, np.cumsum(~is_leaf) - 1)
        stump_leaves = places[ensemble.roots[stumps]]
        roots = places[ensemble.roots]
        roots[stumps] = len(inner) + np.arange(len(stumps))
        count = len(stumps)
        mode = _plain_mode(ensemble.modes[inner])
        yes, no = ensemble.yes[inner], ensemble.no[inner]
        true, false = np.ones(count, np.bool_), np.zeros(count, np.bool_)
        return cls(
            features=np.concatenate([ensemble.features[inner], np.zeros(count, np.int64)]),
            modes=np.concatenate([ensemble.modes[inner], np.full(count, mode, np.uint8)]),
            thresholds=np.concatenate([ensemble.thresholds[inner], np.zeros(count)]),
            missing_yes=np.concatenate([ensemble.missing_yes[inner], false]),
            yes=np.concatenate([places[yes], stump_leaves]),
            yes_is_leaf=np.concatenate([is_leaf[yes], true]),
            no=np.concatenate([places[no], stump_leaves]),
            no_is_leaf=np.concatenate([is_leaf[no], true]),
            members=_delimited(ensemble, inner),
            roots=roots,
            leaf_trees=_trees_of(ensemble)[is_leaf],
            values=ensemble.values[is_leaf],
        )


def _write_vectors(assembly: Assembly, ensemble: Ensemble, table: _Table, given: str) -> str:
    numbers = np.arange(len(table.values), dtype=np.float64)
    ids = _write_node(assembly, ensemble, table, given, numbers, by_tree=True)
    whole = assembly.cast(ids, onnx.TensorProto.INT64)
    picked = assembly.add("Gather", assembly.constant(table.values), whole, axis=0)
    axes = assembly.constant(np.array([1], dtype=np.int64))
    return assembly.add("ReduceSum", picked, axes, keepdims=0)


def _write_node(
    assembly: Assembly,
    ensemble: Ensemble,
    table: _Table,
    given: str,
    weights: Floats,
    *,
    by_tree: bool = False,
) -> str:
    targets = table.leaf_trees if by_tree else ensemble.targets[table.leaf_trees]
    optional = {}
    if table.missing_yes.any():
        optional["nodes_missing_value_tracks_true"] = table.missing_yes.astype(int).tolist()
    if len(table.members):
        optional["membership_values"] = numpy_helper.from_array(table.members)
    return assembly.add(
        "TreeEnsemble",
        given,
        n_targets=len(ensemble.roots) if by_tree else ensemble.outputs,
        aggregate_function=SUM,
        post_transform=0,
        tree_roots=table.roots.tolist(),
        nodes_featureids=table.features.tolist(),
        nodes_modes=numpy_helper.from_array(table.modes),
        nodes_splits=numpy_helper.from_array(table.thresholds),
        nodes_truenodeids=table.yes.tolist(),
        nodes_trueleafs=table.yes_is_leaf.astype(int).tolist(),
        nodes_falsenodeids=table.no.tolist(),
        nodes_falseleafs=table.no_is_leaf.astype(int).tolist(),
        leaf_targetids=targets.tolist(),
        leaf_weights=numpy_helper.from_array(np.ascontiguousarray(weights)),
        **optional,
    )


def _write_preparation(
    assembly: Assembly, ensemble: Ensemble, given: str, *, is_double: bool
) -> str:
    """The input as float64, rounded, with holes and truncated as the ensemble says."""
    steps = ensemble.preparation
    made = given
    if is_double and steps.float32:
        made = assembly.cast(made, onnx.TensorProto.FLOAT)
    if steps.float32 or not is_double:
        made = assembly.cast(made, onnx.TensorProto.DOUBLE)
    if steps.zero_bound > 0:
        made = _write_zeros(assembly, steps, made, ensemble.columns)
    if len(steps.whole_columns):
        # Not a cast to whole numbers, which has no answer for NaN and for large numbers.
        whole = assembly.add("Floor", made)
        if steps.whole is Whole.TRUNCATED:
            is_negative = assembly.add("Less", made, assembly.constant(np.zeros(1)))
            whole = assembly.add("Where", is_negative, assembly.add("Ceil", made), whole)
        chosen = assembly.constant(_mask(steps.whole_columns, ensemble.columns))
        made = assembly.add("Where", chosen, whole, made)
    return made


def _write_zeros(assembly: Assembly, steps: Preparation, given: str, columns: int) -> str:
    """What is as good as zero becomes 0, or NaN in some columns."""
    fill = np.where(_mask(steps.zero_columns, columns), np.nan, 0.0)
    size = assembly.add("Abs", given)
    is_zero = assembly.add("LessOrEqual", size, assembly.constant(np.array([steps.zero_bound])))
    return assembly.add("Where", is_zero, assembly.constant(fill), given)


def _mask(chosen: Ints, columns: int) -> NDArray[np.bool_]:
    mask = np.zeros((1, columns), dtype=np.bool_)
    mask[0, chosen] = True
    return mask


def _trees_of(ensemble: Ensemble) -> Ints:
    """The tree of each node, int64 [nodes]; children come after their parents."""
    trees = np.zeros(len(ensemble.modes), dtype=np.int64)
    trees[ensemble.roots] = np.arange(len(ensemble.roots))
    level = ensemble.roots
    while len(level):
        inner = level[ensemble.modes[level] != Mode.LEAF]
        for side in (ensemble.yes, ensemble.no):
            trees[side[inner]] = trees[inner]
        level = np.concatenate([ensemble.yes[inner], ensemble.no[inner]])
    return trees


def _delimited(ensemble: Ensemble, inner: Ints) -> Floats:
    sets = [
        part
        for node in inner[ensemble.modes[inner] == Mode.MEMBER].tolist()
        for part in (ensemble.members_of(node), [np.nan])
    ]
    return np.concatenate(sets).astype(np.float64) if sets else np.zeros(0)


def _plain_mode(modes: NDArray[np.uint8]) -> int:
    """The mode of a root without a question: that of the others, so that the fast path stays."""
    plain = modes[modes != Mode.MEMBER]
    return int(plain[0]) if len(plain) else int(Mode.LESS_OR_EQUAL)


def _check_sets(ensemble: Ensemble) -> None:
    asked = ensemble.features[ensemble.modes == Mode.MEMBER]
    if not np.isin(asked, ensemble.preparation.whole_columns).all() or np.any(
        ensemble.members != np.trunc(ensemble.members)
    ):
        raise Unsupported("sets of categories are written for columns of whole numbers only")
