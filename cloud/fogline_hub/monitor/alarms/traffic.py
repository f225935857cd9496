"""What was received of one version, summed until it is closed; and how far event time has come.

A window's end is not known to anyone: devices are late, fast and slow. The watermark is the event
time that every device has reached which still sends, so that one station's hurry does not close
another's windows (as event-time engines have it: Akidau et al., The Dataflow Model, VLDB 2015).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fogline.summaries import ConfusionCounts, Partial, Reference, Scope
from fogline_hub.monitor.accuracy import AccuracyBlock


@dataclass(slots=True)
class Reach:
    """How far each device has come: its newest event time, and when it was last heard of."""

    devices: dict[str, tuple[int, datetime]] = field(default_factory=dict)

    def note(self, device: str, event_us: int, received_at: datetime) -> None:
        known = self.devices.get(device, (event_us, received_at))
        self.devices[device] = (max(known[0], event_us), max(known[1], received_at))

    def watermark_us(self, idle_s: float) -> int | None:
        """The event time that all devices have reached, but for those that fell silent.

        Args:
            idle_s: A device that was silent for longer, while another was not, is left out.
        """
        if not self.devices:
            return None
        newest = max(at for _, at in self.devices.values())
        limit = newest - timedelta(seconds=idle_s)
        return min(event for event, at in self.devices.values() if at >= limit)


@dataclass(slots=True, kw_only=True)
class VersionTraffic:
    """Sums of one version. Blocks and windows are numbered floor(event time / length)."""

    block_us: int
    window_us: int
    blocks_until_us: int = 0
    windows_until_us: int = 0
    late_rows: int = 0
    late_labelled: int = 0
    refused: int = 0
    blocks: dict[int, list[int]] = field(default_factory=dict)
    """Number of a block -> [errors, labelled rows]."""
    windows: dict[int, dict[int, Partial]] = field(default_factory=dict)
    """Number of a window -> start of a sub-window -> its partial."""

    def add(self, partial: Partial, *, is_new: bool) -> None:
        """Adds one partial, by where its own window starts.

        Args:
            partial: Of this version.
            is_new: False for one that was counted before this process started; what is closed
                holds it already.
        """
        start = partial.scope.window_start_us
        self._add_to_block(start, partial.confusion, is_new=is_new)
        if start >= self.windows_until_us:
            window = self.windows.setdefault(start // self.window_us, {})
            window[start] = window[start].merge(partial) if start in window else partial
        elif is_new:
            self.late_rows += partial.rows

    def add_outcomes(
        self, scope: Scope, confusion: ConfusionCounts, reference: Reference, *, is_new: bool
    ) -> None:
        """As `add`, for a partial of outcomes alone, of which there are as many as of others."""
        start = scope.window_start_us
        self._add_to_block(start, confusion, is_new=is_new)
        if start >= self.windows_until_us:
            window = self.windows.setdefault(start // self.window_us, {})
            partial = window.setdefault(start, Partial(reference, scope))
            partial.confusion = partial.confusion.merge(confusion)

    def _add_to_block(self, start_us: int, confusion: ConfusionCounts, *, is_new: bool) -> None:
        if start_us >= self.blocks_until_us:
            if rows := confusion.rows:
                block = self.blocks.setdefault(start_us // self.block_us, [0, 0])
                block[0] += rows - confusion.correct
                block[1] += rows
        elif is_new:
            self.late_labelled += confusion.rows

    def closed_blocks(self, until_us: int) -> tuple[AccuracyBlock, ...]:
        """Blocks that ended by `until_us`, in order."""
        last = until_us // self.block_us
        return tuple(
            AccuracyBlock(index=index, errors=errors, rows=rows)
            for index, (errors, rows) in sorted(self.blocks.items())
            if index < last
        )

    def closed_windows(self, until_us: int) -> Mapping[int, tuple[Partial, ...]]:
        """Partials by start of each window that ended by `until_us`, in order."""
        last = until_us // self.window_us
        return {
            index * self.window_us: tuple(parts.values())
            for index, parts in sorted(self.windows.items())
            if index < last
        }

    def forget(self, until_us: int) -> None:
        """Drops what `closed_blocks` and `closed_windows` gave, and takes no more of it."""
        block, window = until_us // self.block_us, until_us // self.window_us
        self.blocks = {i: b for i, b in self.blocks.items() if i >= block}
        self.windows = {i: w for i, w in self.windows.items() if i >= window}
        self.blocks_until_us = max(self.blocks_until_us, block * self.block_us)
        self.windows_until_us = max(self.windows_until_us, window * self.window_us)
