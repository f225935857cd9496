"""What the models in memory hold, as accounted and as the kernel sees it."""

from dataclasses import dataclass, field

from fogline.allocator import trim
from fogline_edge.serving.memory import ProcessMemory
from fogline_edge.serving.residency.room import Need, Resident
from fogline_edge.serving.residency.source import Source
from fogline_edge.serving.served import Entry, ServedModel


@dataclass(slots=True, kw_only=True, eq=False)
class Holding:
    """One runner that is open; the only reference to it that outlives its entry."""

    served: ServedModel
    held_bytes: int
    is_pinned: bool
    run_bytes: int = 0
    entry: Entry | None = field(default=None)
    """Set while it answers: a holding without one is on its way in or out."""


class Holdings:
    """Used by the loading thread alone, but for `base_bytes` and `total_bytes`.

    A model's memory is what was measured when it was proved, or what was seen when it was loaded if
    that is more. Beside that sum the process's own anonymous memory above `base_bytes` counts: no
    account knows of fragments, or of what runs hold at this moment.
    """

    def __init__(self, process: ProcessMemory) -> None:
        self._process = process
        self._all: list[Holding] = []
        self.base_bytes = process.anonymous_bytes()
        """Of the process without models."""
        self.total_bytes = 0
        """Accounted, of all models."""

    def calibrate(self) -> None:
        """Takes what the process holds now beside its models as its base, if that is more."""
        trim()
        beside = self._process.anonymous_bytes() - self.total_bytes
        self.base_bytes = max(self.base_bytes, beside)

    def used_bytes(self) -> int:
        """What models hold, by the larger count."""
        return max(self.total_bytes, self._process.anonymous_bytes() - self.base_bytes)

    def roughly_used_bytes(self) -> int:
        return max(self.total_bytes, self._process.roughly() - self.base_bytes)

    def open(self, source: Source, *, is_pinned: bool) -> Holding:
        """Runs a load and takes note of what it holds. Raises as the load."""
        need = source.need or Need()
        before = self._process.anonymous_bytes()
        try:
            served = source.open()
        finally:
            trim()  # what loading left in the allocator can be as large as the model
        seen = self._process.anonymous_bytes() - before
        # Others run meanwhile, so no more is believed than the load was measured to take.
        most = need.peak_bytes or seen
        held = max(need.held_bytes, min(seen, most))
        holding = Holding(
            served=served, held_bytes=held, is_pinned=is_pinned, run_bytes=need.run_bytes
        )
        self._all.append(holding)
        self.total_bytes += held
        return holding

    def close(self, holding: Holding) -> None:
        """Closes a runner that no request uses, and gives its memory back to the machine."""
        self._all.remove(holding)
        self.total_bytes -= holding.held_bytes
        holding.served.runner.close()
        trim()

    def residents(self) -> list[Resident]:
        """All that answers now."""
        return [
            Resident(
                label=h.served.label,
                held_bytes=h.held_bytes,
                used=h.entry.used,
                in_flight=h.entry.in_flight,
                is_pinned=h.is_pinned,
                run_bytes=h.run_bytes,
            )
            for h in self._all
            if h.entry is not None
        ]

    def find(self, label: str) -> Holding | None:
        """The holding that answers under this label."""
        return next((h for h in self._all if h.entry and h.served.label == label), None)

    def of(self, entry: Entry) -> Holding | None:
        return next((h for h in self._all if h.entry is entry), None)
