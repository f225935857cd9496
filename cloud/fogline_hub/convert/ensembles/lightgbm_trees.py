"""LightGBM's model text (version 3 and 4, `Tree::ToString` of its sources) as an ensemble. Pure.

LightGBM compares float64 and says `x <= threshold` for the left child. What counts as missing is
said by each split: nothing (then NaN is zero), zero and NaN, or NaN. A category goes left when it
is in the split's set, after a cast to a whole number; a missing one goes right (`tree.h`,
`NumericalDecision` and `CategoricalDecision`).
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fogline.errors import Corrupt, Unsupported
from fogline_hub.convert.ensembles.ensemble import (
    Ensemble,
    Floats,
    Ints,
    Mode,
    Preparation,
    Tree,
    joined,
    leaf,
)
from fogline_hub.convert.ensembles.predictor import Link

LINKS: Mapping[str, Link] = {
    "regression": Link.IDENTITY,
    "regression_l1": Link.IDENTITY,
    "huber": Link.IDENTITY,
    "fair": Link.IDENTITY,
    "quantile": Link.IDENTITY,
    "mape": Link.IDENTITY,
    "poisson": Link.EXP,
    "gamma": Link.EXP,
    "tweedie": Link.EXP,
    "binary": Link.SIGMOID,
    "multiclass": Link.SOFTMAX,
    "multiclassova": Link.SIGMOID,
    "cross_entropy": Link.SIGMOID,
    "cross_entropy_lambda": Link.SOFTPLUS,
    "lambdarank": Link.IDENTITY,
    "rank_xendcg": Link.IDENTITY,
    "": Link.IDENTITY,
}
"""By objective; none is one of the user's own, whose sums are the answer."""
ZERO_BOUND = float(np.float32(1e-35))
"""`kZeroThreshold`: numbers up to this size are zero, also when it predicts."""
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_NOTHING, _ZERO, _NAN = 0, 1, 2
"""What a split counts as missing; bits 2 and 3 of its decision type."""


