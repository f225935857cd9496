"""A whole server put together: front, service, models, observer.

`fogline serve` and the agent both build it here; the agent passes its observer and handlers.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fogline.clock import Clock, SystemClock
from fogline.wire.open_inference_pb2 import ServerLiveResponse, ServerReadyResponse
from fogline.wire.services import EDGE_SERVICE, HEALTH_SERVICE, INFERENCE_SERVICE
from fogline_edge.serving.access import Access, open_access
from fogline_edge.serving.calls import Endpoint, Front, FrontCounts, Listener
from fogline_edge.serving.config import ServingConfig
from fogline_edge.serving.control import (
    Answer,
    Control,
    Converse,
    FixedModels,
    Repository,
    on_demand,
)
from fogline_edge.serving.edge import Describe, Edge, TakeFeedback
from fogline_edge.serving.front import make_front
from fogline_edge.serving.health import Health
from fogline_edge.serving.inference import Inference
from fogline_edge.serving.metadata import Metadata
from fogline_edge.serving.models import Models
from fogline_edge.serving.observer import NullObserver, Observer
from fogline_edge.serving.reflection import METHODS as REFLECTION_METHODS
from fogline_edge.serving.reflection import Reflection
from fogline_edge.serving.service import Service
from fogline_edge.serving.shadows import Shadowed
from fogline_edge.serving.shared_memory import Regions, Sharing
from fogline_edge.serving.statistics import Statistics
from fogline_edge.serving.tokens import Right

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSide:
    """What an agent adds to a server."""

    observer: Observer = field(default_factory=NullObserver)
    """Told of every answer."""
    feedback: TakeFeedback | None = None
    """Stores outcomes; without it feedback is refused."""
    describe: Describe | None = None
    """Adds the agent's facts to a status."""
    shadowed: Callable[[Shadowed], None] | None = None
    """Told what versions in the shadow answered."""


class Server:
    """Answers for `models` on its listeners, from `start` to `drain`.

    Attributes:
        statistics: What each version has done.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        models: Models,
        *,
        config: ServingConfig | None = None,
        agent: AgentSide | None = None,
        repository: Repository | None = None,
        access: Access | None = None,
        clock: Clock | None = None,
        front: Front | None = None,
    ) -> None:
        """Wires the parts; nothing listens yet.

        Args:
            listeners: Where; port 0 takes a free one.
            models: What to serve; versions may come and go while serving.
            config: The bounds.
            agent: What an agent adds.
            repository: Where models come from that a caller asks to load; none may be if None.
            access: Who may call what, instead of what `config` says.
            clock: Time.
            front: What listens, instead of the one that `config` names.
        """
        self.config = config or ServingConfig()
        timer = clock or SystemClock()
        self.statistics = Statistics(timer)
        side = agent or AgentSide()
        self._front = front or make_front(listeners, self.config.front)
        self._health = Health(max_watches=self.config.max_watches)
        regions = Regions(self.config.shared_memory)
        guard = access or open_access(self.config.access, timer)
        self._inference = Inference(
            models,
            side.observer,
            self.statistics,
            timer,
            self.config,
            sharing=Sharing(regions=regions, check=lambda call: guard.require(call, Right.MEMORY)),
            shadowed=side.shadowed,
        )
        metadata = Metadata(models, self.statistics)
        self._edge = Edge(models, side.feedback, side.describe)
        control = Control(
            models,
            repository
            or FixedModels(models, owner="the command line" if agent is None else "the hub"),
            logging.getLogger(),
            regions,
        )
        self._service = Service(
            self._inference,
            self._health,
            guard,
            answers={
                **control.answers,
                **_answers(metadata, self._health, self._edge),
            },
            late_answers={
                **control.late_answers,
                f"/{INFERENCE_SERVICE}/ModelMetadata": on_demand(models, metadata.model_metadata),
                f"/{EDGE_SERVICE}/Feedback": self._edge.feedback,
            },
            conversations={**control.conversations, **_reflection()},
            clock=timer,
        )

    def start(self) -> tuple[Endpoint, ...]:
        """Listens; returns one endpoint a listener, with its true port.

        Raises:
            Conflict: an address cannot be listened on.
        """
        endpoints = self._front.start(self._service.handle, self._service.settle)
        _LOG.info("listening", extra={"grpc": ", ".join(map(str, endpoints))})
        return endpoints

    def counts(self) -> FrontCounts:
        """Of the front."""
        return self._front.counts()

    def drain(self) -> None:
        """Takes no new calls, lets open ones end within `drain_s`, and stops."""
        _LOG.info("draining", extra={"grace_s": self.config.drain_s})
        self._health.stop()
        self._front.drain(self.config.drain_s)
        self._edge.close()
        self._inference.close()


def _reflection() -> Mapping[str, Converse]:
    reflection = Reflection((INFERENCE_SERVICE, HEALTH_SERVICE, EDGE_SERVICE))
    return dict.fromkeys(REFLECTION_METHODS, reflection.converse)


def _answers(metadata: Metadata, health: Health, edge: Edge) -> Mapping[str, Answer]:
    infer = f"/{INFERENCE_SERVICE}"
    return {
        f"{infer}/ServerLive": lambda _: ServerLiveResponse(live=True),
        f"{infer}/ServerReady": lambda _: ServerReadyResponse(ready=health.is_serving),
        f"{infer}/ServerMetadata": lambda _: metadata.server_metadata(),
        f"{infer}/ModelReady": metadata.model_ready,
        f"{infer}/ModelStatistics": metadata.model_statistics,
        f"/{HEALTH_SERVICE}/Check": health.check,
        f"/{EDGE_SERVICE}/Status": lambda _: edge.status(),
    }
