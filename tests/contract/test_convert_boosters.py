"""Pickles and files of boosters find their converter, by the child's own way to a bundle."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fogline_hub.convert.child import convert
from fogline_hub.convert.dataset import DatasetLimits
from fogline_hub.convert.handover import ConversionJob
from fogline_hub.convert.source import check_source
from tests.boosters import holed
from tests.trained import save_matrix, save_model

KINDS = [
    ("xgboost", "XGBClassifier", {"n_estimators": 5}, ".joblib"),
    ("xgboost", "XGBClassifier", {"n_estimators": 5}, ".ubj"),
    ("xgboost", "XGBClassifier", {"n_estimators": 5}, ".json"),
    ("lightgbm", "LGBMClassifier", {"n_estimators": 5, "verbose": -1}, ".joblib"),
    ("lightgbm", "LGBMClassifier", {"n_estimators": 5, "verbose": -1}, ".txt"),
    ("catboost", "CatBoostClassifier", {"iterations": 5, "verbose": 0}, ".joblib"),
    ("catboost", "CatBoostClassifier", {"iterations": 5, "verbose": 0}, ".cbm"),
]


@pytest.mark.parametrize(("library", "kind", "options", "suffix"), KINDS)
def test_a_file_finds_its_converter(
    tmp_path: Path, library: str, kind: str, options: dict[str, int], suffix: str
) -> None:
    made = getattr(pytest.importorskip(library), kind)
    rows, target = holed("wine")
    extra = {"train_dir": str(tmp_path / "info")} if library == "catboost" else {}
    model = made(**options, **extra).fit(rows, target)
    source = tmp_path / f"model{suffix}"
    if suffix == ".joblib":
        save_model(source, model)
    else:
        (model.booster_ if library == "lightgbm" else model).save_model(str(source))
    job = ConversionJob(
        source=str(source),
        framework=check_source(source),
        sample=str(save_matrix(tmp_path / "sample.parquet", rows, target)),
        holdout=None,
        target="y",
        season_s=0.0,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        limits=DatasetLimits(),
    )
    report = convert(job, tmp_path)
    assert report.lineage.framework == library
    assert report.parity.rows_differing == 0
    assert report.parity.is_allowed
