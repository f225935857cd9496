"""The seam to capture: who wants to know what was served.

Who answers tells it of whole stacks, because at full traffic a call and an object for each request
would cost more than a small model's run.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from fogline.errors import FoglineError
from fogline.tensors import Array
from fogline_edge.serving.models import ServedModel


class Observation:
    """Requests of one version that were answered together, or failed together.

    The arrays may be read-only views of messages' memory or of what the runner gave; the observer
    owns them from then on: nobody changes them later, or writes into the memory behind them. So it
    need not copy to keep them, but what it keeps holds that memory. The observation is the
    observer's too: it may take tensors out.

    Attributes:
        served: What answered.
        inputs: By name; of several requests stacked along the first dimension, in their order.
            Empty where the request was refused before it was read.
        outputs: The same, all that were asked for; empty if `error` is set.
        rows: Of each request; so many entries of a stacked tensor are its.
        event_us: Event time of each, Unix microseconds.
        prediction_ids: Of each, "" where it has none; empty if `error` is set.
        latency_us: From each call's arrival to its answer, microseconds.
        error: Why all of them failed.
    """

    __slots__ = (
        "error", "event_us", "inputs", "latency_us", "outputs", "prediction_ids", "rows", "served",
    )  # fmt: skip

    def __init__(
        self,
        served: ServedModel,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        rows: Sequence[int],
        event_us: Sequence[int],
        prediction_ids: Sequence[str],
        latency_us: Sequence[int],
        error: FoglineError | None = None,
    ) -> None:
        self.served = served
        self.inputs = inputs
        self.outputs = outputs
        self.rows = rows
        self.event_us = event_us
        self.prediction_ids = prediction_ids
        self.latency_us = latency_us
        self.error = error


class Observer(Protocol):
    """Implemented by capture. A fault here is logged and never fails a request."""

    def prediction_ids(
        self,
        served: ServedModel,
        rows: Sequence[int],
        event_us: Sequence[int],
        outputs: Mapping[str, Array],
    ) -> Sequence[str]:
        """The ids that feedback will name, one a request; "" for one that takes none.

        Args:
            served: What answered.
            rows: Of each request.
            event_us: Event time of each, Unix microseconds.
            outputs: What is answered, stacked as in `Observation`.
        """

    def observe(self, batch: Sequence[Observation]) -> None:
        """Takes note of answered requests; must not block."""


class NullObserver:
    """Notes nothing and gives no ids."""

    def prediction_ids(
        self,
        served: ServedModel,  # noqa: ARG002 - the Protocol's
        rows: Sequence[int],
        event_us: Sequence[int],  # noqa: ARG002
        outputs: Mapping[str, Array],  # noqa: ARG002
    ) -> Sequence[str]:
        return ("",) * len(rows)

    def observe(self, batch: Sequence[Observation]) -> None:
        pass
