"""The seam to capture: who wants to know what was served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fogline.errors import FoglineError
from fogline.tensors import Array
from fogline_edge.serving.models import ServedModel
from fogline_edge.serving.requests import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One answered request. Arrays may be read-only views of the message; none is changed later."""

    served: ServedModel
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    """All outputs that were asked for; empty if `error` is set."""
    rows: int
    event_us: int
    """Event time, Unix microseconds."""
    prediction_id: str
    latency_us: int
    """From the call's arrival to its answer, microseconds."""
    error: FoglineError | None = None


class Observer(Protocol):
    """Implemented by capture. A fault here is logged and never fails a request."""

    def prediction_id(
        self, served: ServedModel, request: Request, outputs: Mapping[str, Array]
    ) -> str:
        """The id that feedback will name; empty if this prediction takes none."""

    def observe(self, batch: Sequence[Observation]) -> None:
        """Takes note of answered requests; must not block."""


class NullObserver:
    """Notes nothing and gives no ids."""

    def prediction_id(
        self,
        served: ServedModel,  # noqa: ARG002 - the Protocol's
        request: Request,  # noqa: ARG002
        outputs: Mapping[str, Array],  # noqa: ARG002
    ) -> str:
        return ""

    def observe(self, batch: Sequence[Observation]) -> None:
        pass
