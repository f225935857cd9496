"""CatBoost's model as JSON (`save_model(format="json")`) as an ensemble. Pure.

CatBoost rounds to float32 and asks `x > border`. A tree is symmetric (one question a level; the
leaf's number has a bit for each answer, the first question's lowest) or has nodes of its own. A
missing value answers as its column's `nan_value_treatment` says.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from fogline.errors import Corrupt, Unsupported
from fogline_hub.convert.ensembles.ensemble import Ensemble, Mode, Preparation, Tree, joined
from fogline_hub.convert.ensembles.predictor import Link

LINKS: Mapping[str, Link] = {
    "Logloss": Link.SIGMOID,
    "CrossEntropy": Link.SIGMOID,
    "MultiClass": Link.SOFTMAX,
    "MultiClassOneVsAll": Link.SIGMOID,
    "Poisson": Link.EXP,
    "Tweedie": Link.EXP,
    "RMSE": Link.IDENTITY,
    "MAE": Link.IDENTITY,
    "MAPE": Link.IDENTITY,
    "Quantile": Link.IDENTITY,
    "MultiQuantile": Link.IDENTITY,
    "Expectile": Link.IDENTITY,
    "LogLinQuantile": Link.EXP,
    "LogCosh": Link.IDENTITY,
    "Lq": Link.IDENTITY,
    "Huber": Link.IDENTITY,
    "MultiRMSE": Link.IDENTITY,
    "YetiRank": Link.IDENTITY,
    "YetiRankPairwise": Link.IDENTITY,
    "PairLogit": Link.IDENTITY,
    "PairLogitPairwise": Link.IDENTITY,
    "QueryRMSE": Link.IDENTITY,
    "QuerySoftMax": Link.IDENTITY,
    "StochasticRank": Link.IDENTITY,
}
"""By loss function, as `predict` and `predict_proba` answer by default."""
MAX_DEPTH = 16
"""Of a symmetric tree, which has two to its power leaves."""


class CatboostJson:
    """What a model's JSON says, by the names that it uses."""

    def __init__(self, text: bytes) -> None:
        """Reads JSON.

        Raises:
            Corrupt: it is no model of CatBoost.
            Unsupported: it has columns of categories, text or vectors.
        """
        try:
            told = json.loads(text)
            features = told["features_info"]
            self._told = told
            self._floats = features.get("float_features", [])
            loss = told["model_info"]["params"]["loss_function"]["type"]
            self.loss: str = str(loss)
            self.scale = float(told["scale_and_bias"][0])
            self.bias = np.atleast_1d(np.array(told["scale_and_bias"][1], dtype=np.float64))
        except (KeyError, TypeError, ValueError, IndexError) as e:
            raise Corrupt(f"not a CatBoost model: {type(e).__name__}: {e}") from e
        for kind in ("categorical_features", "text_features", "embedding_features"):
            if features.get(kind):
                raise Unsupported(
                    f"CatBoost's {kind.replace('_', ' ')} are hashes and statistics of its own and "
                    "are not converted; encode them as numbers before training"
                )

    @property
    def link(self) -> Link:
        """Raises `Unsupported` for a loss that is not known."""
        if self.loss not in LINKS:
            raise Unsupported(
                f"the loss function {self.loss!r} is not converted; known are {', '.join(LINKS)}"
            )
        return LINKS[self.loss]

    def read(self, columns: int) -> Ensemble:
        """All trees, over so many columns.

        Raises:
            Corrupt: the parts do not fit each other.
            Unsupported: a tree deeper than `MAX_DEPTH`, or another kind of split.
        """
        try:
            if "oblivious_trees" in self._told:
                trees = [self._symmetric(t) for t in self._told["oblivious_trees"]]
            else:
                trees = [self._grown(t) for t in self._told["trees"]]
        except (KeyError, TypeError, ValueError, IndexError) as e:
            raise Corrupt(f"not a CatBoost model: {type(e).__name__}: {e}") from e
        if not trees:
            raise Unsupported("a CatBoost model without trees is not converted")
        width = np.asarray(trees[0].values).shape[1]
        outputs = max(width, len(self.bias))
        return joined(
            trees,
            columns=columns,
            outputs=outputs,
            base=np.broadcast_to(self.bias, (outputs,)),
            preparation=Preparation(float32=True),
        )

    def _question(self, split: Mapping[str, Any]) -> tuple[int, float, bool]:
        """Column, border, and whether a missing value says yes."""
        if split["split_type"] != "FloatFeature":
            raise Unsupported(f"splits of the kind {split['split_type']!r} are not converted")
        feature = self._floats[split["float_feature_index"]]
        is_yes = feature["nan_value_treatment"] == "AsTrue"
        return feature["flat_feature_index"], float(np.float32(split["border"])), is_yes

    def _symmetric(self, told: Mapping[str, Any]) -> Tree:
        """Nodes level by level: the last question stands at the root, as its bit is the highest."""
        asked = [self._question(s) for s in told["splits"] or ()][::-1]
        depth = len(asked)
        if depth > MAX_DEPTH:
            raise Unsupported(f"a tree of depth {depth}; at most {MAX_DEPTH} are converted")
        inner = 2**depth - 1
        levels = np.repeat(np.arange(depth), 2 ** np.arange(depth))
        leaves = np.array(told["leaf_values"], dtype=np.float64).reshape(2**depth, -1)
        nodes = np.arange(inner)
        pad = np.zeros(2**depth)

        def column(place: int) -> Any:
            return np.concatenate([np.array([q[place] for q in asked])[levels], pad])

        return Tree(
            features=column(0) if asked else pad,
            modes=np.concatenate([np.full(inner, Mode.GREATER), np.full(2**depth, Mode.LEAF)]),
            thresholds=column(1) if asked else pad,
            yes=np.concatenate([2 * nodes + 2, pad]),
            no=np.concatenate([2 * nodes + 1, pad]),
            missing_yes=column(2) if asked else pad,
            values=np.concatenate([np.zeros((inner, leaves.shape[1])), leaves]) * self.scale,
        )

    def _grown(self, told: Mapping[str, Any]) -> Tree:
        """A tree of nodes; right is yes."""
        level = [told]
        rows: list[tuple[Any, ...]] = []
        count = 1
        while level:
            following = []
            for node in level:
                if "split" not in node:
                    rows.append((0, Mode.LEAF, 0.0, 0, 0, False, np.atleast_1d(node["value"])))
                    continue
                column, border, is_yes = self._question(node["split"])
                following += [node["left"], node["right"]]
                rows.append((column, Mode.GREATER, border, count + 1, count, is_yes, None))
                count += 2
            level = following
        width = next(len(r[-1]) for r in rows if r[-1] is not None)
        features, modes, thresholds, yes, no, missing, values = zip(*rows, strict=True)
        return Tree(
            features=features,
            modes=modes,
            thresholds=thresholds,
            yes=yes,
            no=no,
            missing_yes=missing,
            values=np.array([np.zeros(width) if v is None else v for v in values]) * self.scale,
        )
