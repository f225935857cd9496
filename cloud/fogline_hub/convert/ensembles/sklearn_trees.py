"""scikit-learn's trees as ensembles, read from their arrays; imports nothing of scikit-learn.

Trees of `tree_` round to float32 and say `x <= threshold` in float64; those of histogram boosting
compare float64. Missing values follow `missing_go_to_left` in both. What each estimator adds up is
said at its reader; links and labels are the caller's.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fogline.errors import Unsupported
from fogline_hub.convert.ensembles.ensemble import Ensemble, Floats, Mode, Preparation, Tree, joined

FLOAT32 = Preparation(float32=True)


def read_sklearn(estimator: Any) -> Ensemble:
    """The trees of a fitted estimator, with what its method below answers.

    ============================== =====================================================
    DecisionTree*, ExtraTree*      classifier `predict_proba`, regressor `predict`
    RandomForest*, ExtraTrees*     the same
    Bagging* of trees              the same
    GradientBoosting*              `decision_function` of the classifier, `predict`
    HistGradientBoosting*          `_raw_predict`, of columns as `_preprocess_X` gives them:
                                   categorical columns first, as codes, unknown ones as NaN
    IsolationForest                `score_samples` is `-(2 ** -answer)`
    AdaBoostClassifier of trees    mean vote, [rows, classes]; `decision_function` of two classes
                                   is the second's, and `predict` the largest
    ============================== =====================================================

    Args:
        estimator: Fitted, with one output.

    Returns:
        Its ensemble; answers [rows, classes], or [rows, 1] for one number.

    Raises:
        Unsupported: it is none of these, or has several outputs or parts that are no trees.
    """
    name = type(estimator).__name__
    for prefix, reader in _READERS.items():
        if name.startswith(prefix):
            return reader(estimator)
    raise Unsupported(f"{name} is no ensemble of trees that is read")


def is_read(estimator: Any) -> bool:
    """True when there is a reader for its class; the reader may still refuse it."""
    return type(estimator).__name__.startswith(tuple(_READERS))


def _read_tree(estimator: Any) -> Ensemble:
    return _forest([estimator], estimator.n_features_in_, divisor=1.0)


def _read_forest(estimator: Any) -> Ensemble:
    trees = estimator.estimators_
    return _forest(trees, estimator.n_features_in_, divisor=float(len(trees)))


def _read_bagging(estimator: Any) -> Ensemble:
    trees = estimator.estimators_
    classes = getattr(estimator, "n_classes_", None)
    for tree in trees:
        if not hasattr(tree, "tree_") or (
            classes is not None and len(getattr(tree, "classes_", ())) != classes
        ):
            raise Unsupported(
                f"{type(estimator).__name__}: its parts are not trees that know all classes"
            )
    return _forest(
        trees,
        estimator.n_features_in_,
        divisor=float(len(trees)),
        features=estimator.estimators_features_,
    )


def _read_gradient_boosting(estimator: Any) -> Ensemble:
    stages = estimator.estimators_
    name = type(estimator).__name__
    init = estimator.init_
    row = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
    if isinstance(init, str):
        base: Any = 0.0
    elif type(init).__name__.startswith("Dummy"):
        base = np.asarray(estimator._raw_predict_init(row), dtype=np.float64).ravel()  # noqa: SLF001
    else:
        raise Unsupported(f"{name}: init={type(init).__name__} is a model of its own; leave it out")
    trees = [
        _grown(tree.tree_, tree.tree_.value[:, :, 0] * estimator.learning_rate, target=k)
        for stage in stages
        for k, tree in enumerate(stage)
    ]
    return joined(
        trees,
        columns=estimator.n_features_in_,
        outputs=stages.shape[1],
        base=base,
        preparation=FLOAT32,
    )


def _read_hist_boosting(estimator: Any) -> Ensemble:
    predictors = estimator._predictors  # noqa: SLF001
    trees = [_boosted(one, target=k) for stage in predictors for k, one in enumerate(stage)]
    categorical = estimator.is_categorical_
    count = 0 if categorical is None else int(np.sum(categorical))
    return joined(
        trees,
        columns=estimator.n_features_in_,
        outputs=len(predictors[0]),
        base=np.asarray(estimator._baseline_prediction, dtype=np.float64).ravel(),  # noqa: SLF001
        preparation=Preparation(whole_columns=np.arange(count, dtype=np.int64)),
    )


def _read_isolation_forest(estimator: Any) -> Ensemble:
    lengths = zip(
        estimator.estimators_,
        estimator.estimators_features_,
        estimator._decision_path_lengths,  # noqa: SLF001
        estimator._average_path_length_per_tree,  # noqa: SLF001
        strict=True,
    )
    trees = [
        _grown(tree.tree_, (depths + beyond - 1.0)[:, None], features=features)
        for tree, features, depths, beyond in lengths
    ]
    whole = len(trees) * _average_path_length(float(estimator.max_samples_))
    return joined(
        trees,
        columns=estimator.n_features_in_,
        outputs=1,
        divisor=whole or 1.0,
        preparation=FLOAT32,
    )


def _read_ada_boost(estimator: Any) -> Ensemble:
    """Each tree says its weight for the class it picks, and a share against the others."""
    classes = len(estimator.classes_)
    weights = estimator.estimator_weights_[: len(estimator.estimators_)]
    trees = []
    for part, weight in zip(estimator.estimators_, weights.tolist(), strict=True):
        if not hasattr(part, "tree_") or not np.array_equal(part.classes_, estimator.classes_):
            raise Unsupported("AdaBoostClassifier: its parts are not trees that know all classes")
        picked = _shares(part.tree_).argmax(axis=1)
        votes = np.full((len(picked), classes), -weight / (classes - 1))
        votes[np.arange(len(picked)), picked] = weight
        trees.append(_grown(part.tree_, votes))
    return joined(
        trees,
        columns=estimator.n_features_in_,
        outputs=classes,
        divisor=float(weights.sum()),
        preparation=FLOAT32,
    )


_READERS: dict[str, Callable[[Any], Ensemble]] = {
    "DecisionTree": _read_tree,
    "ExtraTreesClassifier": _read_forest,
    "ExtraTreesRegressor": _read_forest,
    "ExtraTreeClassifier": _read_tree,
    "ExtraTreeRegressor": _read_tree,
    "RandomForest": _read_forest,
    "Bagging": _read_bagging,
    "GradientBoosting": _read_gradient_boosting,
    "HistGradientBoosting": _read_hist_boosting,
    "IsolationForest": _read_isolation_forest,
    "AdaBoostClassifier": _read_ada_boost,
}


def _forest(
    parts: Sequence[Any],
    columns: int,
    *,
    divisor: float,
    features: Sequence[NDArray[np.int64]] | None = None,
) -> Ensemble:
    """The mean of trees whose leaves are class shares or one number."""
    chosen = features if features is not None else [None] * len(parts)
    trees = [_grown(p.tree_, _answers(p), features=f) for p, f in zip(parts, chosen, strict=True)]
    return joined(
        trees,
        columns=columns,
        outputs=trees[0].values.shape[1],
        divisor=divisor,
        preparation=FLOAT32,
    )


def _answers(part: Any) -> Floats:
    tree = part.tree_
    if tree.n_outputs != 1:
        raise Unsupported(f"{type(part).__name__} with {tree.n_outputs} outputs is not converted")
    return _shares(tree) if hasattr(part, "classes_") else np.asarray(tree.value[:, :, 0])


def _shares(tree: Any) -> Floats:
    """Class shares of each node, float64 [nodes, classes]; counts before scikit-learn 1.3."""
    values = tree.value[:, 0, :]
    sums = values.sum(axis=1, keepdims=True)
    is_shares = np.allclose(sums, 1.0, rtol=0, atol=1e-9)
    return np.asarray(values if is_shares else values / sums, dtype=np.float64)


def _grown(tree: Any, values: Any, *, features: Any = None, target: int = 0) -> Tree:
    nodes = tree.__getstate__()["nodes"]
    is_leaf = nodes["left_child"] == -1
    asked = np.where(is_leaf, 0, nodes["feature"])
    has_missing = "missing_go_to_left" in nodes.dtype.names
    missing = nodes["missing_go_to_left"].astype(np.bool_) if has_missing else ~is_leaf & False
    return Tree(
        features=asked if features is None else np.asarray(features)[asked],
        modes=np.where(is_leaf, Mode.LEAF, Mode.LESS_OR_EQUAL),
        thresholds=nodes["threshold"],
        yes=nodes["left_child"],
        no=nodes["right_child"],
        missing_yes=missing,
        values=values,
        target=target,
    )


def _boosted(predictor: Any, *, target: int) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(np.bool_)
    is_set = nodes["is_categorical"].astype(np.bool_) & ~is_leaf
    return Tree(
        features=nodes["feature_idx"],
        modes=np.where(is_leaf, Mode.LEAF, np.where(is_set, Mode.MEMBER, Mode.LESS_OR_EQUAL)),
        thresholds=np.where(is_set, 0.0, nodes["num_threshold"]),
        yes=nodes["left"],
        no=nodes["right"],
        missing_yes=nodes["missing_go_to_left"].astype(np.bool_),
        values=nodes["value"][:, None],
        members={
            int(i): _bits(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][i]])
            for i in np.flatnonzero(is_set)
        },
        target=target,
    )


def _bits(words: NDArray[np.uint32]) -> Floats:
    """The numbers of the bits that are set."""
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return np.flatnonzero(bits).astype(np.float64)


def _average_path_length(samples: float) -> float:
    """Of an unsuccessful search in a binary tree of `samples` (Liu, Ting, Zhou 2008, eq. 1)."""
    if samples <= 1:
        return 0.0
    if samples == 2:
        return 1.0
    harmonic = np.log(samples - 1.0) + np.euler_gamma
    return float(2.0 * harmonic - 2.0 * (samples - 1.0) / samples)
