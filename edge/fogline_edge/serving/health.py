"""`grpc.health.v1.Health`: whether the server takes requests, asked once or watched.

Source: the published GRPC Health Checking Protocol (`doc/health-checking.md` of grpc/grpc).
"""

import threading
from functools import partial

from fogline.errors import Exhausted, NotFound, Unavailable
from fogline.wire.health_pb2 import HealthCheckRequest, HealthCheckResponse
from fogline.wire.services import (
    EDGE_SERVICE,
    HEALTH_SERVICE,
    INFERENCE_SERVICE,
    REFLECTION_SERVICES,
)
from fogline_edge.serving.calls import Call

SERVICES = ("", INFERENCE_SERVICE, EDGE_SERVICE, HEALTH_SERVICE, *REFLECTION_SERVICES)
"""What can be asked about; the empty name is the server as a whole."""


class Health:
    """One state for all services: they start and stop together."""

    def __init__(self, *, max_watches: int) -> None:
        self._max_watches = max_watches
        self._lock = threading.Lock()
        self._is_serving = True
        self._watches: dict[int, Call] = {}

    @property
    def is_serving(self) -> bool:
        return self._is_serving

    def check(self, message: HealthCheckRequest) -> HealthCheckResponse:
        """Raises `NotFound` for a service that is not here, as the protocol wants."""
        if message.service not in SERVICES:
            raise NotFound(
                f"no service {message.service[:80]!r}; there are: {', '.join(SERVICES[1:])}"
            )
        return HealthCheckResponse(status=self._status())

    def watch(self, call: Call, message: HealthCheckRequest) -> None:
        """Sends the state now and at every change until the call ends.

        Raises:
            Exhausted: too many watch already.
        """
        known = message.service in SERVICES
        with self._lock:
            if len(self._watches) >= self._max_watches:
                raise Exhausted(f"{self._max_watches} calls watch the health already; use Check")
            status = self._status() if known else HealthCheckResponse.SERVICE_UNKNOWN
            call.send(HealthCheckResponse(status=status).SerializeToString())
            stopped = not self._is_serving
            if not stopped:
                self._watches[id(call)] = call
        if stopped:
            call.fail(Unavailable("the server is stopping"))
        call.when_ended(partial(self._forget, call))

    def stop(self) -> None:
        """Says NOT_SERVING from now on, and ends all watches after telling them."""
        with self._lock:
            self._is_serving = False
            watches = list(self._watches.values())
        for call in watches:
            call.send(HealthCheckResponse(status=self._status()).SerializeToString())
            call.fail(Unavailable("the server is stopping"))

    def _forget(self, call: Call) -> None:
        with self._lock:
            self._watches.pop(id(call), None)

    def _status(self) -> HealthCheckResponse.ServingStatus:
        return HealthCheckResponse.SERVING if self._is_serving else HealthCheckResponse.NOT_SERVING
