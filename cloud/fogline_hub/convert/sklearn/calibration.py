"""What is done to a classifier's numbers: calibration, isotonic regression, thresholds."""

from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.decision import Decision, Kind, binary, most_probable, score_of
from fogline_hub.convert.sklearn.tensor import INT64, Given, Tensor, joined, matrix_of
from fogline_hub.convert.sklearn.votes import total_of
from fogline_hub.convert.sklearn.writer import Classifier, Regressor, Steps, Writer


def calibrated(model: Any, given: Given, writer: Writer) -> Decision:
    """CalibratedClassifierCV: the mean over its folds."""
    parts = [_one_calibrated(c, given, writer) for c in model.calibrated_classifiers_]
    return most_probable(total_of(parts) / float(len(parts)))


def _one_calibrated(model: Any, given: Given, writer: Writer) -> Tensor:
    estimator = model.estimator
    said = writer.classify(estimator, given)
    has_score = hasattr(estimator, "decision_function")
    values = score_of(said, estimator) if has_score else said.numbers.double()
    if model.method == "temperature":
        if not has_score:
            values = (values + float(np.finfo(np.float64).eps)).log()
        elif values.width == 1:
            values = joined([-values, values])
        return (values * float(model.calibrators[0].beta_)).softmax()
    classes = len(model.classes)
    if classes == 2:
        value = values if values.width == 1 else values.column(1)
        return binary(_calibrate(model.calibrators[0], value))
    places = np.searchsorted(model.classes, estimator.classes_).tolist()
    shares = [values.zeros() for _ in range(classes)]
    for number, (place, calibrator) in enumerate(zip(places, model.calibrators, strict=True)):
        shares[place] = _calibrate(calibrator, values.column(number))
    made = joined(shares)
    total = made.sum()
    is_zero = total == 0.0
    flat = made * 0.0 + 1.0 / classes
    return is_zero.choose(flat, made / is_zero.choose(total + 1.0, total))


def _calibrate(calibrator: Any, value: Tensor) -> Tensor:
    if type(calibrator).__name__ == "_SigmoidCalibration":
        return (-(value * float(calibrator.a_) + float(calibrator.b_))).sigmoid()
    return isotonic(calibrator, value)


def isotonic(model: Any, given: Given, _: Writer | None = None) -> Tensor:
    """IsotonicRegression of one column: straight lines between its knots, flat outside of them."""
    x = matrix_of(given)
    knots = np.asarray(model.X_thresholds_, dtype=np.float64)
    heights = np.asarray(model.y_thresholds_, dtype=np.float64)
    if model.out_of_bounds != "clip":
        raise Unsupported("IsotonicRegression is converted with out_of_bounds='clip'")
    if len(knots) == 1:
        return x * 0.0 + float(heights[0])
    value = x.clip(float(knots[0]), float(knots[-1]))
    below = (value > knots[None, :]).cast(INT64).sum(keep=False)
    low = (below - 1).clip(0, len(knots) - 2)
    slopes = np.diff(heights) / np.diff(knots)
    picked = low.rows_of(np.column_stack([knots[:-1], heights[:-1], slopes]))
    return picked.column(2) * (value - picked.column(0)) + picked.column(1)


def thresholded(model: Any, given: Given, writer: Writer) -> Decision:
    """FixedThresholdClassifier and TunedThresholdClassifierCV."""
    said = writer.classify(model.estimator_, given)
    if getattr(model, "pos_label", None) is not None or len(model.classes_) != 2:
        raise Unsupported(f"{type(model).__name__} with pos_label is not converted")
    is_share = said.kind is Kind.PROBABILITIES and model.response_method != "decision_function"
    fixed = getattr(model, "threshold", None)
    limit: Any = getattr(model, "best_threshold_", fixed)
    if limit == "auto":
        limit = 0.5 if is_share else 0.0
    value = said.numbers.double().column(1) if is_share else score_of(said, model)
    codes = (value >= float(limit)).cast(INT64).vector()
    return Decision(kind=said.kind, numbers=said.numbers, codes=codes, score=said.score)


TRANSFORMERS: dict[str, Steps] = {"IsotonicRegression": isotonic}
CLASSIFIERS: dict[str, Classifier] = {
    "CalibratedClassifierCV": calibrated,
    "FixedThresholdClassifier": thresholded,
    "TunedThresholdClassifierCV": thresholded,
}
REGRESSORS: dict[str, Regressor] = {"IsotonicRegression": isotonic}
