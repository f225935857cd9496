"""Which model a ModelInfer message asks for, before anything else of it is read."""

from fogline.errors import InvalidInput
from fogline_edge.serving.codec.fields import BYTES, scan

_NAME, _VERSION = 1, 2
"""Numbers of the fields `model_name` and `model_version`."""
_NAME_TAG, _VERSION_TAG = 0x0A, 0x12
_LONG = 128
"""A length from here on takes more than one byte."""


def target_of(message: bytes) -> tuple[str, str]:
    """The name and version that a message begins with, as every serialiser writes it.

    A message that begins with anything else is looked through to its end. `ModelCodec.read` refuses
    one that names another model further on.

    Raises:
        InvalidInput: it is no ModelInferRequest.
    """
    try:
        if message[0] == _NAME_TAG and message[1] < _LONG:
            end = 2 + message[1]
            if end < len(message):
                name = message[2:end].decode()
                if message[end] != _VERSION_TAG:
                    return name, ""
                start = end + 2
                end = start + message[end + 1]
                if message[start - 1] < _LONG and end <= len(message):
                    return name, message[start:end].decode()
        return _look_through(message)
    except (IndexError, UnicodeDecodeError):
        raise InvalidInput("the message is no inference.ModelInferRequest") from None


def _look_through(message: bytes) -> tuple[str, str]:
    found = {_NAME: b"", _VERSION: b""}
    for span in scan(message):
        if span.number in found and span.kind == BYTES:
            found[span.number] = message[span.value : span.end]  # the last one counts
    return found[_NAME].decode(), found[_VERSION].decode()
