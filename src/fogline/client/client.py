"""The SDK for applications: predictions, and later their true outcomes.

    with Client("127.0.0.1:8001") as client:
        prediction = client.predict("iris", {"x": [[5.1, 3.5, 1.4, 0.2]]})
        prediction.outputs["label"]
        client.feedback(prediction.id, [0])

Talks the Open Inference Protocol, so it also works with other servers of it; `feedback` and
`status` are Fogline's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import numpy as np

from fogline.addresses import parse_address
from fogline.client.channel import Channel
from fogline.client.inputs import arrays_of
from fogline.errors import Corrupt, InvalidInput
from fogline.schema import Field, Schema
from fogline.tensors import Array, decode_outputs, encode_inputs
from fogline.wire.edge_pb2 import FeedbackRequest, StatusRequest, StatusResponse
from fogline.wire.open_inference_pb2 import (
    ModelInferRequest,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ServerReadyRequest,
)

_INFERENCE = "/inference.GRPCInferenceService"
_EDGE = "/fogline.v1.Edge"

Value = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A model's answer."""

    model: str
    version: str
    id: str
    """What feedback names; empty where the server takes none."""
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a server says of one model."""

    name: str
    versions: tuple[str, ...]
    platform: str
    schema: Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackReceipt:
    """How many outcomes were taken, and how many had been given before."""

    accepted: int
    duplicates: int


class Client:
    """A connection to one server. Safe to use from any thread."""

    def __init__(self, address: str, *, timeout_s: float = 30.0) -> None:
        """Connects when first used.

        Args:
            address: `HOST:PORT`.
            timeout_s: How long one call may take, seconds.

        Raises:
            InvalidInput: not an address.
        """
        self._channel = Channel(parse_address(address))
        self._timeout_s = timeout_s

    def is_ready(self, model: str = "", version: str = "") -> bool:
        """Whether the server takes requests, or has the model. Raises `Unavailable`."""
        if model:
            request: Any = ModelReadyRequest(name=model, version=version)
            return bool(self._call(f"{_INFERENCE}/ModelReady", request).ready)
        return bool(self._call(f"{_INFERENCE}/ServerReady", ServerReadyRequest()).ready)

    def model_info(self, model: str, version: str = "") -> ModelInfo:
        """Inputs, outputs and versions of a model. Raises `NotFound`, `Unavailable`."""
        message = self._call(
            f"{_INFERENCE}/ModelMetadata", ModelMetadataRequest(name=model, version=version)
        )
        return ModelInfo(
            name=message.name,
            versions=tuple(message.versions),
            platform=message.platform,
            schema=_schema(message),
        )

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str = "",
        outputs: Sequence[str] = (),
        event_time: datetime | None = None,
        timeout_s: float | None = None,
    ) -> Prediction:
        """Asks a model.

        Args:
            model: Its name.
            inputs: Every input by name. numpy arrays are sent as they are; anything else (lists,
                columns of a table) is first fitted to the model's datatypes, which costs one more
                call.
            version: Its number; empty for the active one.
            outputs: Names of the outputs wanted; all if empty.
            event_time: When what is predicted happened (aware); the server's time if None.
            timeout_s: Instead of the client's own.

        Raises:
            InvalidInput: an input does not fit.
            NotFound: no such model, version or output.
            Exhausted: the server has too much to do.
            Unavailable: no answer; `DeadlineExceeded`: not in time.
        """
        arrays: Mapping[str, Array] = inputs
        if not all(isinstance(value, np.ndarray) for value in inputs.values()):
            arrays = arrays_of(inputs, self.model_info(model, version).schema)
        request = ModelInferRequest(model_name=model, model_version=version)
        encode_inputs(request, arrays)
        for name in outputs:
            request.outputs.add(name=name)
        if event_time is not None:
            request.parameters["event_time_us"].int64_param = _microseconds(event_time)
        message = self._call(f"{_INFERENCE}/ModelInfer", request, timeout_s)
        return Prediction(
            model=message.model_name,
            version=message.model_version,
            id=message.parameters["prediction_id"].string_param,
            outputs=decode_outputs(message),
        )

    def feedback(
        self,
        prediction_id: str,
        actuals: Sequence[Value] | Mapping[int, Value],
        *,
        observed_at: datetime | None = None,
    ) -> FeedbackReceipt:
        """Tells the true outcomes of a prediction: one for each row, or of the rows named.

        Raises:
            InvalidInput: an outcome is no bool, number or text, or the id is not one.
            Conflict: the server takes no feedback.
        """
        request = FeedbackRequest(prediction_id=prediction_id)
        rows = actuals if isinstance(actuals, Mapping) else dict(enumerate(actuals))
        for row, value in rows.items():
            request.actuals.add(row=row, **_actual(value))
        if observed_at is not None:
            request.observed_at_us = _microseconds(observed_at)
        message = self._call(f"{_EDGE}/Feedback", request)
        return FeedbackReceipt(accepted=message.accepted, duplicates=message.duplicates)

    def status(self) -> StatusResponse:
        """What runs on the device."""
        response: StatusResponse = self._call(f"{_EDGE}/Status", StatusRequest())
        return response

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, path: str, message: Any, timeout_s: float | None = None) -> Any:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        return self._channel.call(path, message, limit_s)


def _schema(message: ModelMetadataResponse) -> Schema:
    try:
        return Schema(
            inputs=tuple(
                Field(name=t.name, datatype=t.datatype, shape=tuple(t.shape))
                for t in message.inputs
            ),
            outputs=tuple(
                Field(name=t.name, datatype=t.datatype, shape=tuple(t.shape))
                for t in message.outputs
            ),
        )
    except ValueError as e:
        raise Corrupt(f"model {message.name[:80]!r}: the server's metadata is wrong: {e}") from e


def _actual(value: Value) -> dict[str, Any]:
    plain = value.item() if isinstance(value, np.generic) else value
    match plain:
        case bool():
            return {"bool_value": plain}
        case int() if -(2**63) <= plain < 2**63:
            return {"int64_value": plain}
        case float():
            return {"double_value": plain}
        case str():
            return {"string_value": plain}
        case _:
            raise InvalidInput(f"an outcome is a bool, number or text, got {type(value).__name__}")


def _microseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise InvalidInput("a time must say its zone; use datetime.now(UTC)")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds
