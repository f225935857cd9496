"""What the signer accepts at most. Units are in the names."""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record

MAX_FRAME_BYTES = 12 * 1024 * 1024
"""Longest request or answer on the socket: a batch of seals, or a whole targets file."""
MAX_SEALS = 256
"""Most messages in one seal request."""

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class SignerBounds(Record, frozen=True, kw_only=True):
    max_connections: Count = 32
    """Further ones are closed at once."""
    frame_timeout_s: Seconds = 10.0
    """Longest time from a request's first byte to its last, and for an answer to be taken."""
    max_ttl_s: Count = 7 * 24 * 3600
    """Longest life of a sealed message."""
    max_ahead_s: Count = 24 * 3600
    """How far a generation or metadata version may be ahead of the clock: both are at least Unix
    seconds, and a number from far ahead would lock every device out of later ones."""
    max_online_days: Count = 31
    """Longest life of snapshot and timestamp that is signed."""
    auto_days: Count = 180
    """Life of `auto` metadata; the hub renews it."""
    auto_per_day: Count = 24
    """Most retrained versions of one model that are signed in 24 hours."""
    approval_age_s: Count = 24 * 3600
    """Oldest approval that is acted on."""
    enrolments_per_minute: Count = 1200
    """Most devices whose two keys are given out in a minute."""
