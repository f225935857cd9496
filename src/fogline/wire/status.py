"""gRPC status codes, and the one table between them and Fogline's errors.

No gRPC library is needed to read it: every front and the client map by number.
Source: the published list of gRPC status codes (`doc/statuscodes.md` of grpc/grpc).
"""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from fogline import errors


class Status(IntEnum):
    """Every code of the specification."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


STATUS_OF: Mapping[type[errors.FoglineError], Status] = MappingProxyType(
    {
        errors.NotFound: Status.NOT_FOUND,
        errors.Unsupported: Status.UNIMPLEMENTED,
        errors.Forbidden: Status.PERMISSION_DENIED,
        errors.InvalidInput: Status.INVALID_ARGUMENT,
        errors.DeadlineExceeded: Status.DEADLINE_EXCEEDED,
        errors.Unavailable: Status.UNAVAILABLE,
        errors.Untrusted: Status.DATA_LOSS,
        errors.Corrupt: Status.DATA_LOSS,
        errors.Conflict: Status.FAILED_PRECONDITION,
        errors.Exhausted: Status.RESOURCE_EXHAUSTED,
        errors.FoglineError: Status.INTERNAL,
    }
)
"""What a peer sees of each error; the first row that an error is an instance of decides."""

ERROR_OF: Mapping[Status, type[errors.FoglineError]] = MappingProxyType(
    {status: kind for kind, status in STATUS_OF.items()}
    | {
        Status.CANCELLED: errors.Unavailable,
        Status.ABORTED: errors.Conflict,
        Status.ALREADY_EXISTS: errors.Conflict,
        Status.OUT_OF_RANGE: errors.InvalidInput,
        Status.UNAUTHENTICATED: errors.Forbidden,
        Status.DATA_LOSS: errors.Corrupt,
    }
)
"""What a client raises for each status of a peer; any other one is a `FoglineError`."""


def status_of(error: errors.FoglineError) -> Status:
    return next(status for kind, status in STATUS_OF.items() if isinstance(error, kind))


def error_of(code: int, text: str) -> errors.FoglineError:
    """The error that a status stands for."""
    try:
        return ERROR_OF.get(Status(code), errors.FoglineError)(text)
    except ValueError:
        return errors.FoglineError(text)
