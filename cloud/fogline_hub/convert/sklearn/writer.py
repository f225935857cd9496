"""What writes the estimators inside of others, and the forms of those that ask it."""

from collections.abc import Callable
from typing import Any, Protocol

from fogline_hub.convert.sklearn.decision import Decision
from fogline_hub.convert.sklearn.tensor import Given, Tensor


class Writer(Protocol):
    """Writes the estimators inside of others."""

    def transform(self, model: Any, given: Given) -> Given: ...

    def classify(self, model: Any, given: Given) -> Decision: ...

    def regress(self, model: Any, given: Given) -> Tensor: ...


Steps = Callable[[Any, Given, Writer], Given]
Classifier = Callable[[Any, Given, Writer], Decision]
Regressor = Callable[[Any, Given, Writer], Tensor]
