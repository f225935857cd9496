"""Estimators that hand columns on: pipelines, tables of columns, searches, selections."""

from typing import Any

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.decision import Decision
from fogline_hub.convert.sklearn.tensor import Given, Tensor, beside, matrix_of
from fogline_hub.convert.sklearn.writer import Classifier, Regressor, Steps, Writer


def pipeline_steps(model: Any, given: Given, writer: Writer) -> Given:
    """All steps of a Pipeline that ends in a transformer."""
    return _through(model.steps, given, writer)


def _through(steps: Any, given: Given, writer: Writer) -> Given:
    made = given
    for _, step in steps:
        if step is not None and step != "passthrough":
            made = writer.transform(step, made)
    return made


def columns(model: Any, given: Given, writer: Writer) -> Given:
    """ColumnTransformer: each step gets its columns, by their places in the training data."""
    parts: list[Given] = []
    places = model._transformer_to_input_indices  # noqa: SLF001
    for name, step, _ in model.transformers_:
        chosen = [int(p) for p in places[name]]
        if step == "drop" or not chosen:
            continue
        taken = given.take(chosen)
        parts.append(taken if step == "passthrough" else writer.transform(step, taken))
    return beside(parts)


def union(model: Any, given: Given, writer: Writer) -> Given:
    """FeatureUnion, with its weights."""
    weights = model.transformer_weights or {}
    parts: list[Given] = []
    for name, step in model.transformer_list:
        if step == "drop":
            continue
        made = given if step == "passthrough" else writer.transform(step, given)
        parts.append(matrix_of(made) * float(weights[name]) if name in weights else made)
    return beside(parts)


def _last(model: Any, given: Given, writer: Writer) -> tuple[Any, Given]:
    return model.steps[-1][1], _through(model.steps[:-1], given, writer)


def pipeline_classifier(model: Any, given: Given, writer: Writer) -> Decision:
    return writer.classify(*_last(model, given, writer))


def pipeline_regressor(model: Any, given: Given, writer: Writer) -> Tensor:
    return writer.regress(*_last(model, given, writer))


def _inner(model: Any) -> Any:
    """What a search, a frozen or a self-training estimator answers with."""
    for name in ("best_estimator_", "estimator_", "estimator"):
        if hasattr(model, name):
            return getattr(model, name)
    raise Unsupported(f"{type(model).__name__} holds no fitted estimator")


def inner_steps(model: Any, given: Given, writer: Writer) -> Given:
    return writer.transform(_inner(model), given)


def inner_classifier(model: Any, given: Given, writer: Writer) -> Decision:
    return writer.classify(_inner(model), given)


def inner_regressor(model: Any, given: Given, writer: Writer) -> Tensor:
    return writer.regress(_inner(model), given)


def refined_classifier(model: Any, given: Given, writer: Writer) -> Decision:
    """RFE and RFECV as models: their estimator on the columns that they kept."""
    return writer.classify(model.estimator_, given.take(model.get_support(indices=True).tolist()))


def refined_regressor(model: Any, given: Given, writer: Writer) -> Tensor:
    return writer.regress(model.estimator_, given.take(model.get_support(indices=True).tolist()))


_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")

TRANSFORMERS: dict[str, Steps] = {
    "Pipeline": pipeline_steps,
    "ColumnTransformer": columns,
    "FeatureUnion": union,
    "FrozenEstimator": inner_steps,
    **dict.fromkeys(_SEARCHES, inner_steps),
}
CLASSIFIERS: dict[str, Classifier] = {
    "Pipeline": pipeline_classifier,
    "FrozenEstimator": inner_classifier,
    "SelfTrainingClassifier": inner_classifier,
    **dict.fromkeys(_SEARCHES, inner_classifier),
    "RFE": refined_classifier,
    "RFECV": refined_classifier,
}
REGRESSORS: dict[str, Regressor] = {
    "Pipeline": pipeline_regressor,
    "FrozenEstimator": inner_regressor,
    "RANSACRegressor": inner_regressor,
    **dict.fromkeys(_SEARCHES, inner_regressor),
    "RFE": refined_regressor,
    "RFECV": refined_regressor,
}
