"""What the models in memory hold, as accounted and as the kernel sees it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from fogline.allocator import trim
from fogline_edge.serving.memory import ProcessMemory
from fogline_edge.serving.residency.room import Need, Resident
from fogline_edge.serving.residency.source import Source
from fogline_edge.serving.served import Entry, ServedModel


class Stay(Enum):
    """Where a version is between its load and its end; each move is `Keeper`'s."""

    COMING = "opened; it answers when all that come with it are there"
    ANSWERING = "its door is open"
    MAKING_ROOM = "its door is closed, and opens again if its requests do not end in time"
    LEAVING = "its door is closed for good"


@dataclass(slots=True, kw_only=True, eq=False)
class Holding:
    """One runner that is open; the only reference to it that outlives its entry."""

    served: ServedModel
    held_bytes: int
    is_pinned: bool
    run_bytes: int = 0
    is_pipeline: bool = False
    stay: Stay = Stay.COMING
    entry: Entry | None = field(default=None)
    """None while it is coming."""
    when_gone: list[Callable[[], None]] = field(default_factory=list)

    @property
    def in_flight(self) -> int:
        """Behind a closed door it only falls."""
        return 0 if self.entry is None else self.entry.in_flight


WINDOWS = 64
"""Loads and closes between which is remembered what runs took."""


class Holdings:
    """Used by the loading thread alone, but for `base_bytes` and `total_bytes`.

    A model's memory is what was measured when it was proved, or what was seen when it was loaded if
    that is more. Beside that sum the process's own anonymous memory above `base_bytes` counts: no
    account knows of fragments, or of what runs hold at this moment.
    """

    def __init__(self, process: ProcessMemory, *, has_budget: bool) -> None:
        """With a budget the kernel's high-water mark of this process begins anew at each change."""
        self._process = process
        self._all: list[Holding] = []
        self.base_bytes = process.anonymous_bytes()
        """Of the process without models."""
        self.total_bytes = 0
        """Accounted, of all models."""
        self._runs: deque[int] = deque((0,), maxlen=WINDOWS)
        """The most that was held beside the accounts, in each window between two changes."""
        self._has_budget = has_budget
        self._is_watched = False
        self._watch()

    def calibrate(self) -> None:
        """Takes what the process holds now beside its models as its base, if that is more."""
        trim()
        beside = self._process.anonymous_bytes() - self.total_bytes
        self.base_bytes = max(self.base_bytes, beside)

    def used_bytes(self) -> int:
        """What models hold, by the larger count; what is held without a model is none's."""
        if not self.models():
            return 0
        return max(self.total_bytes, self._process.anonymous_bytes() - self.base_bytes)

    def runs_bytes(self) -> int:
        """The most that runs were seen to take at once, of late: by requests as they really are."""
        return max(*self._runs, self._run_now())

    def _watch(self) -> None:
        self._is_watched = self._has_budget and self._process.forget_peak()

    def _run_now(self) -> int:
        if not self._is_watched:
            return 0
        return max(0, self._process.peak_bytes() - self.base_bytes - self.total_bytes)

    def roughly_used_bytes(self) -> int:
        return max(self.total_bytes, self._process.roughly() - self.base_bytes)

    def open(self, source: Source, *, is_pinned: bool) -> Holding:
        """Runs a load and takes note of what it holds. Raises as the load."""
        need = source.need or Need()
        self._runs.append(self._run_now())
        before = self._process.anonymous_bytes()
        try:
            served = source.open()
        finally:
            trim()  # what loading left in the allocator can be as large as the model
            self._watch()
        seen = self._process.anonymous_bytes() - before
        # Others run meanwhile, so no more is believed than the load was measured to take.
        most = need.peak_bytes or seen
        held = 0 if need.is_pipeline else max(need.held_bytes, min(seen, most))
        holding = Holding(
            served=served,
            held_bytes=held,
            is_pinned=is_pinned,
            run_bytes=need.run_bytes,
            is_pipeline=need.is_pipeline,
        )
        self._all.append(holding)
        self.total_bytes += holding.held_bytes
        return holding

    def close(self, holding: Holding) -> None:
        """Closes a runner that no request uses, and gives its memory back to the machine."""
        self._runs.append(self._run_now())
        self._all.remove(holding)
        self.total_bytes -= holding.held_bytes
        holding.served.runner.close()
        trim()
        self._watch()

    def models(self) -> list[Holding]:
        """All that holds memory of its own."""
        return [h for h in self._all if not h.is_pipeline]

    def departing(self) -> list[Holding]:
        """All whose door is closed."""
        return [h for h in self._all if h.stay in (Stay.MAKING_ROOM, Stay.LEAVING)]

    def making_room(self, name: str, version: int) -> Holding | None:
        """What of this version has its door closed, and may open it again."""
        for holding in self._all:
            served = holding.served
            if holding.stay is Stay.MAKING_ROOM and (served.name, served.version) == (
                name,
                version,
            ):
                return holding
        return None

    def of(self, entry: Entry) -> Holding | None:
        return next((h for h in self._all if h.entry is entry), None)


def resident(holding: Holding, uses: int) -> Resident:
    """A holding as far as room is concerned; one that is coming was used at `uses`, just now."""
    return Resident(
        label=holding.served.label,
        held_bytes=holding.held_bytes,
        used=uses if holding.entry is None else holding.entry.used,
        in_flight=holding.in_flight,
        is_pinned=holding.is_pinned,
        is_leaving=holding.stay in (Stay.MAKING_ROOM, Stay.LEAVING),
        run_bytes=holding.run_bytes,
    )
