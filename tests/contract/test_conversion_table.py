"""The support table of docs/conversion.md: every row of it is converted and proved here.

`FOGLINE_UPDATE_DOCS=1 pytest tests/contract/test_conversion_table.py` writes the table anew.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import (
    calibration,
    cluster,
    covariance,
    decomposition,
    discriminant_analysis,
    dummy,
    ensemble,
    feature_selection,
    gaussian_process,
    kernel_approximation,
    kernel_ridge,
    linear_model,
    mixture,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.base import is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline, make_union

from fogline.errors import Unsupported
from fogline_hub.convert.child import convert
from fogline_hub.convert.dataset import DatasetLimits
from fogline_hub.convert.handover import ConversionJob
from tests.trained import bundled, save_matrix, save_model

DOCUMENT = Path(__file__).parents[2] / "docs" / "conversion.md"
BEGIN, END = "<!-- scikit-learn: begin -->", "<!-- scikit-learn: end -->"
LOGISTIC = linear_model.LogisticRegression(max_iter=500)
FEW = {"n_estimators": 8, "random_state": 0}


@dataclass(frozen=True)
class Row:
    family: str
    models: tuple[Any, ...]
    steps: bool = False
    """Proved in front of a forest, which shows each last bit."""


ROWS = (
    Row(
        "linear models",
        (
            linear_model.LinearRegression(),
            linear_model.Ridge(),
            linear_model.Lasso(),
            linear_model.ElasticNet(),
            linear_model.BayesianRidge(),
            linear_model.HuberRegressor(max_iter=500),
            linear_model.PoissonRegressor(),
            linear_model.GammaRegressor(),
            linear_model.TweedieRegressor(),
            linear_model.SGDRegressor(random_state=0),
            LOGISTIC,
            linear_model.RidgeClassifier(),
            linear_model.SGDClassifier(loss="log_loss", random_state=0),
            linear_model.Perceptron(),
        ),
    ),
    Row(
        "support vectors and kernels",
        (
            svm.SVC(),
            svm.NuSVC(),
            svm.LinearSVC(),
            svm.SVR(),
            svm.LinearSVR(),
            kernel_ridge.KernelRidge(kernel="rbf", gamma=0.1),
            gaussian_process.GaussianProcessRegressor(alpha=1.0),
        ),
    ),
    Row(
        "trees, forests and boosting",
        (
            tree.DecisionTreeClassifier(random_state=0),
            tree.DecisionTreeRegressor(random_state=0),
            ensemble.RandomForestClassifier(**FEW),
            ensemble.RandomForestRegressor(**FEW),
            ensemble.ExtraTreesClassifier(**FEW),
            ensemble.GradientBoostingClassifier(**FEW),
            ensemble.GradientBoostingRegressor(**FEW),
            ensemble.HistGradientBoostingClassifier(max_iter=8),
            ensemble.HistGradientBoostingRegressor(max_iter=8),
            ensemble.AdaBoostClassifier(**FEW),
            ensemble.AdaBoostRegressor(**FEW),
            ensemble.BaggingClassifier(**FEW),
            ensemble.BaggingRegressor(**FEW),
        ),
    ),
    Row(
        "neighbours, Bayes, networks, discriminants",
        (
            neighbors.KNeighborsClassifier(),
            neighbors.KNeighborsRegressor(weights="distance"),
            naive_bayes.GaussianNB(),
            naive_bayes.BernoulliNB(),
            neural_network.MLPClassifier((8,), max_iter=30, solver="lbfgs", random_state=0),
            neural_network.MLPRegressor(
                hidden_layer_sizes=(8,), max_iter=30, solver="lbfgs", random_state=0
            ),
            discriminant_analysis.LinearDiscriminantAnalysis(),
        ),
    ),
    Row(
        "made of others",
        (
            ensemble.VotingClassifier([("a", LOGISTIC), ("b", naive_bayes.GaussianNB())]),
            ensemble.StackingClassifier([("a", LOGISTIC), ("b", naive_bayes.GaussianNB())]),
            ensemble.StackingRegressor([("a", linear_model.Ridge()), ("b", svm.SVR())]),
            calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2),
            calibration.CalibratedClassifierCV(LOGISTIC, method="isotonic", cv=2),
            model_selection.GridSearchCV(LOGISTIC, {"C": [0.1, 1.0]}, cv=2),
            model_selection.FixedThresholdClassifier(LOGISTIC, threshold=0.3),
            multiclass.OneVsRestClassifier(LOGISTIC),
            multiclass.OneVsOneClassifier(svm.LinearSVC()),
            feature_selection.RFE(LOGISTIC, n_features_to_select=4),
            FrozenEstimator(LOGISTIC),
            dummy.DummyClassifier(),
        ),
    ),
    Row(
        "outliers and clusters",
        (
            ensemble.IsolationForest(**FEW),
            svm.OneClassSVM(),
            neighbors.LocalOutlierFactor(novelty=True),
            covariance.EllipticEnvelope(random_state=0),
            cluster.KMeans(3, n_init=1, random_state=0),
            cluster.MiniBatchKMeans(3, n_init=1, random_state=0),
            mixture.GaussianMixture(2, random_state=0),
        ),
    ),
    Row(
        "steps",
        (
            preprocessing.StandardScaler(),
            preprocessing.MinMaxScaler(),
            preprocessing.MaxAbsScaler(),
            preprocessing.RobustScaler(),
            preprocessing.Normalizer(),
            preprocessing.Binarizer(threshold=5.0),
            preprocessing.PowerTransformer(),
            preprocessing.QuantileTransformer(n_quantiles=50),
            preprocessing.KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"),
            preprocessing.PolynomialFeatures(2),
            preprocessing.SplineTransformer(),
            preprocessing.FunctionTransformer(np.log1p),
            decomposition.PCA(4, whiten=True),
            decomposition.TruncatedSVD(4),
            decomposition.FastICA(4, random_state=0, tol=0.1),
            kernel_approximation.RBFSampler(random_state=0),
            kernel_approximation.Nystroem(n_components=20, random_state=0),
            feature_selection.SelectKBest(k=5),
            feature_selection.VarianceThreshold(),
            make_union(preprocessing.StandardScaler(), preprocessing.MinMaxScaler()),
        ),
        steps=True,
    ),
)
CASES = [(row, model) for row in ROWS for model in row.models]


def _name(model: Any) -> str:
    method = getattr(model, "method", "")
    name = type(model).__name__
    return f"{name} ({method})" if name.startswith("Calibrated") else name


def _job(source: Path, sample: Path) -> ConversionJob:
    return ConversionJob(
        source=str(source),
        framework="sklearn",
        sample=str(sample),
        holdout=None,
        target="y",
        season_s=0.0,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        limits=DatasetLimits(),
    )


def _prepared(row: Row, model: Any) -> tuple[Any, str]:
    """The pipeline, and the set that it is trained on."""
    if row.steps:
        return make_pipeline(model, ensemble.RandomForestClassifier(**FEW)), "cancer"
    data = "diabetes" if is_regressor(model) else "cancer"
    if isinstance(model, FrozenEstimator):
        features, target = bundled(data)
        scaled = preprocessing.StandardScaler().fit_transform(features)
        return make_pipeline(
            preprocessing.StandardScaler(), FrozenEstimator(LOGISTIC.fit(scaled, target))
        ), data
    return make_pipeline(preprocessing.StandardScaler(), model), data


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:sklearn")
@pytest.mark.parametrize(("row", "model"), CASES, ids=[_name(m) for _, m in CASES])
def test_every_row_of_the_table_answers_as_before(tmp_path: Path, row: Row, model: Any) -> None:
    made, data = _prepared(row, model)
    features, target = bundled(data)
    made.fit(features[::2], target[::2])
    sample = save_matrix(tmp_path / "s.parquet", features, target)
    parity = convert(_job(save_model(tmp_path / "m.joblib", made), sample), tmp_path).parity
    assert parity.is_allowed, [(n, p.rows_differing) for n, p in parity.probes.items()]
    assert parity.rows_differing == 0
    assert parity.rows == len(features)


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (svm.SVC(probability=True), "probability=True"),
        (gaussian_process.GaussianProcessClassifier(), "GaussianProcessClassifier"),
        (neighbors.RadiusNeighborsClassifier(radius=99.0), "RadiusNeighborsClassifier"),
        (multioutput.MultiOutputClassifier(LOGISTIC), "several outputs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.filterwarnings("ignore::FutureWarning:sklearn")
def test_what_has_no_exact_form_is_refused_with_the_way_out(
    tmp_path: Path, model: Any, word: str
) -> None:
    features, target = bundled("cancer")
    several = isinstance(model, multioutput.MultiOutputClassifier)
    wanted = np.column_stack([target, 1 - target]) if several else target
    made = make_pipeline(preprocessing.StandardScaler(), model).fit(features[:80], wanted[:80])
    sample = save_matrix(tmp_path / "s.parquet", features, target)
    with pytest.raises(Unsupported, match=word):
        convert(_job(save_model(tmp_path / "m.joblib", made), sample), tmp_path)


def _table() -> str:
    lines = ["| Family | Converted, and proved by a test on real data |", "|---|---|"]
    for row in ROWS:
        names = ", ".join(f"`{_name(m)}`" for m in row.models)
        lines.append(f"| {row.family} | {names} |")
    return "\n".join(lines)


def test_the_document_lists_what_was_proved() -> None:
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    held, after = rest.split(END)
    if os.environ.get("FOGLINE_UPDATE_DOCS"):
        DOCUMENT.write_text(f"{before}{BEGIN}\n{_table()}\n{END}{after}")
        return
    assert held.strip() == _table()
