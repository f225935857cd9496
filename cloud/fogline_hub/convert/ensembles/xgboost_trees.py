"""XGBoost's model file (JSON, doc/model.schema of its sources) as an ensemble. Pure.

XGBoost rounds to float32, says `x < split` for the left child, and sends a missing value where
`default_left` says. A category goes right when it is in the node's set; what is below zero, too
large or a fraction is floored first, and is then in no set. Leaves are float32 and XGBoost adds
them in float32; here they are added in float64, which differs by float32's rounding.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fogline.errors import Corrupt, Unsupported
from fogline_hub.convert.ensembles.ensemble import (
    Ensemble,
    Floats,
    Mode,
    Preparation,
    Tree,
    Whole,
    joined,
    leaf,
)
from fogline_hub.convert.ensembles.linear import Linear
from fogline_hub.convert.ensembles.predictor import Link

LINKS: Mapping[str, Link] = {
    "reg:squarederror": Link.IDENTITY,
    "reg:linear": Link.IDENTITY,
    "reg:squaredlogerror": Link.IDENTITY,
    "reg:pseudohubererror": Link.IDENTITY,
    "reg:absoluteerror": Link.IDENTITY,
    "reg:quantileerror": Link.IDENTITY,
    "reg:logistic": Link.SIGMOID,
    "reg:gamma": Link.EXP,
    "reg:tweedie": Link.EXP,
    "count:poisson": Link.EXP,
    "survival:cox": Link.EXP,
    "survival:aft": Link.EXP,
    "binary:logistic": Link.SIGMOID,
    "binary:logitraw": Link.IDENTITY,
    "binary:hinge": Link.IS_POSITIVE,
    "multi:softprob": Link.SOFTMAX,
    "multi:softmax": Link.SOFTMAX,
    "rank:ndcg": Link.IDENTITY,
    "rank:map": Link.IDENTITY,
    "rank:pairwise": Link.IDENTITY,
}
"""By objective."""
_AS_LOGIT = ("binary:logistic", "reg:logistic")
"""Objectives whose base score is told as a probability."""
_CATEGORICAL = 1
"""`split_type`."""


class XgboostFile:
    """What a model file says, by the names that it uses."""

    def __init__(self, text: bytes) -> None:
        """Reads JSON.

        Raises:
            Corrupt: it is no model file.
        """
        try:
            learner = json.loads(text)["learner"]
            booster = learner["gradient_booster"]
            self.booster: str = booster["name"]
            self.objective: str = learner["objective"]["name"]
            parameters = learner["learner_model_param"]
            self.columns = int(parameters["num_feature"])
            self.classes = int(parameters["num_class"])
            self.targets = int(parameters.get("num_target", "1"))
            self.names: tuple[str, ...] = tuple(learner.get("feature_names", ()))
            self.types: tuple[str, ...] = tuple(learner.get("feature_types", ()))
            self.attributes: dict[str, str] = dict(learner.get("attributes", {}))
            self._base = _numbers(parameters["base_score"])
            part = booster["gbtree"] if self.booster == "dart" else booster
            self._model: dict[str, Any] = part["model"]
            self._weights = booster.get("weight_drop")
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise Corrupt(f"not an XGBoost model: {type(e).__name__}: {e}") from e

    @property
    def outputs(self) -> int:
        return max(self.classes, self.targets, 1)

    @property
    def link(self) -> Link:
        """Raises `Unsupported` for an objective that is not known."""
        if self.objective not in LINKS:
            raise Unsupported(
                f"the objective {self.objective!r} is not converted; known are {', '.join(LINKS)}"
            )
        return LINKS[self.objective]

    @property
    def base(self) -> Floats:
        """The base score as a sum starts with it, float64 [outputs]."""
        base = self._base.astype(np.float32)
        if self.objective in _AS_LOGIT:
            if np.any((base <= 0) | (base >= 1)):
                raise Unsupported("a base score of 0 or 1 has no finite sum; train with another")
            base = -np.log(np.float32(1.0) / base - np.float32(1.0))
        elif self.link is Link.EXP:
            if np.any(base <= 0):
                raise Unsupported("a base score of 0 or less has no finite sum; train with another")
            base = np.log(base)
        if len(base) not in (1, self.outputs):
            raise Corrupt(f"{len(base)} base scores for {self.outputs} outputs")
        return np.broadcast_to(base.astype(np.float64), (self.outputs,)).copy()

    def read(self, iterations: int | None) -> Ensemble | Linear:
        """The first iterations, or all.

        Raises:
            Corrupt: the file's parts do not fit each other.
            Unsupported: a booster that is not known.
        """
        try:
            if self.booster == "gblinear":
                return self._linear()
            if self.booster in ("gbtree", "dart"):
                return self._trees(iterations)
        except (KeyError, IndexError, TypeError, ValueError) as e:
            raise Corrupt(f"not an XGBoost model: {type(e).__name__}: {e}") from e
        raise Unsupported(f"the booster {self.booster!r} is not converted")

    def _trees(self, iterations: int | None) -> Ensemble:
        trees, targets = self._model["trees"], self._model["tree_info"]
        count = self._count(iterations)
        weights = self._weights or [1.0] * len(trees)
        grown = [
            _tree(tree, target=int(targets[i]), weight=float(np.float32(weights[i])))
            for i, tree in enumerate(trees[:count])
        ]
        if not grown:
            grown = [leaf(0.0)]  # it was stopped before its first
        categorical = [i for i, kind in enumerate(self.types) if kind == "c"]
        asked = [t.features[i] for t in grown for i in t.members]
        return joined(
            grown,
            columns=self.columns,
            outputs=self.outputs,
            base=self.base,
            preparation=Preparation(
                float32=True,
                whole_columns=np.unique(np.array([*categorical, *asked], dtype=np.int64)),
                whole=Whole.FLOOR,
            ),
        )

    def _count(self, iterations: int | None) -> int:
        """How many trees stand in the first iterations."""
        trees = len(self._model["trees"])
        if iterations is None:
            return trees
        ends = self._model.get("iteration_indptr")
        if ends is None:
            parallel = int(self._model["gbtree_model_param"].get("num_parallel_tree", "1"))
            ends = np.arange(trees + 1) * max(parallel, 1) * self.outputs
        return min(int(ends[min(iterations, len(ends) - 1)]), trees)

    def _linear(self) -> Linear:
        weights = np.array(self._model["weights"], dtype=np.float32).astype(np.float64)
        table = weights.reshape(self.columns + 1, self.outputs)
        # The linear booster starts every class with the first base score (gblinear.cc, 3.2).
        return Linear(weights=table[:-1], base=table[-1] + self.base[0])


def _tree(told: Mapping[str, Any], *, target: int, weight: float) -> Tree:
    left = np.array(told["left_children"], dtype=np.int64)
    is_leaf = left == -1
    splits = np.array(told["split_conditions"], dtype=np.float32).astype(np.float64)
    kinds = np.array(told.get("split_type") or np.zeros(len(left)), dtype=np.int64)
    is_set = (kinds == _CATEGORICAL) & ~is_leaf
    right = np.array(told["right_children"], dtype=np.int64)
    default_left = np.array(told["default_left"], dtype=np.bool_)
    return _sorted(
        Tree(
            features=np.where(is_leaf, 0, np.array(told["split_indices"], dtype=np.int64)),
            modes=np.where(is_leaf, Mode.LEAF, np.where(is_set, Mode.MEMBER, Mode.LESS)),
            thresholds=np.where(is_leaf | is_set, 0.0, splits),
            yes=np.where(is_set, right, left),
            no=np.where(is_set, left, right),
            missing_yes=default_left ^ is_set,
            values=_leaves(told, splits, is_leaf) * weight,
            members=_sets(told),
            target=target,
        )
    )


def _leaves(told: Mapping[str, Any], splits: Floats, is_leaf: Any) -> Floats:
    """A leaf's value stands where a node has its threshold; a vector in a list of its own."""
    width = int(told["tree_param"].get("size_leaf_vector", "1") or "1")
    if width <= 1:
        return np.where(is_leaf, splits, 0.0)[:, None]
    if "leaf_weights" in told:
        vectors = np.array(told["leaf_weights"], dtype=np.float32).reshape(-1, width)
        values = np.zeros((len(splits), width))
        places = np.array(told["right_children"], dtype=np.int64)[is_leaf]
        values[is_leaf] = vectors[places]
        return values
    return np.array(told["base_weights"], dtype=np.float32).astype(np.float64).reshape(-1, width)


