"""Is a message one that protobuf may parse?

Two bytes of a message can become a hundred of objects, and a thousand nanoseconds: 16 MB of empty
tensors took 700 MB. So a long message is looked through first, without making anything of it.
"""

from fogline.errors import InvalidInput
from fogline.tensors import MAX_RANK
from fogline_edge.serving.codec.fields import BYTES, MAX_FIELDS, MAX_VARINT, scan
from fogline_edge.serving.codec.limits import CodecLimits

_INPUTS, _OUTPUTS = 5, 6
_SHAPE, _CONTENTS = 3, 5


def check_weight(message: bytes, limits: CodecLimits) -> None:
    """Looks through a message that is long enough to matter.

    Raises:
        InvalidInput: it is none, or has too many fields, dimensions or typed contents.
    """
    if len(message) <= MAX_FIELDS:  # which cannot be many fields, nor much else
        return
    fields = typed = 0
    for span in scan(message):
        fields += 1
        if span.kind == BYTES and span.number in (_INPUTS, _OUTPUTS):
            for inner in scan(message, span.value, span.end):
                fields += 1
                size = inner.end - inner.value
                if span.number == _OUTPUTS or inner.kind != BYTES:
                    continue
                if inner.number == _SHAPE and size > MAX_RANK * MAX_VARINT:
                    raise InvalidInput(f"a tensor has more than {MAX_RANK} dimensions")
                if inner.number == _CONTENTS:
                    typed += size
            if fields > MAX_FIELDS:
                raise InvalidInput(f"the message has more than {MAX_FIELDS} fields")
    if typed > 8 * limits.max_typed:
        raise InvalidInput(
            f"{typed} bytes of typed contents, at most {8 * limits.max_typed} are taken: send raw "
            "contents"
        )
