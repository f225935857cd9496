"""Boosters on real data, held against what is made of them: rows, thresholds, holes, categories."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from fogline_hub.convert.boosted import BoostedModel
from fogline_hub.convert.dataset import Dataset
from fogline_hub.convert.ensembles import Ensemble
from fogline_hub.convert.frame import Frame, as_served
from fogline_hub.convert.parity import Difference, Parity, Tolerance, compare
from fogline_hub.convert.proof import prove
from fogline_hub.convert.served import ServedModel

Matrix = NDArray[np.float64]
LOADERS = {"cancer": load_breast_cancer, "diabetes": load_diabetes, "wine": load_wine}


def holed(name: str) -> tuple[Matrix, NDArray[Any]]:
    """A bundled set with one value in twelve missing, and one in six zero in two columns."""
    rows, target = LOADERS[name](return_X_y=True)
    rng = np.random.default_rng(7)
    for column in (1, 3):
        rows[rng.random(len(rows)) < 1 / 6, column] = 0.0
    rows[rng.random(rows.shape) < 1 / 12] = np.nan
    return rows, target


def with_categories(name: str) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Four columns of a bundled set beside a text and a number category that say something."""
    rows, target = LOADERS[name](return_X_y=True)
    rng = np.random.default_rng(8)
    ranks = np.argsort(np.argsort(target + rng.normal(size=len(target)) * target.std() / 2))
    level = ranks * 12 // len(ranks)
    words = np.array([f"w{(i * 5) % 12}" for i in range(12)])
    table = pd.DataFrame(rows[:, :4], columns=["one", "two", "three", "four"])
    table["word"] = pd.Categorical(words[level])
    table["code"] = pd.Categorical((level * 7) % 12 * 10)
    table.loc[::11, "word"] = np.nan
    table.loc[::13, "two"] = np.nan
    return table, target


def dataset(rows: Matrix | pd.DataFrame) -> Dataset:
    """Rows as a sample that was read from a file."""
    columns: Mapping[str, Any]
    if isinstance(rows, pd.DataFrame):
        columns = {str(n): _column(rows[n]) for n in rows.columns}
    else:
        columns = {f"x{i}": np.ascontiguousarray(rows[:, i]) for i in range(rows.shape[1])}
    count = len(rows)
    return Dataset(columns=columns, skipped=(), total_rows=count, sha256="0" * 64, name="sample")


def _column(series: Any) -> NDArray[Any]:
    if isinstance(series.dtype, pd.CategoricalDtype):
        is_text = series.cat.categories.dtype == object
        plain = series.astype(object).fillna("").to_numpy() if is_text else series.to_numpy(float)
        return np.asarray(plain)
    return np.asarray(series.to_numpy())


def proved(trained: BoostedModel, rows: Matrix | pd.DataFrame, folder: Path) -> Parity:
    """Converts, proves, and asks at every side of many thresholds too.

    Raises:
        AssertionError: a row differs anywhere.
    """
    frame = trained.select(dataset(rows), None)
    candidate = trained.candidates(frame)[0]()
    path = folder / "model.onnx"
    path.write_bytes(candidate.model)
    with ServedModel(path, candidate.schema) as served:
        parity = prove(trained, served, frame).parity
        assert parity.is_allowed, parity
        assert parity.rows_differing == parity.label_flips == 0, parity
        assert not any(p.rows_differing for p in parity.probes.values()), parity
        difference = _near_thresholds(trained, served, frame)
        assert difference.rows_differing == difference.label_flips == 0, difference
    return parity


def _near_thresholds(trained: BoostedModel, served: ServedModel, frame: Frame) -> Difference:
    model = trained._predictor.model
    count = 400
    rng = np.random.default_rng(9)
    whole = as_served(frame, served.schema)
    chosen = rng.integers(0, len(next(iter(whole.values()))), count)
    rows = {n: c[chosen].copy() for n, c in whole.items()}
    names = list(rows)
    if isinstance(model, Ensemble) and not model.is_leaf.all():
        nodes = rng.choice(np.flatnonzero(~model.is_leaf), count)
        for i, node in enumerate(nodes.tolist()):
            column = rows[names[model.features[node]]]
            if column.dtype.kind == "f":
                at = model.thresholds[node].clip(-1e38, 1e38)
                narrow = np.float32(at)
                column[i] = rng.choice(
                    [
                        at,
                        np.nextafter(at, np.inf),
                        np.nextafter(at, -np.inf),
                        np.nextafter(narrow, np.float32(np.inf)),
                        np.nextafter(narrow, np.float32(-np.inf)),
                        np.nan,
                        0.0,
                        -0.0,
                        1e-36,
                        -1e-36,
                    ]
                )
    asked = as_served(rows, served.schema)
    return compare(trained.answers(asked), served.answers(asked), Tolerance()).difference