def _sets(told: Mapping[str, Any]) -> dict[int, Floats]:
    every = np.array(told.get("categories", ()), dtype=np.float64)
    parts = zip(
        told.get("categories_nodes", ()),
        told.get("categories_segments", ()),
        told.get("categories_sizes", ()),
        strict=True,
    )
    return {int(node): every[start : start + size] for node, start, size in parts}


def _sorted(tree: Tree) -> Tree:
    """The same with children after their parents; pruning reuses the numbers of nodes."""
    yes, no, modes = np.asarray(tree.yes), np.asarray(tree.no), np.asarray(tree.modes)
    order: list[int] = []
    level = np.array([0])
    while len(level) and len(order) <= len(modes):
        order.extend(level.tolist())
        inner = level[modes[level] != Mode.LEAF]
        level = np.column_stack([yes[inner], no[inner]]).ravel()
    if len(order) > len(modes):
        raise Corrupt("a tree's node is the child of two nodes")
    place = np.zeros(len(modes), dtype=np.int64)
    place[order] = np.arange(len(order))
    return Tree(
        features=np.asarray(tree.features)[order],
        modes=modes[order],
        thresholds=np.asarray(tree.thresholds)[order],
        yes=place[yes[order]],
        no=place[no[order]],
        missing_yes=np.asarray(tree.missing_yes)[order],
        values=np.asarray(tree.values)[order],
        members={int(place[n]): m for n, m in tree.members.items() if n in set(order)},
        target=tree.target,
    )


def _numbers(text: str) -> Floats:
    """`5E-1`, or since XGBoost 3.1 `[5E-1,2E-1]`."""
    numbers = np.array([float(part) for part in text.strip("[]").split(",")])
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a base score is not finite")
    return numbers
