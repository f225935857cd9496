"""Parameters of a ModelInfer request: those that are served, refused, and passed over.

Served are the schedule policy (`priority`, `timeout`), `event_time_us`, `classification`, system
shared memory, and `triton_enable_empty_final_response`. Refused are those that would change the
answer and are not served. All others are passed over, as Triton passes custom parameters to
backends that do not look at them; the `binary_data` family has no meaning over gRPC.

Source: Triton's protocol extensions "schedule policy", "sequence", "classification", "shared
memory", "parameters" and "binary data".
"""

from collections.abc import Mapping
from typing import Any

from fogline.errors import InvalidInput, Unsupported
from fogline.wire.open_inference_pb2 import InferParameter
from fogline_edge.serving.codec.wanted import Slot, Wanted

MAX_EVENT_US = 253_402_300_800_000_000
"""Year 10000: no event time is later, Unix microseconds."""

EVENT_TIME, TIMEOUT, PRIORITY = "event_time_us", "timeout", "priority"

_SEQUENCES = ("sequence_id", "sequence_start", "sequence_end")
_REGION, _SIZE, _OFFSET = (
    "shared_memory_region",
    "shared_memory_byte_size",
    "shared_memory_offset",
)

Parameters = Mapping[str, InferParameter]


def refuse_sequences(parameters: Parameters) -> None:
    """Raises `Unsupported` where the request belongs to a sequence of requests."""
    for name in _SEQUENCES:
        if name in parameters:
            raise Unsupported(
                f"the request has the parameter {name!r}: models here keep no state from one "
                "request to the next; send state as an input"
            )


def event_us_of(parameters: Parameters, arrived_us: int) -> int:
    """The event time; that of the arrival where the request names none, Unix microseconds."""
    value = _integer("the request", parameters, EVENT_TIME)
    return arrived_us if value is None else check_event_us(value)


def check_event_us(value: int) -> int:
    if not 0 <= value < MAX_EVENT_US:
        raise InvalidInput(f"the parameter {EVENT_TIME!r} must be Unix microseconds, 1970 to 9999")
    return value


def timeout_s_of(parameters: Parameters) -> float | None:
    """How long the answer may take, seconds; the parameter is in microseconds, and 0 means none."""
    value = _integer("the request", parameters, TIMEOUT)
    return check_timeout(value) if value else None


def check_timeout(value: int) -> float | None:
    if value < 0:
        raise InvalidInput(f"the parameter {TIMEOUT!r} must be microseconds from 0")
    return value / 1e6 if value else None


def priority_of(parameters: Parameters) -> int:
    """0 for the default, else 1 for the highest."""
    value = _integer("the request", parameters, PRIORITY)
    return check_priority(value) if value else 0


def check_priority(value: int) -> int:
    if value < 0:
        raise InvalidInput(f"the parameter {PRIORITY!r} must be 0 for the default, or from 1")
    return value


def wants_final_mark(parameters: Parameters) -> bool:
    """Whether the answer is to say that it is the last one of its request."""
    name = "triton_enable_empty_final_response"
    return name in parameters and parameters[name].bool_param


def slot_of(what: str, parameters: Parameters) -> Slot | None:
    """Where in shared memory a tensor lies; None if it does not.

    Raises:
        InvalidInput: a parameter is missing, of another type, or negative.
    """
    if not any(name in parameters for name in (_REGION, _SIZE, _OFFSET)):
        return None
    if _REGION not in parameters or _SIZE not in parameters:
        raise InvalidInput(f"{what}: the parameters {_REGION!r} and {_SIZE!r} go together")
    region: Any = parameters[_REGION]
    if region.WhichOneof("parameter_choice") != "string_param":
        raise InvalidInput(f"{what}: the parameter {_REGION!r} must be a string_param")
    size = _integer(what, parameters, _SIZE)
    offset = _integer(what, parameters, _OFFSET) or 0
    if size is None or size < 0 or offset < 0:
        raise InvalidInput(f"{what}: the parameters {_SIZE!r} and {_OFFSET!r} must be from 0")
    return Slot(region=region.string_param, offset=offset, byte_size=size)


def wanted_of(what: str, parameters: Parameters) -> Wanted | None:
    """What an output is to become; None for its plain contents.

    Raises:
        InvalidInput: as `slot_of`, a number of classes below 0, or both at once.
    """
    slot = slot_of(what, parameters)
    classes = _integer(what, parameters, "classification") or 0
    if classes < 0:
        raise InvalidInput(f"{what}: the parameter 'classification' must be from 0")
    if classes and slot:
        raise InvalidInput(f"{what}: classifications are not put into shared memory")
    return Wanted(classes=classes, slot=slot) if classes or slot else None


def _integer(what: str, parameters: Parameters, name: str) -> int | None:
    if name not in parameters:
        return None
    parameter: Any = parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in ("int64_param", "uint64_param"):
        raise InvalidInput(f"{what}: the parameter {name!r} must be an int64_param, got {kind}")
    return int(getattr(parameter, kind))
