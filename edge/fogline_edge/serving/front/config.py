"""Every bound of a front, with its unit."""

from typing import Annotated, Literal

from msgspec import Meta

from fogline.records import Record

LARGE = frozenset(
    f"/inference.GRPCInferenceService/{method}" for method in ("ModelInfer", "ModelStreamInfer")
)
"""Methods whose requests carry tensors; those of all others are names and settings."""

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Bytes = Annotated[int, Meta(ge=1024, le=2**40)]
Window = Annotated[int, Meta(ge=65_535, le=2**31 - 1)]


class FrontConfig(Record, frozen=True, kw_only=True):
    """What a front holds at most, and how long it waits for a peer.

    A call beyond a bound gets RESOURCE_EXHAUSTED. A connection that breaks a bound is told why
    (GOAWAY) and closed; the others do not notice.
    """

    kind: Literal["http2", "grpcio"] = "http2"
    """`grpcio` keeps the bounds on calls, messages, metadata and pings; the rest are http2's."""
    max_message_bytes: Annotated[int, Meta(ge=1024, le=2**31 - 1)] = 64 * 1024 * 1024
    """Longest request message of inference."""
    max_small_message_bytes: Annotated[int, Meta(ge=16 * 1024, le=2**31 - 1)] = 256 * 1024
    """... of any other method: metadata, control, health, reflection, feedback. Two bytes of a
    message can become a hundred of objects, so what need not be long must not be."""
    max_inflated_bytes: Annotated[int, Meta(ge=1024, le=2**31 - 1)] = 16 * 1024 * 1024
    """Longest request message that came compressed, when it is not any more: it is decompressed on
    the loop, where others wait meanwhile. Of http2 alone."""
    max_connections: Count = 512
    max_calls: Count = 1024
    """Calls that are open at once on all connections."""
    max_threads: Count = 128
    """Calls that are open at once with `grpcio`, which takes a thread for each."""
    max_streams: Count = 256
    """Calls that are open at once on one connection; a client keeps to it and waits."""
    max_held_bytes: Bytes = 256 * 1024 * 1024
    """Of requests and unsent responses longer than a frame, over all connections."""
    max_connection_bytes: Bytes = 128 * 1024 * 1024
    """... of one connection."""
    max_unsent_bytes: Bytes = 4 * 1024 * 1024
    """Responses of one streaming call that its peer has not taken; `is_writable` says so from a
    sixteenth of it."""
    stream_window_bytes: Window = 1024 * 1024
    """What a peer may send on a stream before the call takes it."""
    connection_window_bytes: Window = 4 * 1024 * 1024
    max_header_bytes: Annotated[int, Meta(ge=1024, le=1024 * 1024)] = 16 * 1024
    """Headers of one call; four times as many close the connection."""
    max_control_frames: Count = 10_000
    """Frames of one connection that carry no call's data (WINDOW_UPDATE, SETTINGS, PING,
    RST_STREAM, empty DATA), beyond what its calls and a tenth of this number a second pay for."""
    max_idle_bytes: Bytes = 1024 * 1024
    """Bytes of one connection in a row that carry no call's headers or data at all."""
    max_ping_strikes: Annotated[int, Meta(ge=0, le=1000)] = 2
    """PINGs that come too early before the connection is closed; sending data forgets them."""
    min_ping_interval_s: Seconds = 300.0
    """PINGs closer together come too early, as in gRPC's own servers (its proposal A8)."""
    handshake_timeout_s: Seconds = 10.0
    """TLS, and HTTP/2's first SETTINGS."""
    request_timeout_s: Seconds = 20.0
    """How long a message may be under way; bigger ones get a second more for each 64 KiB."""
    stalled_timeout_s: Seconds = 30.0
    """How long a response may wait for its peer's window, or a connection for its socket,
    without a byte of progress."""
    idle_timeout_s: Seconds = 600.0
    """How long a connection may be without a call before it is asked to leave."""
    keepalive_s: Seconds = 120.0
    """A connection with calls that is silent for so long is sent a PING."""
    keepalive_timeout_s: Seconds = 20.0
    """How long its answer may take."""
    backlog: Annotated[int, Meta(ge=1, le=65_535)] = 512
    """Connections that the system keeps until they are accepted."""
    take_over: bool = False
    """Listen also where another server of the same user listens, which set this too: a new server
    starts, then the old one drains, and no call fails."""

    def limit_of(self, method: str) -> int:
        """Longest request message of a method, bytes."""
        if method in LARGE:
            return self.max_message_bytes
        return min(self.max_small_message_bytes, self.max_message_bytes)
