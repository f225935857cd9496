"""Trees of scikit-learn, read into ensembles, and what each estimator makes of their sum."""

from typing import Any

import numpy as np

from fogline.errors import Unsupported
from fogline_hub.convert.ensembles import write_trees
from fogline_hub.convert.ensembles.sklearn_trees import read_sklearn
from fogline_hub.convert.sklearn.decision import Decision, Kind, binary, most_probable
from fogline_hub.convert.sklearn.tensor import DOUBLE, INT64, Tensor, joined


def written(model: Any, x: Tensor) -> Tensor:
    """What `read_sklearn` says that an estimator's trees answer, float64 [rows, outputs]."""
    ensemble = read_sklearn(model)
    name = write_trees(x.graph, ensemble, x.name, is_double=x.type == DOUBLE)
    return Tensor(x.graph, name, DOUBLE, ensemble.outputs)


def shared(model: Any, x: Tensor) -> Decision:
    """Trees and forests whose leaves are class shares."""
    return most_probable(written(model, x))


def boosted(model: Any, x: Tensor) -> Decision:
    raw = written(model, x)
    if raw.width == 1:
        scale = 2.0 if model.loss == "exponential" else 1.0
        shares, codes = binary((raw * scale).sigmoid()), (raw >= 0.0).cast(INT64).vector()
    else:
        shares, codes = raw.softmax(), raw.argmax()
    return Decision(kind=Kind.PROBABILITIES, numbers=shares, codes=codes, score=raw)


def histogram_boosted(model: Any, x: Tensor) -> Decision:
    """HistGradientBoostingClassifier, of columns as its own encoder leaves them."""
    raw = written(model, x)
    if raw.width == 1:
        shares, codes = binary(raw.sigmoid()), (raw > 0.0).cast(INT64).vector()
    else:
        shares, codes = raw.softmax(), raw.argmax()
    return Decision(kind=Kind.PROBABILITIES, numbers=shares, codes=codes, score=raw)


def histogram_regressed(model: Any, x: Tensor) -> Tensor:
    raw = written(model, x)
    link = type(model._loss.link).__name__  # noqa: SLF001
    match link:
        case "IdentityLink":
            return raw
        case "LogLink":
            return raw.exp()
        case _:
            raise Unsupported(f"{type(model).__name__} with {link} is not converted")


def adaptive(model: Any, x: Tensor) -> Decision:
    """AdaBoostClassifier of trees: Zhu et al. 2009, eq. 15."""
    votes = written(model, x)
    return by_votes(votes)


def by_votes(votes: Tensor) -> Decision:
    """Votes [rows, classes] as AdaBoostClassifier reads them."""
    if votes.width == 2:
        score = votes.column(1) - votes.column(0)
        both = joined([score * -0.5, score * 0.5])
        codes = (score > 0.0).cast(INT64).vector()
    else:
        score, both = votes, votes / float(votes.width - 1)
        codes = votes.argmax()
    return Decision(kind=Kind.PROBABILITIES, numbers=both.softmax(), codes=codes, score=score)


def isolation(model: Any, x: Tensor) -> Tensor:
    """IsolationForest's decision function: Liu, Ting and Zhou 2008, eq. 2, less the offset."""
    return -((written(model, x) * -np.log(2.0)).exp()) - float(model.offset_)


REGRESSORS = dict.fromkeys(
    (
        "DecisionTreeRegressor",
        "ExtraTreeRegressor",
        "RandomForestRegressor",
        "ExtraTreesRegressor",
        "GradientBoostingRegressor",
    ),
    written,
)
CLASSIFIERS = {
    "DecisionTreeClassifier": shared,
    "ExtraTreeClassifier": shared,
    "RandomForestClassifier": shared,
    "ExtraTreesClassifier": shared,
    "GradientBoostingClassifier": boosted,
}
