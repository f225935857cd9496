"""Every bound of a codec, with its unit."""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record

_Count = Annotated[int, Meta(ge=1)]


class CodecLimits(Record, frozen=True, kw_only=True):
    """What one message of a version may hold; what goes beyond is the caller's error."""

    max_layouts: Annotated[int, Meta(ge=0)] = 256
    """Layouts of messages that are kept; 0: protobuf parses every message."""
    max_layout_bytes: _Count = 256 * 1024
    """Of all of them together; a common one has a hundred. One has at most a sixteenth."""
    max_texts: _Count = 65_536
    """Elements of one BYTES tensor of a request; each takes a third of a microsecond."""
    max_typed: _Count = 4 * 2**20
    """Elements of one tensor with typed contents, each 0.06 us; and of all of a request's a quarter
    of their bytes, of which one can take eight while it is read. Raw contents are bounded by the
    message alone."""
    max_classes: _Count = 16_384
    """Texts of one output that is asked for as classes; each takes a microsecond."""
