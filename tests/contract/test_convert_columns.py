"""Tables of texts, numbers and gaps through pipelines drawn at random: they answer as before."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier

from fogline_hub.convert.child import convert
from fogline_hub.convert.dataset import DatasetLimits
from fogline_hub.convert.handover import MODEL, ConversionJob, ConversionReport
from fogline_hub.convert.served import ServedModel
from tests.trained import save_model

TOLERANCE = 2e-5
CITIES = ["Ulm", "Jena", "K\N{LATIN SMALL LETTER O WITH DIAERESIS}ln", "Bonn"]


def _flats(seed: int, rows: int = 200, gap: Any = "") -> pd.DataFrame:
    """Flats with gaps in `age`, and in `city` where `gap` is not the empty text."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "city": rng.choice(np.array(CITIES, dtype=object), rows),
            "floor": rng.integers(0, 4, rows),
            "flag": rng.integers(0, 2, rows).astype(bool),
            "size": rng.normal(70, 20, rows),
            "age": rng.normal(40, 10, rows),
        }
    )
    table.loc[::17, "age"] = np.nan
    if gap != "":
        table.loc[::11, "city"] = gap
    return table


def _labels(table: pd.DataFrame) -> Any:
    wanted = (table["size"] > 70) ^ (table["city"] == "Ulm")
    return np.where(wanted, "yes", "no")


def _convert(folder: Path, fitted: Any, table: pd.DataFrame) -> ConversionReport:
    full = table.assign(sold=_labels(table))
    pq.write_table(pa.Table.from_pandas(full, preserve_index=False), folder / "s.parquet")
    job = ConversionJob(
        source=str(save_model(folder / "m.pkl", fitted)),
        framework="sklearn",
        sample=str(folder / "s.parquet"),
        holdout=None,
        target="sold",
        season_s=0.0,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        limits=DatasetLimits(),
    )
    return convert(job, folder)


ENCODERS = {
    "one-hot": OneHotEncoder(handle_unknown="ignore"),
    "rare ones together": OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=0.24, drop="first"
    ),
    "ordinal": OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    ),
    "target": TargetEncoder(random_state=0),
}


@pytest.mark.filterwarnings("ignore:.*TargetEncoder:FutureWarning:sklearn")
@pytest.mark.parametrize("gap", ["", None, float("nan")], ids=["no gaps", "None", "NaN"])
@pytest.mark.parametrize("name", ENCODERS)
def test_missing_and_unseen_texts_are_encoded_as_in_training(
    tmp_path: Path, name: str, gap: Any
) -> None:
    table = _flats(1, gap=gap)
    steps = ColumnTransformer(
        [("texts", ENCODERS[name], ["city"]), ("numbers", SimpleImputer(), ["size", "age"])]
    )
    fitted = make_pipeline(steps, RandomForestClassifier(8, random_state=0)).fit(
        table, _labels(table)
    )
    report = _convert(tmp_path, fitted, table)
    assert report.parity.is_allowed
    assert report.parity.rows_differing == 0
    for probe in ("missing_texts", "unseen_categories", "missing_numbers"):
        assert report.parity.probes[probe].rows == 64
    assert [f.datatype for f in report.schema.inputs][:3] == ["BYTES", "INT64", "BOOL"]


@pytest.mark.parametrize("gap", [None, float("nan")], ids=["None", "NaN"])
def test_missing_texts_are_filled_in(tmp_path: Path, gap: Any) -> None:
    table = _flats(2, gap=gap)
    texts = make_pipeline(
        SimpleImputer(strategy="most_frequent", missing_values=gap),
        OneHotEncoder(handle_unknown="ignore"),
    )
    steps = ColumnTransformer([("texts", texts, ["city"]), ("n", SimpleImputer(), ["age"])])
    fitted = make_pipeline(steps, LogisticRegression()).fit(table, _labels(table))
    report = _convert(tmp_path, fitted, table)
    assert report.parity.is_allowed
    assert report.parity.probes["missing_texts"].rows_differing == 0


def test_histogram_boosting_splits_categories_of_the_table(tmp_path: Path) -> None:
    table = _flats(3).astype({"city": "category"})
    model = HistGradientBoostingClassifier(max_iter=20, categorical_features="from_dtype")
    report = _convert(tmp_path, model.fit(table, _labels(table)), table)
    assert report.parity.is_allowed
    assert report.parity.rows_differing == 0
    assert report.parity.probes["unseen_categories"].rows == 64


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    numbers = [SimpleImputer(strategy=draw(st.sampled_from(["mean", "median"])))]
    if draw(st.booleans()):
        numbers.append(StandardScaler())
    extra = draw(st.sampled_from(["", "squares", "bins"]))
    if extra == "squares":
        numbers.append(PolynomialFeatures(2))
    if extra == "bins":
        numbers.append(KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"))
    parts: list[Any] = [("numbers", make_pipeline(*numbers), ["size", "age"])]
    if draw(st.booleans()):
        parts.append(("texts", ENCODERS[draw(st.sampled_from(sorted(ENCODERS)))], ["city"]))
    if draw(st.booleans()):
        parts.append(("plain", "passthrough", ["floor", "flag"]))
    model = draw(
        st.sampled_from(
            [
                LogisticRegression(max_iter=500),
                DecisionTreeClassifier(max_depth=5, random_state=0),
                RandomForestClassifier(5, random_state=0),
                HistGradientBoostingClassifier(max_iter=8),
            ]
        )
    )
    return make_pipeline(ColumnTransformer(parts, sparse_threshold=0), model)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*TargetEncoder:FutureWarning:sklearn")
@pytest.mark.filterwarnings("ignore:Found unknown categories:UserWarning:sklearn")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(pipelines(), st.integers(0, 2**32 - 1))
def test_random_pipelines_answer_rows_that_no_proof_saw_as_before(
    model: Pipeline, seed: int
) -> None:
    table, fresh = _flats(seed, 150), _flats(seed ^ 1, 100)
    fresh.loc[::7, "city"] = "Atlantis"
    fitted = model.fit(table, _labels(table))
    with TemporaryDirectory() as name:
        folder = Path(name)
        report = _convert(folder, fitted, table)
        event(report.parity.verdict.value)
        if not report.parity.is_allowed:
            assert any(p.rows_differing for p in report.parity.probes.values())
            return
        with ServedModel(folder / MODEL, report.schema) as served:
            rows = {n: fresh[n].to_numpy() for n in fresh.columns}
            answered = served.answers(rows)
    if any(f.datatype == "FP32" for f in report.schema.inputs):
        fresh = fresh.astype({"size": np.float32, "age": np.float32}).astype(
            {"size": np.float64, "age": np.float64}
        )
    wanted = fitted.predict_proba(fresh)
    assert np.abs(answered.numbers - wanted).max() <= TOLERANCE
    codes = np.searchsorted(fitted.classes_, fitted.predict(fresh))
    undecided = np.abs(wanted[:, 0] - 0.5) <= TOLERANCE
    assert answered.labels is not None
    assert np.array_equal(answered.labels[~undecided], codes[~undecided])
