"""Trainers as a team would write them, for tests of retraining; they run in a limited child."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

COLUMNS = ("a", "b", "c")


def train(dataset: str, parent: str, params: dict[str, Any], out: str) -> dict[str, Any]:
    """One that learns."""
    assert (Path(parent) / "manifest.json").is_file()
    rows = pq.read_table(Path(dataset) / "train.parquet").to_pandas()
    model = fitted(rows[list(COLUMNS)], rows["actual"], rows["weight"])
    joblib.dump(model, Path(out) / "model.joblib")
    return {"model": "model.joblib", "rows": len(rows), "seed": params["seed"]}


def train_a_constant(dataset: str, parent: str, params: dict[str, Any], out: str) -> dict[str, Any]:
    """One that learns nothing."""
    rows = pq.read_table(Path(dataset) / "train.parquet").to_pandas()
    noise = np.random.default_rng(0).integers(0, 2, len(rows))
    joblib.dump(fitted(rows[list(COLUMNS)], noise, rows["weight"]), Path(out) / "model.joblib")
    return {"model": "model.joblib"}


def train_and_fail(dataset: str, parent: str, params: dict[str, Any], out: str) -> dict[str, Any]:
    raise RuntimeError("no luck today")


def fitted(features: Any, labels: Any, weights: Any) -> Pipeline:
    model = make_pipeline(StandardScaler(), LogisticRegression())
    made: Pipeline = model.fit(features, labels, logisticregression__sample_weight=weights)
    return made
