"""CatBoost's models: loaded, asked, read. The only importer of catboost.

A `.cbm` file is asked as the class would be that its loss function belongs to: shares and label
where it has classes, else the number that `predict` gives.
"""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import catboost
import numpy as np

from fogline.errors import Corrupt, Unsupported
from fogline_hub.convert.boosted import BoostedModel, Columns, Said, class_codes, class_names
from fogline_hub.convert.dataset import Column
from fogline_hub.convert.ensembles.catboost_trees import CatboostJson
from fogline_hub.convert.ensembles.predictor import Predictor
from fogline_hub.convert.source import Refused

CLASSIFIERS = ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll")
"""Losses whose answer is a share for each class."""


def load(path: Path) -> BoostedModel:
    """Loads a model file.

    Raises:
        Corrupt: CatBoost cannot read it.
        Unsupported: what is not converted, and why.
    """
    try:
        model = catboost.CatBoost().load_model(str(path), format=path.suffix[1:])
        loss = str(model.get_all_params().get("loss_function", "")).partition(":")[0]
        kind = catboost.CatBoostClassifier if loss in CLASSIFIERS else catboost.CatBoostRegressor
        if loss not in CLASSIFIERS and not _is_regression(loss):
            kind = catboost.CatBoost
        model = kind().load_model(str(path), format=path.suffix[1:])
    except (catboost.CatBoostError, ValueError) as e:
        raise Corrupt(f"{path.name}: CatBoost cannot read it: {str(e)[:300]}") from e
    return BoostedModel(_Model(model))


def adopt(estimator: Any) -> BoostedModel:
    """A fitted `CatBoost`, or one of its classes for scikit-learn, that was loaded from a pickle.

    Raises:
        Unsupported: what is not converted, and why.
    """
    if not isinstance(estimator, catboost.CatBoost):
        raise Unsupported(f"{type(estimator).__name__} of catboost is not converted")
    return BoostedModel(_Model(estimator))


class _Model:
    """A `CatBoost` model."""

    framework = "catboost"
    packages: tuple[str, ...] = ("catboost",)
    rounds_to_float32 = True

    def __init__(self, model: catboost.CatBoost) -> None:
        self._model = model
        self._json = CatboostJson(_as_json(model))
        self.kind = type(model).__name__
        names = tuple(model.feature_names_)
        self.columns = Columns(
            count=len(names),
            names=None if names == tuple(map(str, range(len(names)))) else names,
        )
        self._classes: Column | None = None
        if isinstance(model, catboost.CatBoostClassifier):
            if self._json.loss not in CLASSIFIERS:
                raise Unsupported(
                    f"{self.kind} with the loss {self._json.loss!r} is not converted; train with "
                    f"one of {', '.join(CLASSIFIERS)}"
                )
            self._classes = class_names(self._told_classes)
        elif type(model) is catboost.CatBoost and self._json.link.value not in ("identity",):
            raise Unsupported(
                f"CatBoost with the loss {self._json.loss!r} answers with sums alone; use "
                "CatBoostClassifier or CatBoostRegressor"
            )

    @property
    def _told_classes(self) -> Any:
        told = np.asarray(self._model.classes_)
        return told if len(told) else np.arange(2)

    def ask(self, rows: Any) -> Said:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                predicted = np.asarray(self._model.predict(rows))
                if self._classes is None:
                    return Said(labels=None, numbers=predicted)
                shares = np.asarray(self._model.predict_proba(rows))
            except (ValueError, catboost.CatBoostError) as e:
                raise Refused(str(e).splitlines()[0]) from e
        kind = self._told_classes.dtype.kind
        plain = predicted.astype(str) if kind in "UO" else predicted.astype(np.float64)
        known = self._told_classes.astype(str if kind in "UO" else np.float64)
        return Said(labels=class_codes(known, plain), numbers=shares)

    def predictor(self) -> Predictor:
        return Predictor(
            model=self._json.read(self.columns.count),
            link=self._json.link,
            classes=self._classes,
            by_sums=True,
        )


def _is_regression(loss: str) -> bool:
    ranks = ("Rank", "Pair", "Query")
    return not any(word in loss for word in ranks)


def _as_json(model: catboost.CatBoost) -> bytes:
    """The model's own JSON, which it writes to files alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        try:
            model.save_model(str(path), format="json")
        except catboost.CatBoostError as e:
            raise Unsupported(f"CatBoost cannot write it as JSON: {str(e)[:300]}") from e
        return path.read_bytes()
