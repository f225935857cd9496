"""What a classifier says of each row, while it is written."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.tensor import Tensor, joined


class Kind(Enum):
    PROBABILITIES = "probabilities"
    SCORE = "score"
    """Of `decision_function`."""
    NOTHING = "nothing"
    """A classifier that gives labels alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Numbers and the class.

    Attributes:
        kind: What the numbers are.
        numbers: [rows, classes], or [rows, 1] for a score of two classes.
        codes: int64 [rows]; the place of the predicted class in `classes_`.
        score: What `decision_function` gives, where it is known beside probabilities.
    """

    kind: Kind
    numbers: Tensor
    codes: Tensor
    score: Tensor | None = None


def most_probable(probabilities: Tensor, score: Tensor | None = None) -> Decision:
    """The class of the highest probability, the first of equals."""
    return Decision(
        kind=Kind.PROBABILITIES,
        numbers=probabilities,
        codes=probabilities.argmax(),
        score=score,
    )


def highest_score(score: Tensor) -> Decision:
    """The second class where one score is above 0, else the class of the highest of several."""
    codes = (score > 0.0).cast(7).vector() if score.width == 1 else score.argmax()
    return Decision(kind=Kind.SCORE, numbers=score, codes=codes, score=score)


def binary(share: Tensor) -> Tensor:
    """[rows, 1] probabilities of the second class, beside those of the first."""
    return joined([1.0 - share, share])


def score_of(said: Decision, estimator: Any) -> Tensor:
    if said.score is None:
        raise Unsupported(f"the decision function of {type(estimator).__name__} is not converted")
    return said.score.double()
