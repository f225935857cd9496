"""When something happened, as far as a device without a battery-backed clock can know it.

A stamp says which boot, how long after it, what the wall clock read, and how far that can be
believed. The floor is the latest moment that has certainly passed: the build, what the hub said
under its authentication code, and what of that was stored before.
"""

from pathlib import Path

from fogline.clock import Clock
from fogline.wire import fleet_pb2

RELEASED_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z: no clock that reads less has been set."""
AGREEMENT_US = 300_000_000
"""How far wall clock and hub may differ and still confirm each other: five minutes."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """The kernel's random identifier of this boot; empty where there is none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class DeviceTime:
    """Stamps and the floor. Safe for use by several threads: each method reads or sets one value.

    Args:
        clock: Wall and monotonic time.
        boot: Identifier of this boot.
        floor_us: The floor that was stored before, Unix microseconds.
    """

    def __init__(self, clock: Clock, *, boot: str, floor_us: int = 0) -> None:
        self._clock = clock
        self._boot = boot
        self._confirmed_offset_us: int | None = None
        self.floor_us = max(floor_us, RELEASED_US)

    @property
    def is_confirmed(self) -> bool:
        """Whether the wall clock agreed with authenticated hub time, and has not jumped since.

        Without the second half a clock that jumps ahead would make every acknowledgement look
        expired, among them the one that could put it right.
        """
        offset_us = self._confirmed_offset_us
        return offset_us is not None and abs(self._offset_us() - offset_us) <= AGREEMENT_US

    def _offset_us(self) -> int:
        """Wall clock minus monotonic clock: constant but for adjustments of the wall clock."""
        return self.wall_us() - round(self._clock.monotonic() * 1e6)

    def wall_us(self) -> int:
        return round(self._clock.now().timestamp() * 1e6)

    def stamp(self) -> fleet_pb2.Stamp:
        wall_us = self.wall_us()
        quality = fleet_pb2.CLOCK_FLOOR
        if wall_us < self.floor_us - AGREEMENT_US:
            quality = fleet_pb2.CLOCK_UNSET
        elif self.is_confirmed:
            quality = fleet_pb2.CLOCK_CONFIRMED
        return fleet_pb2.Stamp(
            boot_id=self._boot,
            monotonic_us=round(self._clock.monotonic() * 1e6),
            wall_us=wall_us,
            quality=quality,
        )

    def confirm(self, hub_us: int) -> None:
        """Takes the hub's time from a message whose authentication code was right."""
        if hub_us <= 0:
            return
        self.floor_us = max(self.floor_us, hub_us)
        agrees = abs(self.wall_us() - hub_us) <= AGREEMENT_US
        self._confirmed_offset_us = self._offset_us() if agrees else None

    def age_s(self, stamp: fleet_pb2.Stamp) -> float:
        """Seconds since `stamp`; 0 where no clock that was running then and now can tell.

        A wall clock that jumps from 1970 to today must not make every row fifty years old.
        """
        now = self.stamp()
        if stamp.boot_id and stamp.boot_id == now.boot_id:
            return max(0.0, (now.monotonic_us - stamp.monotonic_us) / 1e6)
        if fleet_pb2.CLOCK_UNSET in (stamp.quality, now.quality):
            return 0.0
        return max(0.0, (now.wall_us - stamp.wall_us) / 1e6)
