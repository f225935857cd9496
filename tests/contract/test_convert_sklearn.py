"""scikit-learn models on real data: converted they answer as before, or they are refused."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfVectorizer,
)
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from fogline.bundle import decode_cases
from fogline.errors import InvalidInput, Unsupported
from fogline.runtime import ModelPlan, Session
from fogline.schema import check_inputs
from fogline_hub.convert import Verdict
from fogline_hub.convert.child import convert
from fogline_hub.convert.dataset import DatasetLimits
from fogline_hub.convert.handover import GOLDEN, MODEL, ConversionJob, ConversionReport
from tests.trained import (
    bundled,
    fitted_rain_model,
    rainfall,
    save_matrix,
    save_model,
    save_table,
)


def _job(source: Path, sample: Path, **options: Any) -> ConversionJob:
    given: dict[str, Any] = {"holdout": None, "target": None, "season_s": 0.0} | options
    return ConversionJob(
        source=str(source),
        framework="sklearn",
        sample=str(sample),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        limits=DatasetLimits(),
        **given,
    )


def _converted(folder: Path, model: Any, data: str) -> ConversionReport:
    """Fits on half of a bundled set and converts with all of it as the sample."""
    features, target = bundled(data)
    model.fit(features[::2], target[::2])
    source = save_model(folder / "model.joblib", model)
    sample = save_matrix(folder / "sample.parquet", features, target)
    return convert(_job(source, sample, target="y"), folder)


CLASSIFIERS = [
    LogisticRegression(max_iter=500),
    GaussianNB(),
    DecisionTreeClassifier(random_state=0),
    RandomForestClassifier(20, random_state=0),
    ExtraTreesClassifier(10, random_state=0),
    GradientBoostingClassifier(n_estimators=20, random_state=0),
    HistGradientBoostingClassifier(max_iter=20, random_state=0),
    AdaBoostClassifier(n_estimators=10, random_state=0),
    CalibratedClassifierCV(LogisticRegression(max_iter=500), cv=2),
    VotingClassifier([("a", LogisticRegression(max_iter=500)), ("b", GaussianNB())], voting="soft"),
    StackingClassifier([("a", LogisticRegression(max_iter=500)), ("b", GaussianNB())], cv=2),
]
REGRESSORS = [
    LinearRegression(),
    Ridge(),
    SVR(),
    RandomForestRegressor(20, random_state=0),
    GradientBoostingRegressor(n_estimators=20, random_state=0),
    HistGradientBoostingRegressor(max_iter=20, random_state=0),
]


def _name(model: Any) -> str:
    return type(model).__name__


@pytest.mark.parametrize("model", CLASSIFIERS, ids=_name)
def test_a_classifier_behind_a_scaler_answers_as_before_on_every_row_and_probe(
    tmp_path: Path, model: Any
) -> None:
    report = _converted(tmp_path, make_pipeline(StandardScaler(), model), "cancer")
    assert report.parity.is_allowed
    assert report.parity.rows == 569
    assert report.parity.rows_differing == report.parity.label_flips == 0
    assert {"extremes", "boundaries", "batch_1", "batch_2"} <= set(report.parity.probes)
    assert [f.role for f in report.schema.outputs] == ["label", "probabilities"]
    assert report.schema.outputs[0].labels == ("0", "1")


@pytest.mark.parametrize("model", REGRESSORS, ids=_name)
def test_a_regressor_behind_a_scaler_answers_as_before(tmp_path: Path, model: Any) -> None:
    report = _converted(tmp_path, make_pipeline(StandardScaler(), model), "diabetes")
    assert report.parity.is_allowed
    assert report.parity.rows_differing == 0
    assert [(f.name, f.role) for f in report.schema.outputs] == [("score", "score")]


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(20, random_state=0),
        HistGradientBoostingClassifier(max_iter=10, random_state=0),
        LogisticRegression(max_iter=2000),
    ],
    ids=_name,
)
def test_ten_classes_without_a_pipeline_answer_as_before(tmp_path: Path, model: Any) -> None:
    report = _converted(tmp_path, model, "digits")
    assert report.parity.is_allowed
    assert report.schema.outputs[1].shape == (-1, 10)
    assert report.schema.inputs[0].columns[:2] == ("x0", "x1")


@pytest.mark.parametrize(
    ("kind", "labels", "datatype"),
    [
        (bool, ("0", "1"), "INT64"),
        (float, ("0", "1"), "INT64"),
        (str, ("0", "1"), "BYTES"),
    ],
)
def test_labels_of_any_kind_come_back_from_a_forest_of_even_votes(
    tmp_path: Path, kind: type, labels: tuple[str, ...], datatype: str
) -> None:
    """Ten of twenty votes are a tie, which the original gives to the first class."""
    features, target = bundled("cancer")
    model = RandomForestClassifier(20, random_state=0).fit(features[::2], target[::2].astype(kind))
    source = save_model(tmp_path / "m.joblib", model)
    sample = save_matrix(tmp_path / "s.parquet", features)
    report = convert(_job(source, sample), tmp_path)
    assert (report.schema.outputs[0].labels, report.schema.outputs[0].datatype) == (
        labels,
        datatype,
    )
    assert report.parity.label_flips == 0


def test_a_scaled_forest_takes_float64_because_float32_rows_fall_on_other_sides(
    tmp_path: Path,
) -> None:
    model = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0))
    report = _converted(tmp_path, model, "cancer")
    assert report.schema.inputs[0].datatype == "FP64"
    assert report.lineage.plan.startswith("input float64")


def test_a_forest_sends_missing_values_where_the_original_does(tmp_path: Path) -> None:
    report = _converted(tmp_path, RandomForestClassifier(20, random_state=0), "cancer")
    missing = report.parity.probes["missing_numbers"]
    assert (missing.rows, missing.rows_differing) == (64, 0)


def test_missing_numbers_are_imputed_in_float64(tmp_path: Path) -> None:
    model = make_pipeline(SimpleImputer(), StandardScaler(), PCA(4), Ridge())
    report = _converted(tmp_path, model, "diabetes")
    assert report.parity.is_allowed
    assert report.parity.probes["missing_numbers"].rows == 64


def _mixed(rows: int = 400) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "city name": rng.choice(["Ulm", "Jena", "Köln"], rows),
            "floor": rng.integers(0, 4, rows),
            "size": rng.normal(70, 20, rows),
            "age": rng.normal(40, 10, rows),
        }
    )
    table.loc[::17, "age"] = np.nan
    wanted = (table["size"] > 70) ^ (table["city name"] == "Ulm")
    return table, wanted.map({True: "yes", False: "no"})


@pytest.mark.parametrize(
    "model",
    [LogisticRegression(max_iter=500), RandomForestClassifier(10, random_state=0)],
    ids=_name,
)
def test_named_columns_with_texts_missing_values_and_unseen_categories(
    tmp_path: Path, model: Any
) -> None:
    table, target = _mixed()
    columns = ColumnTransformer(
        [
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["city name", "floor"]),
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["size", "age"]),
        ]
    )
    fitted = Pipeline([("columns", columns), ("model", model)]).fit(table, target)
    sample = save_table(tmp_path / "sample.parquet", table.assign(sold=target))
    report = convert(_job(save_model(tmp_path / "m.pkl", fitted), sample, target="sold"), tmp_path)
    assert report.parity.is_allowed
    for probe in ("missing_numbers", "missing_texts", "unseen_categories"):
        assert report.parity.probes[probe].rows == 64
        assert report.parity.probes[probe].rows_differing == 0
    assert [f.columns for f in report.schema.inputs] == [(n,) for n in table.columns]
    assert [f.datatype for f in report.schema.inputs][:2] == ["BYTES", "INT64"]
    assert report.schema.outputs[0].labels == ("no", "yes")
    assert report.reference.inputs[0].kind == "category"


def test_the_rain_model_keeps_names_reference_accuracy_and_golden_answers(tmp_path: Path) -> None:
    days = rainfall()
    train, held = days[:1460], days[1460:1825]
    source = save_model(tmp_path / "rain.joblib", fitted_rain_model(train))
    report = convert(
        _job(
            source,
            save_table(tmp_path / "train.parquet", train),
            target="rain",
            holdout=str(save_table(tmp_path / "held.parquet", held)),
            season_s=365 * 86_400.0,
        ),
        tmp_path,
    )
    assert report.parity.verdict is Verdict.WITHIN_TOLERANCE
    assert report.schema.inputs[0].columns == tuple(days.columns[:-1])
    assert report.reference.season_s == 365 * 86_400
    assert report.reference.rows == len(train)
    assert report.held_out_rows == 365
    assert report.held_out_correct / 365 > 0.7
    session = Session.open(tmp_path / MODEL, ModelPlan())
    cases = decode_cases((tmp_path / GOLDEN).read_bytes())
    assert len(cases) == 5
    for case in cases:
        check_inputs(report.schema, case.inputs)
        answered = session.run(case.inputs)
        assert answered["label"].tolist() == case.outputs["label"].tolist()
        assert np.abs(answered["probabilities"] - case.outputs["probabilities"]).max() < 1e-5


def test_the_same_model_and_sample_give_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        model = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0))
        _converted(folder, model, "cancer")
        made.append(
            [(folder / f).read_bytes() for f in (MODEL, GOLDEN, "reference_sample.parquet")]
        )
    assert made[0] == made[1]


def _refused(folder: Path, model: Any, data: str = "cancer") -> str:
    with pytest.raises(Unsupported) as caught:
        _converted(folder, model, data)
    return str(caught.value)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibrated_probabilities_answer_as_before(tmp_path: Path, method: str) -> None:
    base = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    model = CalibratedClassifierCV(base, method=method, cv=2)
    parity = _converted(tmp_path, model, "cancer").parity
    assert parity.is_allowed
    assert parity.rows_differing == parity.label_flips == 0


def test_a_classifier_without_probabilities_gives_its_decision_function(tmp_path: Path) -> None:
    report = _converted(tmp_path, make_pipeline(StandardScaler(), LinearSVC()), "cancer")
    assert report.parity.is_allowed
    assert [(f.name, f.role) for f in report.schema.outputs] == [
        ("label", "label"),
        ("score", "score"),
    ]


def test_a_step_alone_gives_what_it_transforms(tmp_path: Path) -> None:
    report = _converted(tmp_path, StandardScaler(), "cancer")
    assert report.parity.is_allowed
    assert report.schema.outputs[0].name == "transformed"
    assert report.schema.outputs[0].shape == (-1, 30)


def test_an_estimator_without_a_converter_is_refused_by_name(tmp_path: Path) -> None:
    features, target = bundled("cancer")
    model = GaussianProcessClassifier().fit(features[:60], target[:60])
    sample = save_matrix(tmp_path / "s.parquet", features)
    with pytest.raises(Unsupported, match="GaussianProcessClassifier is not converted"):
        convert(_job(save_model(tmp_path / "m.pkl", model), sample), tmp_path)


TEXTS = [
    "Warm rain",
    "cold RAIN, cold",
    "sun",
    "Cold s\N{LATIN SMALL LETTER U WITH DIAERESIS}n a 12",
]


@pytest.mark.parametrize(
    "vectorizer",
    [TfidfVectorizer(), CountVectorizer(ngram_range=(1, 2)), TfidfVectorizer(sublinear_tf=True)],
    ids=["tfidf", "counts of pairs", "sublinear"],
)
def test_texts_are_counted_as_before(tmp_path: Path, vectorizer: Any) -> None:
    model = make_pipeline(vectorizer, LogisticRegression()).fit(TEXTS, [1, 1, 0, 0])
    texts = [*TEXTS, "", "unseen", "rain-cold\tsun _x", "ÜBER \u00b2\u00b2 sun"]
    sample = save_table(tmp_path / "s.parquet", {"text": texts})
    report = convert(_job(save_model(tmp_path / "m.pkl", model), sample), tmp_path)
    assert report.parity.is_allowed
    assert report.parity.probes["missing_texts"].rows == 64
    assert report.schema.inputs[0].datatype == "BYTES"


def test_hashed_texts_are_refused(tmp_path: Path) -> None:
    model = make_pipeline(HashingVectorizer(), LogisticRegression()).fit(TEXTS, [1, 1, 0, 0])
    sample = save_table(tmp_path / "s.parquet", {"text": TEXTS})
    with pytest.raises(Unsupported, match="HashingVectorizer"):
        convert(_job(save_model(tmp_path / "m.pkl", model), sample), tmp_path)


@pytest.mark.parametrize(
    "model",
    [
        BaggingClassifier(n_estimators=5, random_state=0),
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
    ],
    ids=["bagging", "neighbours"],
)
def test_missing_values_and_boundaries_are_where_the_original_has_them(
    tmp_path: Path, model: Any
) -> None:
    parity = _converted(tmp_path, model, "cancer").parity
    assert parity.is_allowed
    assert parity.probes["boundaries"].rows_differing == 0


def test_an_estimator_that_was_never_fitted_is_refused(tmp_path: Path) -> None:
    features, _ = bundled("cancer")
    sample = save_matrix(tmp_path / "s.parquet", features)
    source = save_model(tmp_path / "m.pkl", LogisticRegression())
    with pytest.raises(InvalidInput, match="not fitted"):
        convert(_job(source, sample), tmp_path)


def test_another_number_of_columns_is_told_with_what_to_do(tmp_path: Path) -> None:
    features, target = bundled("cancer")
    source = save_model(tmp_path / "m.pkl", GaussianNB().fit(features[:, :5], target))
    sample = save_matrix(tmp_path / "s.parquet", features[:, :6])
    with pytest.raises(InvalidInput, match=r"takes 5 columns.*the sample has 6"):
        convert(_job(source, sample), tmp_path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    days = rainfall()[:400]
    source = save_model(tmp_path / "m.pkl", fitted_rain_model(days))
    sample = save_table(tmp_path / "s.parquet", days.drop(columns="visibility"))
    with pytest.raises(InvalidInput, match="no column 'visibility'"):
        convert(_job(source, sample), tmp_path)


def test_an_unknown_target_is_told(tmp_path: Path) -> None:
    days = rainfall()[:400]
    source = save_model(tmp_path / "m.pkl", GaussianNB().fit(days.drop(columns="rain"), days.rain))
    sample = save_table(tmp_path / "s.parquet", days)
    with pytest.raises(InvalidInput, match="no column 'snow'"):
        convert(
            _job(source, sample, target="snow", holdout=str(sample)),
            tmp_path,
        )


def test_texts_for_a_model_of_numbers_are_named(tmp_path: Path) -> None:
    features, target = bundled("cancer")
    source = save_model(tmp_path / "m.pkl", GaussianNB().fit(features[:, :1], target))
    sample = save_table(tmp_path / "s.parquet", {"x": ["a", "b"]})
    with pytest.raises(InvalidInput, match=r"takes numbers.*'x'"):
        convert(_job(source, sample), tmp_path)


def test_rows_that_the_model_itself_refuses_are_told(tmp_path: Path) -> None:
    features, target = bundled("cancer")
    source = save_model(tmp_path / "m.pkl", GaussianNB().fit(features, target))
    features = features.copy()
    features[3, 3] = np.nan
    sample = save_matrix(tmp_path / "s.parquet", features)
    with pytest.raises(InvalidInput, match="refuses the sample"):
        convert(_job(source, sample), tmp_path)
