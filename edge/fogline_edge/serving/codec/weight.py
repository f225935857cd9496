"""Is a message one that protobuf may parse?

Two bytes of a message can become a hundred of objects, and a thousand nanoseconds: 16 MB of empty
tensors took 700 MB. So a long message is looked through first, without making anything of it.
"""

from fogline.errors import InvalidInput
from fogline_edge.serving.codec.fields import BYTES, MAX_FIELDS, Span, scan
from fogline_edge.serving.codec.limits import CodecLimits

MAX_PARTS = 8_192
"""Fields and dimensions of a message together, without texts; each is looked at for a microsecond
or two, on the thread that answers everybody."""

_INPUTS, _OUTPUTS = 5, 6
_SHAPE, _CONTENTS = 3, 5
_TEXT_TAG = b"\x42"
"""Of `bytes_contents`."""


def check_weight(message: bytes, limits: CodecLimits) -> None:
    """Looks through a message that is long enough to matter.

    Raises:
        InvalidInput: it is none, or has too many fields, dimensions, or typed contents.
    """
    if len(message) <= 2 * MAX_PARTS:  # a field has two bytes or more
        return
    fields = typed = 0
    for span in scan(message):
        fields += 1
        if span.kind == BYTES and span.number in (_INPUTS, _OUTPUTS):
            for inner in scan(message, span.value, span.end):
                fields += 1
                _check_parts(fields)
                if span.number == _INPUTS and inner.kind == BYTES:
                    if inner.number == _SHAPE:
                        fields += inner.end - inner.value  # each may be a dimension
                    elif inner.number == _CONTENTS:
                        typed += inner.end - inner.value
                        _check_texts(message, inner)
        _check_parts(fields)
    if typed > 4 * limits.max_typed:
        raise InvalidInput(
            f"{typed} bytes of typed contents, at most {4 * limits.max_typed} are taken: send raw "
            "contents"
        )


def _check_parts(fields: int) -> None:
    if fields > MAX_PARTS:
        raise InvalidInput(f"more than {MAX_PARTS} fields and dimensions")


def _check_texts(message: bytes, contents: Span) -> None:
    """Texts stand in typed contents one by one; a number takes one byte or more without a tag."""
    if message.count(_TEXT_TAG, contents.value, contents.end) > MAX_FIELDS:
        for _ in scan(message, contents.value, contents.end):  # raises where they are tags indeed
            pass
