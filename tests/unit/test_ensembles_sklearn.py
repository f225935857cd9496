"""scikit-learn's trees, read as arrays, answer as scikit-learn: rows, holes and thresholds."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes, load_wine
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from fogline.errors import Unsupported
from fogline_hub.convert.ensembles import Ensemble, evaluate
from fogline_hub.convert.ensembles.sklearn_trees import is_read, read_sklearn
from tests.unit.test_ensembles import run

Matrix = NDArray[np.float64]


def near(ensemble: Ensemble, rows: Matrix, *, missing: bool) -> Matrix:
    """Rows, and the same with one column at, or one ulp beside, a threshold, or missing."""
    rng = np.random.default_rng(5)
    inner = np.flatnonzero(~ensemble.is_leaf)
    chosen = rng.choice(inner, 400)
    made = rows[rng.integers(0, len(rows), 400)].copy()
    limits = ensemble.thresholds[chosen].clip(-1e38, 1e38)
    sides = [limits, np.nextafter(limits, np.inf), np.nextafter(limits, -np.inf)]
    sides.append(np.nextafter(limits.astype(np.float32), np.float32(-np.inf)).astype(np.float64))
    if missing:
        sides.append(np.full(400, np.nan))
    made[np.arange(400), ensemble.features[chosen]] = np.choose(
        rng.integers(0, len(sides), 400), sides
    )
    return np.concatenate([rows, made])


def asked(model: Any, rows: Matrix) -> Matrix:
    name = type(model).__name__
    if name.startswith("HistGradientBoosting"):
        return np.asarray(model._raw_predict(rows))
    if name == "IsolationForest":
        return np.asarray(-np.log2(-model.score_samples(rows))[:, None])
    if name in ("GradientBoostingClassifier", "AdaBoostClassifier"):
        numbers = model.decision_function(rows)
    elif hasattr(model, "predict_proba"):
        numbers = model.predict_proba(rows)
    else:
        numbers = model.predict(rows)
    return np.asarray(numbers).reshape(len(rows), -1)


CLASSIFIERS = [
    DecisionTreeClassifier(random_state=0),
    ExtraTreeClassifier(random_state=0),
    RandomForestClassifier(15, random_state=0),
    ExtraTreesClassifier(15, random_state=0, max_depth=3),
    BaggingClassifier(n_estimators=8, max_features=0.6, random_state=0),
    GradientBoostingClassifier(n_estimators=12, random_state=0),
    GradientBoostingClassifier(n_estimators=5, init="zero", random_state=0),
    AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=9, random_state=0),
    HistGradientBoostingClassifier(max_iter=10),
    IsolationForest(n_estimators=20, max_features=5, random_state=0),
]
REGRESSORS = [
    DecisionTreeRegressor(random_state=0),
    ExtraTreeRegressor(random_state=0),
    RandomForestRegressor(10, random_state=0),
    ExtraTreesRegressor(10, random_state=0),
    BaggingRegressor(n_estimators=8, max_features=0.6, random_state=0),
    GradientBoostingRegressor(n_estimators=12, loss="huber", random_state=0),
    HistGradientBoostingRegressor(max_iter=10, loss="poisson"),
]
TAKES_MISSING = (
    "DecisionTree",
    "RandomForest",
    "ExtraTree",
    "HistGradientBoosting",
    "IsolationForest",
)


@pytest.mark.parametrize("with_holes", [False, True])
@pytest.mark.parametrize("model", [*CLASSIFIERS, *REGRESSORS], ids=lambda m: type(m).__name__)
def test_trees_answer_as_scikit_learn(model: Any, with_holes: bool) -> None:
    takes_missing = type(model).__name__.startswith(TAKES_MISSING)
    if with_holes and not takes_missing:
        pytest.skip("takes no missing values")
    load = load_diabetes if model in REGRESSORS else load_wine
    rows, target = load(return_X_y=True)
    if with_holes:
        rows[np.random.default_rng(1).random(rows.shape) < 0.1] = np.nan
    model.fit(rows, target)
    ensemble = read_sklearn(model)
    tried = near(ensemble, rows, missing=takes_missing)
    expected = asked(model, tried)
    np.testing.assert_allclose(evaluate(ensemble, tried), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(run(ensemble, tried), expected, rtol=1e-12, atol=1e-12)


def test_categories_of_histogram_boosting_go_where_its_bitsets_say() -> None:
    rows, target = load_wine(return_X_y=True)
    rng = np.random.default_rng(2)
    category = ((target * 5 + rng.integers(0, 4, len(target))) * 7 % 22).astype(np.float64)
    rows = np.column_stack([rows[:, :3], category])
    rows[::9, 3] = np.nan
    model = HistGradientBoostingClassifier(max_iter=10, categorical_features=[3]).fit(rows, target)
    ensemble = read_sklearn(model)
    tried = np.concatenate([rows, rows])
    tried[len(rows) :, 3] = rng.choice([*range(60), 1e6, -3, np.nan], len(rows))
    codes = model._preprocess_X(tried, reset=False)
    assert len(ensemble.members)
    np.testing.assert_allclose(run(ensemble, codes), model._raw_predict(tried), atol=1e-12)


def test_what_is_no_sum_of_trees_is_refused() -> None:
    rows, target = load_diabetes(return_X_y=True)
    two = RandomForestRegressor(3).fit(rows, np.column_stack([target, target]))
    init = GradientBoostingRegressor(n_estimators=2, init=LinearRegression()).fit(rows, target)
    bagged = BaggingRegressor(LinearRegression(), n_estimators=2).fit(rows, target)
    ada = AdaBoostRegressor(n_estimators=2).fit(rows, target)
    assert not is_read(ada)
    for model in (two, init, bagged, ada):
        with pytest.raises(Unsupported):
            read_sklearn(model)
