"""A whole server put together: front, service, models, observer.

`fogline serve` and the agent both build it here; the agent passes its observer and handlers.
"""

import logging

from fogline.addresses import Address
from fogline.clock import Clock, SystemClock
from fogline_edge.serving.calls import FrontAdapter
from fogline_edge.serving.config import ServingConfig
from fogline_edge.serving.edge import Describe, Edge, TakeFeedback
from fogline_edge.serving.front import GrpcioFront
from fogline_edge.serving.health import Health
from fogline_edge.serving.inference import Inference
from fogline_edge.serving.models import Models
from fogline_edge.serving.observer import NullObserver, Observer
from fogline_edge.serving.scheduler import Scheduler
from fogline_edge.serving.service import Service

_LOG = logging.getLogger(__name__)


class Server:
    """Answers for `models` on one address, from `start` to `drain`."""

    def __init__(
        self,
        listen: Address,
        models: Models,
        *,
        config: ServingConfig | None = None,
        observer: Observer | None = None,
        feedback: TakeFeedback | None = None,
        describe: Describe | None = None,
        clock: Clock | None = None,
        front: FrontAdapter | None = None,
    ) -> None:
        """Wires the parts; nothing listens yet.

        Args:
            listen: Where; port 0 takes a free one. Loopback is the caller's to check.
            models: What to serve; versions may come and go while serving.
            config: The bounds.
            observer: Told of every answer.
            feedback: Stores outcomes; without it feedback is refused.
            describe: Adds the agent's facts to a status.
            clock: Time.
            front: What listens, instead of grpcio's server on `listen`.
        """
        self.config = config or ServingConfig()
        timer = clock or SystemClock()
        self._health = Health(max_watches=self.config.max_watches)
        self._front = front or GrpcioFront(listen, self.config)
        self._service = Service(
            Inference(models, observer or NullObserver(), timer, self.config),
            self._health,
            Edge(models, feedback, describe),
            Scheduler(
                clock=timer,
                max_running=self.config.max_running,
                max_queued=self.config.max_queued,
            ),
        )

    def start(self) -> Address:
        """Listens; returns the address with its true port. Raises `Conflict` when it cannot."""
        address = self._front.start(self._service.handle)
        _LOG.info("listening", extra={"grpc": str(address)})
        return address

    def drain(self) -> None:
        """Refuses new requests as UNAVAILABLE, lets open ones end within `drain_s`, and stops."""
        _LOG.info("draining", extra={"grace_s": self.config.drain_s})
        self._health.stop()
        self._front.drain(self.config.drain_s)
