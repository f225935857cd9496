"""A loaded scikit-learn estimator, asked as it was trained, and its ways to ONNX."""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from fogline.errors import InvalidInput, Unsupported
from fogline_hub.convert import graph
from fogline_hub.convert.dataset import Dataset, shown_names
from fogline_hub.convert.frame import Frame, is_text
from fogline_hub.convert.parity import Answers
from fogline_hub.convert.sklearn.encoding import MISSING_TEXT, is_missing
from fogline_hub.convert.sklearn.graph import label_texts, write
from fogline_hub.convert.sklearn.precision import Plan, first_of, parts_of, plans
from fogline_hub.convert.sklearn.role import Answering, answering_of
from fogline_hub.convert.sklearn.text import TEXT_TRANSFORMERS
from fogline_hub.convert.source import Attempt, Candidate, Refused, select_columns

_OF_COLUMNS = ("ColumnTransformer", "OneHotEncoder", "OrdinalEncoder", "TargetEncoder")
_VECTORIZERS = (*TEXT_TRANSFORMERS, "HashingVectorizer")


class SklearnModel:
    """A fitted estimator of one output, or of several numbers."""

    framework = "sklearn"
    packages: tuple[str, ...] = ("scikit-learn", "joblib", "numpy", "scipy")

    def __init__(self, estimator: Any) -> None:
        """Raises `Unsupported` for what cannot be served."""
        self._estimator = estimator
        self._answering: Answering = answering_of(estimator)
        self.kind = kind_of(estimator)
        self._names = {type(part).__name__ for part in parts_of(estimator)}
        self._takes_documents = type(first_of(estimator)).__name__ in _VECTORIZERS
        self._takes_columns = "ColumnTransformer" in self._names or self._takes_documents
        self._missing_text = _missing_text(estimator)
        labels = () if self._answering.classes is None else label_texts(self._answering.classes)
        if labels is None:
            raise Unsupported("only text, whole numbers and booleans are converted as class labels")
        self.labels: tuple[str, ...] = labels

    def select(self, sample: Dataset, target: str | None) -> Frame:
        frame = self._selected(sample, target)
        texts = tuple(n for n, c in frame.items() if is_text(c))
        takes_text = self._takes_columns or self._names & set(_OF_COLUMNS)
        if texts and not takes_text and "SimpleImputer" not in self._names:
            raise InvalidInput(
                f"{sample.name}: {self.kind} takes numbers, and these columns are text: "
                f"{shown_names(texts)}; encode them in a ColumnTransformer"
            )
        self._takes_columns = self._takes_columns or bool(texts)
        return frame

    def _selected(self, sample: Dataset, target: str | None) -> Frame:
        if self._takes_documents:
            others = sample.features(target)
            texts = {n: c for n, c in others.items() if is_text(c)}
            if len(texts) != 1:
                raise InvalidInput(
                    f"{sample.name}: {self.kind} takes one column of text, and the sample has "
                    f"{len(texts)}: {shown_names(tuple(texts))}; leave one"
                )
            return texts
        names = getattr(self._estimator, "feature_names_in_", None)
        count = getattr(self._estimator, "n_features_in_", None)
        return select_columns(sample, target, None if names is None else list(names), count)

    def answers(self, frame: Frame) -> Answers:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                return self._answering.ask(self._estimator, self._rows(frame))
            except (ValueError, TypeError) as e:
                raise Refused(str(e)) from e

    def candidates(self, frame: Frame) -> Sequence[Attempt]:
        return [partial(self._convert, frame, plan) for plan in plans(self._estimator, frame)]

    def _rows(self, frame: Frame) -> Any:
        if self._takes_documents:
            return list(next(iter(frame.values())))
        if not self._takes_columns:
            made = np.column_stack([c.astype(np.float64, copy=False) for c in frame.values()])
            return self._named(made, frame) if self._needs_names else made
        return self._named({n: self._restored(c) for n, c in frame.items()}, frame)

    @property
    def _needs_names(self) -> bool:
        """Histogram boosting of categories by data type looks for a table."""
        return any(name.startswith("HistGradientBoosting") for name in self._names) and hasattr(
            self._estimator, "feature_names_in_"
        )

    def _restored(self, column: Any) -> Any:
        """A column with the missing texts that the model was trained on."""
        if not is_text(column) or self._missing_text == MISSING_TEXT:
            return column
        made = column.copy()
        made[made == MISSING_TEXT] = self._missing_text
        return made

    def _named(self, columns: Any, frame: Frame) -> Any:
        try:
            import pandas as pd
        except ModuleNotFoundError as e:
            raise Unsupported(
                f"{self.kind} picks columns by name, which needs pandas: "
                "pip install 'fogline[sklearn]'"
            ) from e
        return pd.DataFrame(columns, columns=list(frame))

    def _convert(self, frame: Frame, plan: Plan) -> Candidate:
        try:
            model, schema = write(
                self._estimator,
                self._answering,
                frame,
                plan,
                takes_columns=self._takes_columns,
            )
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as e:
            raise Unsupported(
                f"{self.kind}: a part is not as a converter expects it: {type(e).__name__}: {e}"
            ) from e
        return Candidate(model=graph.finish(model, "model"), schema=schema, plan=str(plan))


def kind_of(estimator: Any) -> str:
    """The class, and those of a pipeline's steps."""
    name = type(estimator).__name__
    if isinstance(estimator, Pipeline):
        return f"{name}({', '.join(type(step).__name__ for _, step in estimator.steps)})"
    return name


def _missing_text(estimator: Any) -> Any:
    """What stood for a missing text in training: None, NaN, pandas.NA, or an empty text."""
    found: Any = MISSING_TEXT
    for part in parts_of(estimator):
        is_fitted = hasattr(part, "statistics_") and hasattr(part, "missing_values")
        if is_fitted and any(isinstance(v, str) for v in np.ravel(part.statistics_)):
            found = part.missing_values if is_missing(part.missing_values) else found
        for categories in getattr(part, "categories_", ()):
            values = list(np.ravel(categories))
            if any(isinstance(v, str) and v == MISSING_TEXT for v in values):
                return MISSING_TEXT
            if any(isinstance(v, str) for v in values):
                found = next((v for v in values if is_missing(v)), found)
    return found
