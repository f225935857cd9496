"""Whether a peer's frames are good for anything; what is not is a flood. Pure.

nghttp2 itself bounds what costs it much (CONTINUATION, RST_STREAM, unanswered PING and SETTINGS).
Here every frame that carries no call's data is counted against what was sent to the peer, for
which it gives windows back, and against time; and PINGs as in gRPC's own servers (its proposal A8).
"""

from fogline_edge.serving.front.config import FrontConfig

FLOOD = b"too_many_frames"
PINGS = b"too_many_pings"
"""The word that makes gRPC's clients ask less often."""
_BYTES_A_FRAME = 256
_PAID_A_WRITE = 8
_PAID_AN_ANSWER = 4
"""Clients give windows back and reset streams for each, however many leave in one write."""


class Conduct:
    """Of one peer."""

    __slots__ = ("_config", "_frames", "_pinged", "_strikes", "idle_bytes")

    def __init__(self, config: FrontConfig) -> None:
        self._config = config
        self._frames = 0
        self.idle_bytes = 0
        """Since the last headers or data of a call; whoever sees some sets it to 0."""
        self._strikes = 0
        self._pinged = -1e9

    def came(self, size: int) -> bool:
        """Counts bytes; returns whether they are too many without any use."""
        self.idle_bytes += size
        return self.idle_bytes > self._config.max_idle_bytes

    def charge(self) -> bytes | None:
        """Counts a frame that carries no call's data; returns the fault, if it is one."""
        self._frames += 1
        return FLOOD if self._frames > self._config.max_control_frames else None

    def ping(self, now: float) -> bytes | None:
        """Counts a PING; returns the fault, if it is one."""
        early = now - self._pinged < self._config.min_ping_interval_s
        self._pinged = now
        if early:
            self._strikes += 1
        return PINGS if self._strikes > self._config.max_ping_strikes else None

    def sent(self, size: int, *, answers: int) -> None:
        """What is sent pays for frames; a call's headers or data make PINGs welcome again."""
        if self._frames:
            paid = _PAID_A_WRITE + answers * _PAID_AN_ANSWER + size // _BYTES_A_FRAME
            self._frames = max(0, self._frames - paid)
        if answers:
            self._strikes = 0
            self._pinged = -1e9

    def passed(self, seconds: float) -> None:
        """Time pays too."""
        if self._frames:
            paid = int(self._config.max_control_frames * seconds / 10)
            self._frames = max(0, self._frames - paid)