class LightgbmText:
    """What a model's text says, by the names that it uses."""

    def __init__(self, text: str) -> None:
        """Reads the text that `Booster.model_to_string` gives.

        Raises:
            Corrupt: it is no such text.
        """
        head, *parts = re.split(r"\n\nTree=\d+\n", text.partition("\nend of trees")[0])
        told = _fields(head)
        try:
            self.columns = int(told["max_feature_idx"]) + 1
            self.outputs = int(told["num_tree_per_iteration"])
            self.is_mean = "average_output" in head.splitlines()
            words = told.get("objective", "").split()
            self.names = tuple(told["feature_names"].split(" "))
            self.infos = tuple(told.get("feature_infos", "").split(" "))
            self.objective = words[0] if words and words[0] != "custom" else ""
            self.options = tuple(words[1:])
            self._parts = [_fields(part) for part in parts]
        except (KeyError, ValueError) as e:
            raise Corrupt(f"not a LightGBM model: {type(e).__name__}: {e}") from e

    @property
    def link(self) -> Link:
        """Raises `Unsupported` for an objective that is not known."""
        if self.objective not in LINKS:
            known = ", ".join(n for n in LINKS if n)
            raise Unsupported(
                f"the objective {self.objective!r} is not converted; known are {known}"
            )
        if self.objective.startswith("regression") and "sqrt" in self.options:
            return Link.SIGNED_SQUARE
        return LINKS[self.objective]

    @property
    def scale(self) -> float:
        """Of sums, before a sigmoid."""
        told = [o.partition(":")[2] for o in self.options if o.startswith("sigmoid:")]
        return float(told[0]) if told else 1.0

    def read(self) -> Ensemble:
        """All trees.

        Raises:
            Corrupt: the text's parts do not fit each other.
            Unsupported: linear trees, or a column whose missing values are told in two ways.
        """
        try:
            missing = _missing_types(self._parts, self.columns)
            trees = [_tree(p, i % self.outputs) for i, p in enumerate(self._parts)]
        except (KeyError, ValueError, IndexError) as e:
            raise Corrupt(f"not a LightGBM model: {type(e).__name__}: {e}") from e
        if not trees:
            trees = [leaf(0.0, k) for k in range(self.outputs)]
        sets = [t.features[i] for t in trees for i in t.members]
        return joined(
            trees,
            columns=self.columns,
            outputs=self.outputs,
            divisor=float(max(len(self._parts) // self.outputs, 1)) if self.is_mean else 1.0,
            preparation=Preparation(
                zero_bound=ZERO_BOUND,
                zero_columns=np.flatnonzero(missing == _ZERO),
                whole_columns=np.unique(np.array(sets, dtype=np.int64)),
            ),
        )


def _tree(told: Mapping[str, str], target: int) -> Tree:
    if told.get("is_linear", "0") != "0":
        raise Unsupported(
            "leaves that are linear models (linear_tree) are not converted; train without"
        )
    leaves = _floats(told["leaf_value"])
    if int(told["num_leaves"]) <= 1:
        return leaf(float(leaves[0]), target)
    kinds = _ints(told["decision_type"])
    inner = len(kinds)
    limits = _floats(told["threshold"])
    is_set = (kinds & _CATEGORICAL) != 0
    is_left = (kinds & _DEFAULT_LEFT) != 0
    missing = np.where((kinds >> 2) & 3 == _NOTHING, limits >= 0.0, is_left) & ~is_set
    return Tree(
        features=_padded(_ints(told["split_feature"]), len(leaves)),
        modes=_padded(np.where(is_set, Mode.MEMBER, Mode.LESS_OR_EQUAL), len(leaves), Mode.LEAF),
        thresholds=_padded(np.where(is_set, 0.0, limits), len(leaves)),
        yes=_padded(_places(told["left_child"], inner), len(leaves)),
        no=_padded(_places(told["right_child"], inner), len(leaves)),
        missing_yes=_padded(missing, len(leaves)),
        values=np.concatenate([np.zeros(inner), leaves])[:, None],
        members=_sets(told, limits, is_set),
        target=target,
    )


def _sets(told: Mapping[str, str], limits: Floats, is_set: NDArray[np.bool_]) -> dict[int, Floats]:
    if not is_set.any():
        return {}
    ends, words = _ints(told["cat_boundaries"]), _ints(told["cat_threshold"]).astype("<u4")
    found = {}
    for node in np.flatnonzero(is_set).tolist():
        at = int(limits[node])
        bits = np.unpackbits(words[ends[at] : ends[at + 1]].view(np.uint8), bitorder="little")
        found[node] = np.flatnonzero(bits).astype(np.float64)
    return found


def _missing_types(parts: list[dict[str, str]], columns: int) -> Ints:
    """What counts as missing in each column, int64 [columns]; -1 where no number is asked.

    Raises:
        Unsupported: two splits of one column say it differently, and one says zero.
    """
    found = np.full(columns, -1, dtype=np.int64)
    for told in parts:
        if int(told["num_leaves"]) <= 1:
            continue
        kinds = _ints(told["decision_type"])
        asked = _ints(told["split_feature"])
        is_number = (kinds & _CATEGORICAL) == 0
        types = (kinds >> 2) & 3
        for column, kind in set(
            zip(asked[is_number].tolist(), types[is_number].tolist(), strict=True)
        ):
            if found[column] not in (-1, kind) and _ZERO in (found[column], kind):
                raise Unsupported(
                    f"column {column} counts zero as missing in some trees only; train in one go"
                )
            found[column] = kind
    return found


def _places(text: str, inner: int) -> Ints:
    """Children as numbers of nodes; a leaf is told as its complement, and comes after the inner."""
    told = _ints(text)
    return np.where(told < 0, inner - told - 1, told)


def _padded(values: Any, count: int, fill: Any = 0) -> Any:
    return np.concatenate([values, np.full(count, fill)])


def _fields(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _floats(text: str) -> Floats:
    return np.array([float(word) for word in text.split()], dtype=np.float64)


def _ints(text: str) -> Ints:
    return np.array([int(word) for word in text.split()], dtype=np.int64)
