"""scikit-learn's estimators and pipelines: loaded, checked, asked. The only importer of joblib.

Runs in the limited child alone: loading a pickle runs whatever code is in it.
"""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from fogline.errors import Corrupt, InvalidInput, Unsupported
from fogline.schema import Field, Schema
from fogline_hub.convert import graph
from fogline_hub.convert.dataset import Dataset, shown_names
from fogline_hub.convert.frame import Column, Frame, is_text
from fogline_hub.convert.parity import Answers
from fogline_hub.convert.sklearn.foreign import INPUT, Plan, parts_of, plans, to_onnx
from fogline_hub.convert.source import SUPPORTED, Attempt, Candidate, Refused, select_columns

TEXT_CLASSES = ("CountVectorizer", "HashingVectorizer", "TfidfVectorizer")


def load(path: Path) -> "SklearnModel":
    """Loads and checks a fitted estimator. The file's code runs here.

    Raises:
        Corrupt: it is no pickle.
        Unsupported: it is of another scikit-learn version, or holds what is not converted.
        InvalidInput: it is not fitted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", InconsistentVersionWarning)
        try:
            loaded = joblib.load(path)
        except InconsistentVersionWarning as e:
            raise Unsupported(
                f"{path.name}: {e.estimator_name} was saved with scikit-learn "
                f"{e.original_sklearn_version}, which may answer differently than the installed "
                f"{e.current_sklearn_version}: install scikit-learn=={e.original_sklearn_version}, "
                "or train and save it again"
            ) from e
        except (ImportError, AttributeError) as e:
            raise Unsupported(f"{path.name}: needs code that is not installed here: {e}") from e
        except Exception as e:
            raise Corrupt(f"{path.name}: cannot be loaded: {type(e).__name__}: {e}") from e
    return SklearnModel(_checked(loaded, path.name))


class SklearnModel:
    """A fitted classifier or regressor with one output."""

    framework = "sklearn"
    packages = ("scikit-learn", "skl2onnx", "joblib", "numpy", "scipy")

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator
        self._classes: Column | None = None
        self.kind = _kind(estimator)
        self.labels: tuple[str, ...] = ()
        if is_classifier(estimator):
            self._classes = np.asarray(estimator.classes_)
            self.labels = _label_texts(self._classes)

    def select(self, sample: Dataset, target: str | None) -> Frame:
        names = getattr(self._estimator, "feature_names_in_", None)
        count = getattr(self._estimator, "n_features_in_", None)
        frame = select_columns(sample, target, None if names is None else list(names), count)
        texts = tuple(n for n, c in frame.items() if is_text(c))
        if texts and not self._takes_columns:
            raise InvalidInput(
                f"{sample.name}: {self.kind} takes numbers, and these columns are text: "
                f"{shown_names(texts)}; encode them in a ColumnTransformer"
            )
        return frame

    def answers(self, frame: Frame) -> Answers:
        estimator = self._estimator
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                rows = self._rows(frame)
                predicted = np.asarray(estimator.predict(rows))
                if self._classes is None:
                    return Answers(labels=None, numbers=_as_matrix(predicted))
                numbers = _as_matrix(estimator.predict_proba(rows))
            except ValueError as e:
                raise Refused(str(e)) from e
        return Answers(labels=np.searchsorted(self._classes, predicted), numbers=numbers)

    def candidates(self, frame: Frame) -> Sequence[Attempt]:
        ways = plans(self._estimator, frame, takes_columns=self._takes_columns)
        return [partial(self._convert, frame, plan) for plan in ways]

    @property
    def _takes_columns(self) -> bool:
        """True when the model picks columns itself, so that each becomes an input of its own."""
        return any(type(e).__name__ == "ColumnTransformer" for e in parts_of(self._estimator))

    def _rows(self, frame: Frame) -> Any:
        if not self._takes_columns:
            return np.column_stack([c.astype(np.float64, copy=False) for c in frame.values()])
        try:
            import pandas as pd
        except ModuleNotFoundError as e:
            raise Unsupported(
                f"{self.kind} picks columns by name, which needs pandas: pip install pandas"
            ) from e
        return pd.DataFrame(dict(frame))

    def _convert(self, frame: Frame, plan: Plan) -> Candidate:
        model = to_onnx(self._estimator, frame, plan, takes_columns=self._takes_columns)
        return self._finished(model, frame, plan)

    def _finished(self, model: onnx.ModelProto, frame: Frame, plan: Plan) -> Candidate:
        names = ("score",) if self._classes is None else ("label", "probabilities")
        outputs = [o.name for o in model.graph.output]
        if len(outputs) != len(names):
            raise Unsupported(f"{self.kind} converts to {len(outputs)} outputs, not {len(names)}")
        graph.rename_outputs(model, dict(zip(outputs, names, strict=True)))
        datatype = "FP64" if plan.input else "FP32"
        if self._takes_columns:
            inputs = tuple(
                Field(
                    name=i.name,
                    datatype=_input_datatype(c, datatype),
                    shape=(-1, 1),
                    role="feature",
                    columns=(n,),
                )
                for i, (n, c) in zip(model.graph.input, frame.items(), strict=True)
            )
        else:
            inputs = (
                Field(
                    name=INPUT,
                    datatype=datatype,
                    shape=(-1, len(frame)),
                    role="feature",
                    columns=tuple(frame),
                ),
            )
        schema = Schema(inputs=inputs, outputs=self._outputs(model))
        return Candidate(model=graph.finish(model, "model"), schema=schema, plan=str(plan))

    def _outputs(self, model: onnx.ModelProto) -> tuple[Field, ...]:
        kinds = {o.name: _datatype(o) for o in model.graph.output}
        if self._classes is None:
            return (Field(name="score", datatype=kinds["score"], shape=(-1, 1), role="score"),)
        return (
            Field(
                name="label",
                datatype=kinds["label"],
                shape=(-1,),
                role="label",
                labels=self.labels,
            ),
            Field(
                name="probabilities",
                datatype=kinds["probabilities"],
                shape=(-1, len(self.labels)),
                role="probabilities",
                labels=self.labels,
            ),
        )


def _checked(loaded: object, name: str) -> Any:
    """The estimator, if it is one that can be converted."""
    if not isinstance(loaded, BaseEstimator):
        raise Unsupported(
            f"{name}: holds a {type(loaded).__name__}, not a scikit-learn estimator; {SUPPORTED}"
        )
    try:
        check_is_fitted(loaded)
    except NotFittedError as e:
        raise InvalidInput(f"{name}: {type(loaded).__name__} is not fitted: call fit first") from e
    except TypeError as e:
        raise Unsupported(f"{name}: {e}") from e
    if not (is_classifier(loaded) or is_regressor(loaded)):
        raise Unsupported(
            f"{name}: {_kind(loaded)} is neither classifier nor regressor; only these are converted"
        )
    if is_classifier(loaded) and not hasattr(loaded, "predict_proba"):
        raise Unsupported(
            f"{name}: {_kind(loaded)} gives no probabilities; wrap it in a CalibratedClassifierCV "
            "with method='sigmoid'"
        )
    for part in parts_of(loaded):
        _refuse_known_wrong(part, name)
    return loaded


def _refuse_known_wrong(part: Any, name: str) -> None:
    """Refuses what skl2onnx converts without an error to something else."""
    kind = type(part).__name__
    if kind in TEXT_CLASSES:
        raise Unsupported(f"{name}: {kind}: text is not converted yet")
    if kind == "CalibratedClassifierCV" and part.method == "isotonic":
        raise Unsupported(
            f"{name}: isotonic calibration converts to answers that are off by up to 0.1; "
            "use method='sigmoid'"
        )
    if (
        kind.startswith("HistGradientBoosting")
        and getattr(part, "is_categorical_", None) is not None
    ) and np.any(part.is_categorical_):
        raise Unsupported(
            f"{name}: {kind} with categorical splits is not converted yet; encode the "
            "categories before it"
        )


def _kind(estimator: Any) -> str:
    name = type(estimator).__name__
    if isinstance(estimator, Pipeline):
        return f"{name}({', '.join(type(step).__name__ for _, step in estimator.steps)})"
    return name


def _label_texts(classes: Column) -> tuple[str, ...]:
    """Class names as the served model gives them: text, or whole numbers."""
    if classes.dtype.kind in "UO" and all(isinstance(c, str) for c in classes):
        return tuple(str(c) for c in classes)
    if classes.dtype.kind in "iubf" and np.array_equal(classes, classes.astype(np.int64)):
        return tuple(str(int(c)) for c in classes)
    raise Unsupported("only text, whole numbers and booleans are converted as class labels")


def _as_matrix(numbers: Any) -> Any:
    made = np.asarray(numbers, dtype=np.float64)
    if made.ndim > 2 or (made.ndim == 2 and isinstance(numbers, list)):
        raise Unsupported("models with several outputs are not converted yet")
    return made.reshape(len(made), -1)


def _datatype(output: onnx.ValueInfoProto) -> str:
    kinds = {
        onnx.TensorProto.FLOAT: "FP32",
        onnx.TensorProto.DOUBLE: "FP64",
        onnx.TensorProto.INT64: "INT64",
        onnx.TensorProto.STRING: "BYTES",
    }
    kind = output.type.tensor_type.elem_type
    if kind not in kinds:
        raise Unsupported(f"output {output.name!r} has the ONNX type {kind}, which is not served")
    return kinds[kind]


def _input_datatype(column: Column, number: str) -> str:
    return {"O": "BYTES", "i": "INT64"}.get(column.dtype.kind, number)
