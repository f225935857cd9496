"""Naive Bayes: a joint logarithm for each class, and its softmax."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fogline_hub.convert.sklearn.decision import Decision, most_probable
from fogline_hub.convert.sklearn.tensor import INT64, Tensor, joined


def gaussian(model: Any, x: Tensor) -> Tensor:
    parts = []
    for prior, mean, variance in zip(model.class_prior_, model.theta_, model.var_, strict=True):
        constant = float(np.log(prior) - 0.5 * np.sum(np.log(2.0 * np.pi * variance)))
        away = x - mean[None, :]
        parts.append(-0.5 * ((away * away) / variance[None, :]).sum() + constant)
    return joined(parts)


def multinomial(model: Any, x: Tensor) -> Tensor:
    return x @ model.feature_log_prob_.T + model.class_log_prior_[None, :]


def complement(model: Any, x: Tensor) -> Tensor:
    made = x @ model.feature_log_prob_.T
    return made + model.class_log_prior_[None, :] if len(model.classes_) == 1 else made


def bernoulli(model: Any, x: Tensor) -> Tensor:
    given = x if model.binarize is None else (x > float(model.binarize)).double()
    rest = np.log(1 - np.exp(model.feature_log_prob_))
    base = model.class_log_prior_ + rest.sum(axis=1)
    return given @ (model.feature_log_prob_ - rest).T + base[None, :]


def categorical(model: Any, x: Tensor) -> Tensor:
    made = None
    for number, logs in enumerate(model.feature_log_prob_):
        code = x.column(number).cast(INT64).vector().clip(0, logs.shape[1] - 1)
        part = code.rows_of(np.asarray(logs).T)
        made = part if made is None else made + part
    if made is None:
        return x
    return made + model.class_log_prior_[None, :]


def _classified(joint: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Decision]:
    def write(model: Any, x: Tensor) -> Decision:
        logs = joint(model, x)
        top = logs.max()
        total = (logs - top).exp().sum().log() + top  # as the original's logsumexp
        return most_probable((logs - total).exp(), None)

    return write


CLASSIFIERS = {
    "GaussianNB": _classified(gaussian),
    "MultinomialNB": _classified(multinomial),
    "ComplementNB": _classified(complement),
    "BernoulliNB": _classified(bernoulli),
    "CategoricalNB": _classified(categorical),
}
