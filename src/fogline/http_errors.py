"""Errors over HTTP, as both sides speak them: one table of status codes, one body.

The body is `{"error": KIND, "message": TEXT}`; the kind is the error class's name in lower case
with underscores, so that the same class is raised where the answer is read.
"""

import re

from msgspec import DecodeError
from msgspec.json import decode

from fogline import errors
from fogline.records import Record

STATUS: dict[type[errors.FoglineError], int] = {
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Unsupported: 422,
    errors.InvalidInput: 400,
    errors.DeadlineExceeded: 504,
    errors.Unavailable: 503,
    errors.Untrusted: 422,
    errors.Corrupt: 500,
    errors.Conflict: 409,
    errors.Exhausted: 413,
    errors.FoglineError: 500,
}
"""Status of each error; the first row that an error is an instance of decides."""

MAX_ERROR_BYTES = 64 * 1024
"""Longest error body that is read, in bytes."""


class ErrorBody(Record, frozen=True, kw_only=True):
    error: str
    message: str


def status_of(error: errors.FoglineError) -> int:
    return next(status for kind, status in STATUS.items() if isinstance(error, kind))


def body_of(error: errors.FoglineError) -> ErrorBody:
    kind = next(kind for kind in STATUS if isinstance(error, kind))
    return ErrorBody(error=_kind(kind), message=str(error))


def error_from(status: int, body: bytes, what: str) -> errors.FoglineError:
    """The error that an answer of `status` 400 or above stands for.

    Args:
        status: The answer's status.
        body: Its body, of any content: not every error comes from a hub.
        what: What was asked of whom, for the text where the body has none.
    """
    try:
        told = decode(body[:MAX_ERROR_BYTES], type=ErrorBody)
    except (DecodeError, UnicodeDecodeError):
        return _by_status(status)(f"{what}: HTTP status {status}")
    kind = next((k for k in STATUS if _kind(k) == told.error), _by_status(status))
    return kind(told.message)


def _by_status(status: int) -> type[errors.FoglineError]:
    if status == 401:
        return errors.Forbidden
    kind = next((k for k, s in STATUS.items() if s == status), None)
    if kind is not None and status != 500:
        return kind
    return errors.Unavailable if status >= 500 else errors.InvalidInput


def _kind(kind: type[Exception]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
