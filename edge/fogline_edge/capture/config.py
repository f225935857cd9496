"""Bounds of capture; what of a model's traffic comes home is `fogline.desired.CapturePolicy`."""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record
from fogline_edge.outbox import MAX_BODY_BYTES

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class CaptureConfig(Record, frozen=True, kw_only=True):
    """Every bound of capture, its unit in its name."""

    max_buffer_requests: Positive = 32_768
    """Answered requests that wait to be summarised, as while a slow disk takes a flush; more are
    left out and counted."""
    max_buffer_bytes: Positive = 16 * 1024 * 1024
    """Their memory, with the messages that their arrays are views of."""
    drain_requests: Positive = 2048
    """So many requests are counted together when traffic is dense; more at once would be cheaper
    for each, and hold more memory. The capture thread waits as long as they probably take to come,
    and is woken by four times as many."""
    drain_bytes: Positive = 768 * 1024
    """The same for their memory: requests that hold more are counted fewer at once."""
    drain_interval_s: Seconds = 0.25
    """Longest wait of a request before it is counted in memory."""
    max_scopes: Positive = 64
    """Windows of event time per model version that are open at once; more are flushed early."""
    max_sample_bytes: Positive = 512 * 1024
    """Sampled rows in memory per model version; more are flushed early."""
    max_message_bytes: Annotated[int, Meta(ge=4096, le=MAX_BODY_BYTES)] = 60 * 1024
    """Longest message; samples and feedback are split to fit."""
    max_row_width: Positive = 1024
    """Values of one row of a tensor without named columns; wider ones are not sampled."""
    max_text_bytes: Positive = 1024
    """Longest string in a sampled row or an actual; a row with a longer one is not sampled."""
    max_models: Positive = 128
    """Model versions that are kept apart; the one unused for longest gives way."""
    max_feedback_rows: Positive = 4096
    """Outcomes in one call, outcomes that wait for a commit, and outcomes that wait for others to
    share a message with."""
    feedback_interval_s: Seconds = 1.0
    """Longest wait of an outcome that is on the disk before it is in the outbox."""
    feedback_memory_rows: Positive = 200_000
    """Outcomes remembered so that none counts twice, about 60 bytes on disk each; the oldest are
    forgotten first, and the hub still counts what comes again as one."""
