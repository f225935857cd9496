"""What a ModelInfer message asks for, checked and decoded; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fogline.errors import InvalidInput, NotFound, Unsupported
from fogline.schema import Schema, check_inputs
from fogline.tensors import Array, decode_inputs
from fogline.wire.open_inference_pb2 import InferParameter, ModelInferRequest

MAX_EVENT_US = 253_402_300_800_000_000
"""Year 10000: no event time is later, Unix microseconds."""

_REFUSED = {
    "sequence_id": "sequences",
    "sequence_start": "sequences",
    "sequence_end": "sequences",
    "priority": "priorities",
    "shared_memory_region": "shared memory",
    "shared_memory_byte_size": "shared memory",
    "shared_memory_offset": "shared memory",
    "classification": "classification of outputs",
}
"""Parameters of the protocol's extensions that would change the answer, and are not served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One ModelInfer request of one model version."""

    id: str
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    """Names of the outputs wanted, in the order wanted."""
    rows: int
    event_us: int
    """Event time, Unix microseconds."""
    timeout_s: float | None
    """How long the answer may take, seconds; None if the request does not say."""


def read_request(
    message: ModelInferRequest, schema: Schema, arrived_us: int, label: str
) -> Request:
    """Checks and decodes `message` for a model with `schema`.

    Args:
        message: The request.
        schema: What the model takes and gives.
        arrived_us: Event time of a request that names none, Unix microseconds.
        label: How errors name the model.

    Raises:
        InvalidInput: the message, a tensor or a parameter cannot be right.
        NotFound: an output is wanted that the model does not have.
        Unsupported: a parameter or datatype that is not served.
    """
    _refuse("the request", message.parameters)
    for tensor in message.inputs:
        _refuse(f"input {tensor.name[:80]!r}", tensor.parameters)
    for wanted in message.outputs:
        _refuse(f"output {wanted.name[:80]!r}", wanted.parameters)
    inputs = decode_inputs(message)
    return Request(
        id=message.id,
        inputs=inputs,
        outputs=_outputs((w.name for w in message.outputs), schema, label),
        rows=check_inputs(schema, inputs, label),
        event_us=_event_us(message.parameters, arrived_us),
        timeout_s=_timeout_s(message.parameters),
    )


def _refuse(where: str, parameters: Mapping[str, InferParameter]) -> None:
    for name in parameters:
        if name in _REFUSED:
            raise Unsupported(f"{where} has the parameter {name!r}: {_REFUSED[name]} not served")


def _outputs(wanted: Iterable[str], schema: Schema, label: str) -> tuple[str, ...]:
    there = [f.name for f in schema.outputs]
    names = tuple(wanted)
    for name in names:
        if name not in there:
            raise NotFound(
                f"{label} has no output {name[:80]!r}; it has {', '.join(map(repr, there[:32]))}"
            )
    if len(set(names)) != len(names):
        raise InvalidInput(f"{label}: an output is wanted twice")
    return names or tuple(there)


def _event_us(parameters: Mapping[str, InferParameter], arrived_us: int) -> int:
    value = _integer(parameters, "event_time_us")
    if value is None:
        return arrived_us
    if not 0 <= value < MAX_EVENT_US:
        raise InvalidInput("the parameter 'event_time_us' must be Unix microseconds, 1970 to 9999")
    return value


def _timeout_s(parameters: Mapping[str, InferParameter]) -> float | None:
    """The protocol's `timeout` is in microseconds; 0 means none."""
    value = _integer(parameters, "timeout")
    if value is not None and value < 0:
        raise InvalidInput("the parameter 'timeout' must be microseconds from 0")
    return value / 1e6 if value else None


def _integer(parameters: Mapping[str, InferParameter], name: str) -> int | None:
    if name not in parameters:
        return None
    parameter: Any = parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in ("int64_param", "uint64_param"):
        raise InvalidInput(f"the parameter {name!r} must be an int64_param, got {kind}")
    return int(getattr(parameter, kind))
