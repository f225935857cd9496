"""The team's own training code, called here for the first version and by the hub for all others.

A dataset is a folder with `train.parquet` and `holdout.parquet`: the readings by name, `actual`,
`weight` (how many days of traffic a row stands for) and `event_time`.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

ACTUAL, WEIGHT, EVENT_TIME = "actual", "weight", "event_time"
MODEL_FILE = "model.joblib"
MAX_REPEATS = 20
"""A row that stands for more than this many counts as this many."""


def train(
    dataset_uri: str,
    parent_bundle: str,  # noqa: ARG001 - the contract's
    params: Mapping[str, Any],
    out_dir: str,
) -> dict[str, Any]:
    """Fits the estimator pipeline and saves it.

    Args:
        dataset_uri: Folder of the dataset.
        parent_bundle: The version that serves now; not used, each version is trained anew.
        params: `seed`.
        out_dir: Where the model goes.

    Returns:
        The manifest: `model`, the saved file's name.
    """
    seed = int(params.get("seed", 0))
    rows = pq.read_table(Path(dataset_uri) / "train.parquet").to_pandas()
    model = fit(rows, seed)
    joblib.dump(model, Path(out_dir) / MODEL_FILE)
    return {"model": MODEL_FILE}


def fit(rows: pd.DataFrame, seed: int) -> Pipeline:
    """A scaler and a small network, regularised so that a thousand rows are enough for it.

    The network takes no weights, so each row is repeated as often as its weight says; fractions are
    decided by a seeded draw, which keeps the expected count exact.
    """
    chosen = rows.loc[np.repeat(rows.index, _repeats(rows[WEIGHT].to_numpy(), seed))]
    readings = chosen.drop(columns=[ACTUAL, WEIGHT, EVENT_TIME])
    network = MLPClassifier((32, 16), alpha=1.0, max_iter=300, tol=1e-4, random_state=seed)
    with warnings.catch_warnings():
        # Where 300 passes are not enough, the network is good all the same: a judge decides.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted: Pipeline = make_pipeline(StandardScaler(), network).fit(readings, chosen[ACTUAL])
    return fitted


def _repeats(weights: np.ndarray[Any, np.dtype[np.float64]], seed: int) -> Any:
    wanted = np.clip(weights / weights.min(), 1.0, MAX_REPEATS)
    whole = np.floor(wanted)
    rng = np.random.default_rng(seed)
    return (whole + (rng.random(len(wanted)) < wanted - whole)).astype(np.int64)
