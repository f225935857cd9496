"""LightGBM's models: loaded, asked, read. The only importer of lightgbm.

A text file holds what its `Booster` kept: with early stopping, the trees up to the best iteration.
Objectives of two or more classes also give the label.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from fogline.errors import Corrupt, Unsupported
from fogline_hub.convert.boosted import BoostedModel, Columns, Said, class_codes, class_names
from fogline_hub.convert.dataset import Column
from fogline_hub.convert.ensembles.lightgbm_trees import LightgbmText
from fogline_hub.convert.ensembles.predictor import Predictor
from fogline_hub.convert.source import Refused

CLASSIFIERS = ("binary", "multiclass", "multiclassova")
"""Objectives whose answer is a share for each class."""


def load(path: Path) -> BoostedModel:
    """Loads a model's text file.

    Raises:
        Corrupt: LightGBM cannot read it.
        Unsupported: what is not converted, and why.
    """
    try:
        booster = lightgbm.Booster(model_file=path)
    except (lightgbm.basic.LightGBMError, ValueError) as e:
        raise Corrupt(f"{path.name}: LightGBM cannot read it: {str(e)[:300]}") from e
    return BoostedModel(_Model(booster, None))


def adopt(estimator: Any) -> BoostedModel:
    """A fitted `Booster`, or estimator of `lightgbm.sklearn`, that was loaded from a pickle.

    Raises:
        Unsupported: what is not converted, and why.
    """
    if isinstance(estimator, lightgbm.Booster):
        return BoostedModel(_Model(estimator, None))
    if not isinstance(estimator, lightgbm.LGBMModel):
        raise Unsupported(f"{type(estimator).__name__} of lightgbm is not converted")
    return BoostedModel(_Model(estimator.booster_, estimator))


class _Model:
    """A `Booster`, alone or in its estimator."""

    framework = "lightgbm"
    packages: tuple[str, ...] = ("lightgbm", "scikit-learn")
    rounds_to_float32 = False

    def __init__(self, booster: lightgbm.Booster, estimator: Any) -> None:
        self._booster = booster
        self._estimator = estimator
        # The trees that `predict` takes by itself: all, or those up to the best iteration.
        self._text = LightgbmText(booster.model_to_string())
        objective = self._text.objective
        self.kind = type(estimator or booster).__name__ + ("" if estimator else f"({objective})")
        self._classes: Column | None = None
        if isinstance(estimator, lightgbm.LGBMClassifier):
            self._classes = class_names(estimator.classes_)
            if objective not in CLASSIFIERS:
                raise Unsupported(
                    f"{self.kind} with the objective {objective or 'of its own'!r} gives no shares "
                    f"of its classes; train with one of {', '.join(CLASSIFIERS)}"
                )
        elif estimator is None and objective in CLASSIFIERS:
            self._classes = np.arange(max(self._text.outputs, 2))
        options = dict(booster.params) | (estimator.get_params() if estimator else {})
        if options.get("pred_early_stop"):
            raise Unsupported(
                f"{self.kind} stops early when it predicts (pred_early_stop), which depends on the "
                "other trees; train without"
            )
        defaults = tuple(f"Column_{i}" for i in range(self._text.columns))
        self.columns = Columns(
            count=self._text.columns,
            names=None if self._text.names == defaults else self._text.names,
            categories=_categories(booster, self._text),
            blanks_are_underscores=True,
        )

    def ask(self, rows: Any) -> Said:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return self._said(rows)
            except (ValueError, lightgbm.basic.LightGBMError) as e:
                raise Refused(str(e).splitlines()[0]) from e

    def predictor(self) -> Predictor:
        return Predictor(
            model=self._text.read(),
            link=self._text.link,
            scale=self._text.scale,
            classes=self._classes,
        )

    def _said(self, rows: Any) -> Said:
        if self._classes is None:
            asked = self._estimator or self._booster
            return Said(labels=None, numbers=np.asarray(asked.predict(rows)))
        if self._estimator is None:
            shares = np.asarray(self._booster.predict(rows))
            if shares.ndim == 1:
                shares = np.column_stack([1.0 - shares, shares])
            return Said(labels=shares.argmax(axis=1), numbers=shares)
        predicted = self._estimator.predict(rows)
        return Said(
            labels=class_codes(self._estimator.classes_, predicted),
            numbers=np.asarray(self._estimator.predict_proba(rows)),
        )


def _categories(booster: lightgbm.Booster, text: LightgbmText) -> Mapping[int, Column]:
    """Values of the columns that were categories of a table, by position.

    Raises:
        Unsupported: which columns they are is not told.
    """
    told = booster.pandas_categorical
    if not told:
        return {}
    places = [i for i, info in enumerate(text.infos) if not info.startswith("[")]
    if len(places) != len(told):
        places = [i for i in places if text.infos[i] != "none"]
    if len(places) != len(told):
        raise Unsupported(
            "the model does not tell which of its columns are the table's categories; leave out "
            "columns that hold one value only, and name no others as categorical_feature"
        )
    found: dict[int, Column] = {}
    for place, values in zip(places, told, strict=True):
        is_text = all(isinstance(v, str) for v in values)
        listed = np.array(values, dtype=np.object_ if is_text else None)
        if listed.dtype.kind not in "Oiuf" or (listed.dtype.kind == "O" and not is_text):
            raise Unsupported("only text and numbers are converted as categories")
        found[place] = listed
    return found
