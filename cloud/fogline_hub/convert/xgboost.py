"""XGBoost's models: loaded, asked, read. The only importer of xgboost.

A `.json` or `.ubj` file that its scikit-learn classes saved is asked as they would (early stopping
cuts it at its best iteration); one that `Booster.save_model` wrote is asked as `Booster.predict`,
which takes all trees. Objectives of two or more classes also give the label.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from fogline.errors import Corrupt, Unsupported
from fogline_hub.convert.boosted import BoostedModel, Columns, Said, class_codes, class_names
from fogline_hub.convert.dataset import Column
from fogline_hub.convert.ensembles.predictor import Predictor
from fogline_hub.convert.ensembles.xgboost_trees import XgboostFile
from fogline_hub.convert.source import Refused

CLASSIFIERS = ("binary:logistic", "multi:softprob", "multi:softmax")
"""Objectives whose answer is a share for each class."""


def load(path: Path) -> BoostedModel:
    """Loads a model file.

    Raises:
        Corrupt: XGBoost cannot read it.
        Unsupported: what is not converted, and why.
    """
    booster = xgboost.Booster()
    try:
        booster.load_model(path)
    except xgboost.core.XGBoostError as e:
        reason = str(e).splitlines()[0][:300]
        raise Corrupt(f"{path.name}: XGBoost cannot read it: {reason}") from e
    return BoostedModel(_Native(booster))


def adopt(estimator: Any) -> BoostedModel:
    """A fitted `Booster`, or estimator of `xgboost.sklearn`, that was loaded from a pickle.

    Raises:
        Unsupported: what is not converted, and why.
    """
    if isinstance(estimator, xgboost.Booster):
        return BoostedModel(_Native(estimator))
    if not isinstance(estimator, xgboost.XGBModel):
        raise Unsupported(f"{type(estimator).__name__} of xgboost is not converted")
    return BoostedModel(_Estimator(estimator))


class _Native:
    """A `Booster`."""

    framework = "xgboost"
    packages: tuple[str, ...] = ("xgboost",)
    rounds_to_float32 = True

    def __init__(self, booster: xgboost.Booster) -> None:
        self._booster = booster
        self._file = XgboostFile(bytes(booster.save_raw("json")))
        self._iterations = _stopped_at(self._file)
        self.kind = f"Booster({self._file.booster}, {self._file.objective})"
        self.columns = Columns(
            count=self._file.columns,
            names=self._file.names or None,
            categories=_categories(booster),
        )

    def ask(self, rows: Any) -> Said:
        table = self._table(rows)
        numbers = self._predict(table, output_margin=self._file.objective == "multi:softmax")
        if not self._is_classifier:
            return Said(labels=None, numbers=numbers)
        if self._file.objective == "multi:softmax":
            # Its own answer is the class alone; the shares are the softmax of its sums.
            labels = self._predict(table, output_margin=False).astype(np.int64)
            power = np.exp(numbers - numbers.max(axis=1, keepdims=True))
            return Said(labels=labels, numbers=power / power.sum(axis=1, keepdims=True))
        if numbers.ndim == 1:
            numbers = np.column_stack([1.0 - numbers, numbers])
        return Said(labels=numbers.argmax(axis=1), numbers=numbers)

    def predictor(self) -> Predictor:
        count = max(self._file.classes, 2)
        return _predictor(
            self._file, self._iterations, np.arange(count) if self._is_classifier else None
        )

    @property
    def _is_classifier(self) -> bool:
        return self._file.objective in CLASSIFIERS and self._file.targets <= 1

    def _table(self, rows: Any) -> xgboost.DMatrix:
        types = self._file.types if isinstance(rows, np.ndarray) and self._file.types else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return xgboost.DMatrix(
                    rows,
                    feature_types=None if types is None else list(types),
                    enable_categorical=True,
                )
            except (ValueError, xgboost.core.XGBoostError) as e:
                raise Refused(str(e).splitlines()[0]) from e

    def _predict(self, table: xgboost.DMatrix, *, output_margin: bool) -> Any:
        try:
            return self._booster.predict(
                table,
                output_margin=output_margin,
                iteration_range=(0, self._iterations or 0),
                validate_features=False,
            )
        except (ValueError, xgboost.core.XGBoostError) as e:
            raise Refused(str(e).splitlines()[0]) from e


class _Estimator:
    """A classifier, regressor or ranker of `xgboost.sklearn`."""

    framework = "xgboost"
    packages: tuple[str, ...] = ("xgboost", "scikit-learn")
    rounds_to_float32 = True

    def __init__(self, estimator: xgboost.XGBModel) -> None:
        booster = estimator.get_booster()
        self._estimator = estimator
        self._file = XgboostFile(bytes(booster.save_raw("json")))
        self.kind = type(estimator).__name__
        self._classes = (
            class_names(estimator.classes_)
            if isinstance(estimator, xgboost.XGBClassifier)
            else None
        )
        if self._classes is not None and self._file.objective not in CLASSIFIERS:
            raise Unsupported(
                f"{self.kind} with the objective {self._file.objective!r} gives no shares of its "
                f"classes; train with one of {', '.join(CLASSIFIERS)}"
            )
        missing = estimator.missing
        if missing is not None and not np.isnan(missing):
            raise Unsupported(
                f"{self.kind} takes a number of its own as missing; train with NaN instead"
            )
        self.columns = Columns(
            count=self._file.columns,
            names=self._file.names or None,
            categories=_categories(booster),
        )

    def ask(self, rows: Any) -> Said:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                predicted = self._estimator.predict(rows)
                if self._classes is None:
                    return Said(labels=None, numbers=predicted)
                numbers = self._estimator.predict_proba(rows)
            except (ValueError, xgboost.core.XGBoostError) as e:
                raise Refused(str(e).splitlines()[0]) from e
        return Said(labels=class_codes(self._estimator.classes_, predicted), numbers=numbers)

    def predictor(self) -> Predictor:
        best = self._file.attributes.get("best_iteration")
        stopped = None if best is None or self._file.booster == "gblinear" else int(best) + 1
        if self._file.targets > 1 and self._classes is not None:
            raise Unsupported(f"{self.kind} of several targets is not converted")
        return _predictor(self._file, stopped, self._classes)


def _predictor(file: XgboostFile, iterations: int | None, classes: Column | None) -> Predictor:
    if file.objective == "binary:hinge" and file.outputs > 1:
        raise Unsupported("binary:hinge of several targets is not converted")
    return Predictor(
        model=file.read(iterations),
        link=file.link,
        classes=classes,
        is_single=True,
    )


def _stopped_at(file: XgboostFile) -> int | None:
    """Iterations that scikit-learn's classes ask, where they wrote the file; else None for all."""
    best = file.attributes.get("best_iteration")
    if best is None or "scikit_learn" not in file.attributes or file.booster == "gblinear":
        return None
    return int(best) + 1


def _categories(booster: xgboost.Booster) -> Mapping[int, Column]:
    """Values of coded columns, by position; empty for a booster trained on codes."""
    try:
        told = booster.get_categories(export_to_arrow=True).to_arrow()
    except (AttributeError, ValueError, xgboost.core.XGBoostError):
        return {}
    found: dict[int, Column] = {}
    for i, (_, values) in enumerate(told or ()):
        if values is None:
            continue
        listed = values.to_pylist()
        is_text = all(isinstance(v, str) for v in listed)
        found[i] = np.array(listed, dtype=np.object_ if is_text else None)
    return found
