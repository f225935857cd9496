"""`inference.GRPCInferenceService`: what an application asks of a model."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from fogline import __version__
from fogline.clock import Clock
from fogline.errors import Exhausted, FoglineError, InvalidInput, NotFound
from fogline.tensors import Array, encode_outputs
from fogline.wire.open_inference_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerMetadataResponse,
)
from fogline_edge.serving.calls import Call
from fogline_edge.serving.config import ServingConfig
from fogline_edge.serving.models import Entry, Models, ServedModel
from fogline_edge.serving.observer import Observation, Observer
from fogline_edge.serving.requests import Request, read_request
from fogline_edge.serving.scheduler import Job, Outcome

PLATFORM = "onnxruntime_onnx"
"""Triton's name of what runs these models, which its clients know."""
EXTENSIONS = ("fogline.event_time_us", "fogline.prediction_id", "fogline.feedback")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """A request between its arrival and its answer."""

    call: Call
    lease: Entry
    request: Request
    arrived: float


class Inference:
    """Turns ModelInfer calls into jobs and outcomes into answers; answers the other calls."""

    def __init__(
        self, models: Models, observer: Observer, clock: Clock, config: ServingConfig
    ) -> None:
        self._models = models
        self._observer = observer
        self._clock = clock
        self._config = config

    def begin(self, call: Call, message: ModelInferRequest) -> Job:
        """Checks one request and makes a job of it. Raises as `read_request`, or `NotFound`."""
        arrived = self._clock.monotonic()
        arrived_us = int(self._clock.now().timestamp() * 1e6)
        lease = self._models.acquire(message.model_name, message.model_version)
        served = lease.served
        try:
            request = read_request(message, served.schema, arrived_us, served.label)
        except FoglineError as e:
            lease.release(failures=1)
            self._observe_refused(served, arrived, arrived_us, e)
            raise
        except BaseException:
            lease.release(failures=1)
            raise
        opened = _Open(call=call, lease=lease, request=request, arrived=arrived)
        limits = (call.deadline_s, request.timeout_s, self._config.run_timeout_s)
        job = Job(
            served=served,
            inputs=request.inputs,
            outputs=request.outputs,
            deadline=arrived + min(s for s in limits if s is not None),
            done=lambda outcome: self._complete(opened, outcome),
        )
        call.when_ended(job.cancel)
        return job

    def model_ready(self, message: ModelReadyRequest) -> ModelReadyResponse:
        try:
            self._models.get(message.name, message.version)
        except NotFound:
            return ModelReadyResponse(ready=False)
        return ModelReadyResponse(ready=True)

    def server_metadata(self) -> ServerMetadataResponse:
        return ServerMetadataResponse(name="fogline", version=__version__, extensions=EXTENSIONS)

    def model_metadata(self, message: ModelMetadataRequest) -> ModelMetadataResponse:
        """Raises `NotFound`."""
        served = self._models.get(message.name, message.version)
        response = ModelMetadataResponse(
            name=served.name,
            versions=map(str, self._models.versions(served.name)),
            platform=PLATFORM,
        )
        for fields, tensors in (
            (served.schema.inputs, response.inputs),
            (served.schema.outputs, response.outputs),
        ):
            for field in fields:
                tensors.add(name=field.name, datatype=field.datatype, shape=field.shape)
        return response

    def _complete(self, opened: _Open, outcome: Outcome) -> None:
        """Answers the call, gives the version back, and tells the observer; never raises."""
        prediction_id, error = "", None
        outputs: Mapping[str, Array] = {} if isinstance(outcome, FoglineError) else outcome
        try:
            if isinstance(outcome, FoglineError):
                raise _explained(outcome, opened.request)
            prediction_id = self._prediction_id(opened, outputs)
            opened.call.finish(self._encoded(opened, outputs, prediction_id))
        except FoglineError as e:
            error = e
        except Exception as e:  # a fault of ours must still end the call and give the lease back
            _LOG.exception("inference failed", extra={"model": opened.lease.served.label})
            error = FoglineError(f"internal error ({type(e).__name__})")
        if error is not None:
            opened.call.fail(error)
        opened.lease.release(failures=int(error is not None))
        self._observe(
            Observation(
                served=opened.lease.served,
                inputs=opened.request.inputs,
                outputs={} if error else outputs,
                rows=(opened.request.rows,),
                event_us=(opened.request.event_us,),
                prediction_ids=() if error else (prediction_id,),
                latency_us=(self._since_us(opened.arrived),),
                error=error,
            )
        )

    def _encoded(self, opened: _Open, outputs: Mapping[str, Array], prediction_id: str) -> bytes:
        served = opened.lease.served
        response = ModelInferResponse(
            model_name=served.name, model_version=str(served.version), id=opened.request.id
        )
        if prediction_id:
            response.parameters["prediction_id"].string_param = prediction_id
        limit = self._config.max_message_bytes
        # Counted before the arrays are copied, and again with names and lengths added.
        size = sum(a.nbytes for a in outputs.values())
        if size <= limit:
            encode_outputs(response, outputs)
            size = response.ByteSize()
        if size > limit:
            raise Exhausted(
                f"{served.label}: the answer has {size} bytes, at most {limit} are sent; ask for "
                "fewer rows or outputs"
            )
        return response.SerializeToString()

    def _prediction_id(self, opened: _Open, outputs: Mapping[str, Array]) -> str:
        try:
            request = opened.request
            (made,) = self._observer.prediction_ids(
                opened.lease.served, (request.rows,), (request.event_us,), outputs
            )
            return made
        except Exception:  # an observer's fault is not the request's
            _LOG.exception("no prediction id", extra={"model": opened.lease.served.label})
            return ""

    def _observe_refused(
        self, served: ServedModel, arrived: float, arrived_us: int, error: FoglineError
    ) -> None:
        self._observe(
            Observation(
                served=served,
                inputs={},
                outputs={},
                rows=(0,),
                event_us=(arrived_us,),
                prediction_ids=(),
                latency_us=(self._since_us(arrived),),
                error=error,
            )
        )

    def _observe(self, observation: Observation) -> None:
        try:
            self._observer.observe((observation,))
        except Exception:  # as above
            _LOG.exception("not observed", extra={"model": observation.served.label})

    def _since_us(self, began: float) -> int:
        return int((self._clock.monotonic() - began) * 1e6)


def _explained(error: FoglineError, request: Request) -> FoglineError:
    if type(error) is InvalidInput and request.rows == 0:
        return InvalidInput(f"{error}; the request has no rows, which this graph cannot answer")
    return error
