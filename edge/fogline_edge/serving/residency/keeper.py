"""Opens and closes runners within the bounds; everything here happens on one thread."""

import logging
import threading
from collections.abc import Callable
from functools import partial

from fogline.allocator import trim
from fogline.clock import Clock
from fogline_edge.serving.memory import Machine
from fogline_edge.serving.models import Models
from fogline_edge.serving.residency.config import ResidencyConfig
from fogline_edge.serving.residency.holdings import Holding, Holdings
from fogline_edge.serving.residency.pressure import Ceiling
from fogline_edge.serving.residency.room import (
    Bounds,
    Need,
    NoRoomNow,
    Resident,
    check_machine,
    make_room,
    order_of_leaving,
)
from fogline_edge.serving.residency.source import Source
from fogline_edge.serving.residency.worker import Worker
from fogline_edge.serving.served import Entry
from fogline_edge.serving.versions import VersionState

_LOG = logging.getLogger(__name__)


class Keeper:
    """What is open, and who leaves for whom.

    Attributes:
        ceiling: What models may hold while the machine is short of memory; set from any thread.
        loads: How many were opened.
        evictions: How many left to make room, or because memory was short.
    """

    def __init__(
        self,
        models: Models,
        holdings: Holdings,
        worker: Worker,
        config: ResidencyConfig,
        *,
        clock: Clock,
        machine: Machine,
    ) -> None:
        """`worker`: the thread that all of this happens on."""
        self._models = models
        self._holdings = holdings
        self._worker = worker
        self._config = config
        self._clock = clock
        self._machine = machine
        self.ceiling: Ceiling | None = None
        self.loads = 0
        self.evictions = 0

    def open(self, source: Source) -> Holding:
        """Makes room and loads.

        Raises:
            Exhausted: it never fits; `NoRoomNow`: not at this moment.
            FoglineError: as the source.
        """
        label = f"model {source.name}@{source.version}"
        self._make_room(source.need or Need(), label)
        holding = self._holdings.open(source, is_pinned=self._is_pinned(source))
        self.loads += 1
        _LOG.info("loaded", extra={"model": label, "held_bytes": holding.held_bytes})
        return holding

    def put(self, holding: Holding) -> None:
        holding.entry, former = self._models.put(holding.served)
        self.leave(former)

    def _make_room(self, need: Need, label: str) -> None:
        while leaving := self._leaving_for(need, label):
            if not self._evict(leaving[0], f"made room for {label}"):
                raise NoRoomNow(
                    f"{label} cannot be loaded now: {leaving[0].label} is to make room and has "
                    f"{leaving[0].in_flight} requests that did not end within "
                    f"{self._config.make_room_s:.0f} s; try later"
                )
        self._shed(need.peak_bytes, f"made room for {label}")
        check_machine(need, label, self._machine.read(), self._config.pressure.critical_room)

    def _leaving_for(self, need: Need, label: str) -> tuple[Resident, ...]:
        """Looked at anew after each that left: the process's own memory counts too."""
        residents = self._holdings.residents()
        budget = self._config.model_memory_bytes
        running = self._config.runs_at_once * max((r.run_bytes for r in residents), default=0)
        reserve = max(int(budget * self._config.reserve), running)
        return make_room(
            need,
            label,
            residents,
            self._holdings.used_bytes() if budget else 0,
            Bounds(budget_bytes=budget, reserve_bytes=reserve, max_loaded=self._config.max_loaded),
        )

    def _shed(self, room_bytes: int, why: str) -> None:
        """Idle versions leave until there is this room below what models may hold now."""
        limit = self._limit()
        for resident in order_of_leaving(self._holdings.residents()):
            if limit is None or resident.in_flight:
                return
            if self._holdings.used_bytes() + room_bytes <= limit:
                return
            self._evict(resident, why)

    def _limit(self) -> int | None:
        """What models may hold while memory is short, at most the budget; None: no bound."""
        ceiling = self.ceiling
        limits = [self._config.model_memory_bytes] if self._config.model_memory_bytes else []
        if ceiling is not None and self._clock.monotonic() < ceiling.until_s:
            limits.append(ceiling.bytes)
        return min(limits, default=None)

    def _evict(self, resident: Resident, why: str) -> bool:
        """Closes one version's door, waits for its requests, closes it; whether it could."""
        holding = self._holdings.find(resident.label)
        if holding is None or holding.entry is None:
            return True
        entry, served = holding.entry, holding.served
        self._models.shut(served.name, served.version, VersionState.LEAVING)
        is_idle = threading.Event()
        entry.when_idle(is_idle.set)
        if not is_idle.wait(self._config.make_room_s):
            self._models.reopen(entry)
            return False
        self._holdings.close(holding)
        if self._models.state_of(served.name, served.version) is VersionState.LEAVING:
            self._models.note(served.name, served.version, VersionState.ABSENT)
        self.evictions += 1
        _LOG.info("left memory", extra={"model": served.label, "why": why})
        return True

    def leave(self, entry: Entry | None, done: Callable[[], None] | None = None) -> None:
        """Has a version whose door is closed leave when its last request has ended."""
        if entry is None:
            if done is not None:
                done()
            return
        holding = self._holdings.of(entry)
        if holding is not None:
            holding.entry = None
        entry.when_idle(partial(self._worker.post, partial(self._left, entry, holding, done)))

    def _left(self, entry: Entry, holding: Holding | None, done: Callable[[], None] | None) -> None:
        try:
            if holding is not None:
                self._holdings.close(holding)
            else:  # it came past this room, as a pipeline does
                entry.served.runner.close()
        finally:
            if done is not None:
                done()

    def abandon(self, holding: Holding) -> None:
        """Closes what was opened and is not put in after all."""
        self._holdings.close(holding)

    def relieve(self) -> None:
        """Idle versions leave until what is left is within the budget and the ceiling."""
        trim()
        self._shed(0, "memory was short")

    def _is_pinned(self, source: Source) -> bool:
        pinned = self._config.pinned
        return source.name in pinned or f"{source.name}@{source.version}" in pinned
