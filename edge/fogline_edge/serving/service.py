"""Every call by its method: decoded, answered, or handed to the scheduler."""

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from google.protobuf.message import DecodeError, Message

from fogline.errors import FoglineError, InvalidInput, Unavailable, Unsupported
from fogline.wire.open_inference_pb2 import ServerLiveResponse, ServerReadyResponse
from fogline.wire.services import METHODS, Method
from fogline_edge.serving.calls import Call
from fogline_edge.serving.edge import Edge
from fogline_edge.serving.health import Health
from fogline_edge.serving.inference import Inference
from fogline_edge.serving.scheduler import Job, Scheduler

_LOG = logging.getLogger(__name__)

_INFERENCE = "/inference.GRPCInferenceService"
_HEALTH = "/grpc.health.v1.Health"
_EDGE = "/fogline.v1.Edge"

Answer = Callable[[Any], Message]


class Service:
    """What a front hands its calls to."""

    def __init__(
        self, inference: Inference, health: Health, edge: Edge, scheduler: Scheduler
    ) -> None:
        self._inference = inference
        self._health = health
        self._scheduler = scheduler
        self._answers: Mapping[str, Answer] = MappingProxyType(
            {
                f"{_INFERENCE}/ServerLive": lambda _: ServerLiveResponse(live=True),
                f"{_INFERENCE}/ServerReady": lambda _: ServerReadyResponse(ready=health.is_serving),
                f"{_INFERENCE}/ModelReady": inference.model_ready,
                f"{_INFERENCE}/ServerMetadata": lambda _: inference.server_metadata(),
                f"{_INFERENCE}/ModelMetadata": inference.model_metadata,
                f"{_HEALTH}/Check": health.check,
                f"{_EDGE}/Feedback": edge.feedback,
                f"{_EDGE}/Status": lambda _: edge.status(),
            }
        )
        self.methods = frozenset({*self._answers, f"{_INFERENCE}/ModelInfer", f"{_HEALTH}/Watch"})
        """Paths of all methods that are answered."""

    def handle(self, calls: Sequence[Call]) -> None:
        """Answers every call, or sees to it that it will be; never raises."""
        jobs = [job for call in calls if (job := self._begin(call)) is not None]
        if jobs:
            self._scheduler.run(jobs)

    def _begin(self, call: Call) -> Job | None:
        try:
            return self._route(call)
        except FoglineError as e:
            call.fail(e)
        except Exception as e:  # a fault of ours ends this call alone; its peer sees no traceback
            _LOG.exception("call failed", extra={"method": call.method})
            call.fail(FoglineError(f"internal error ({type(e).__name__})"))
        return None

    def _route(self, call: Call) -> Job | None:
        if call.method not in self.methods:
            raise Unsupported(f"the method {call.method[:200]} is not served")
        message: Any = _decode(METHODS[call.method], call.message)
        if call.method == f"{_HEALTH}/Watch":
            self._health.watch(call, message)
        elif call.method == f"{_INFERENCE}/ModelInfer":
            if not self._health.is_serving:
                raise Unavailable("the server is stopping")
            return self._inference.begin(call, message)
        else:
            call.finish(self._answers[call.method](message).SerializeToString())
        return None


def _decode(method: Method, data: bytes) -> Message:
    try:
        return method.request.FromString(data)
    except DecodeError:
        raise InvalidInput(
            f"{method.path}: the message is no {method.request.DESCRIPTOR.full_name}"
        ) from None
