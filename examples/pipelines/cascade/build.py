"""Trains the three models of the cascade and puts them beside the definition."""

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DEFINITION = Path(__file__).with_name("pipeline.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Rows that no model was trained on."""

    pixels: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


def build(folder: Path, *, trees: int = 400) -> Digits:
    """Makes `folder` with the definition and the models, and returns the rows held out."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    rows, labels = load_digits(return_X_y=True)
    train, held, train_labels, held_labels = train_test_split(
        rows.astype(np.float32), labels, test_size=0.4, random_state=0, stratify=labels
    )
    scaler = StandardScaler().fit(train)
    scaled = scaler.transform(train)
    small = LogisticRegression(C=0.05, max_iter=500).fit(scaled, train_labels)
    big = ExtraTreesClassifier(trees, random_state=0).fit(scaled, train_labels)
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in (("scaler", scaler), ("small", small), ("big", big)):
        (folder / f"{name}.onnx").write_bytes(_as_onnx(model))
    shutil.copyfile(DEFINITION, folder / "pipeline.toml")
    return Digits(pixels=held, labels=held_labels)


def _as_onnx(model: Any) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    is_classifier = hasattr(model, "predict_proba")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = convert_sklearn(
            model,
            initial_types=[("x", FloatTensorType([None, 64]))],
            final_types=[("label", None), ("probabilities", None)] if is_classifier else None,
            options={"zipmap": False} if is_classifier else None,
            target_opset=21,
        )
    data: bytes = converted.SerializeToString()
    return data
