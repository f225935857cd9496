"""Multi-layer perceptrons, in the type of their input."""

from typing import Any

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.decision import Decision, binary, most_probable
from fogline_hub.convert.sklearn.tensor import Tensor


def regression(model: Any, x: Tensor) -> Tensor:
    made = _layers(model, x)
    match model.out_activation_:
        case "identity":
            return made
        case "exp":  # the Poisson loss
            return made.exp()
        case other:
            raise Unsupported(f"MLPRegressor with the output {other!r} is not converted")


def classification(model: Any, x: Tensor) -> Decision:
    made = _layers(model, x)
    if model.out_activation_ == "softmax":
        return most_probable(made.softmax())
    if model.n_outputs_ != 1:
        raise Unsupported("MLPClassifier with several labels a row is not converted")
    return most_probable(binary(made.op("Sigmoid")))


def _layers(model: Any, x: Tensor) -> Tensor:
    made = x
    last = len(model.coefs_) - 1
    for number, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        made = made @ weights + bias[None, :]
        if number < last:
            made = _activated(model.activation, made)
    return made


def _activated(name: str, x: Tensor) -> Tensor:
    match name:
        case "relu":
            return x.op("Relu")
        case "tanh":
            return x.op("Tanh")
        case "logistic":
            return x.op("Sigmoid")
        case _:
            return x


REGRESSORS = {"MLPRegressor": regression}
CLASSIFIERS = {"MLPClassifier": classification}
