"""Opens and closes runners within the bounds; everything here happens on one thread.

That thread waits for nobody. A load that finds no room has idle versions closed at once; where
those do not suffice it closes the doors of busy ones, and is looked at again when one of them has
ended its requests, or when it is time to try another. Meanwhile other loads go on.
"""

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial

from fogline.allocator import trim
from fogline.clock import Clock
from fogline.errors import Unavailable
from fogline_edge.serving.memory import Machine
from fogline_edge.serving.models import Models
from fogline_edge.serving.residency.arrival import Arrival
from fogline_edge.serving.residency.config import ResidencyConfig
from fogline_edge.serving.residency.holdings import Holding, Holdings, Stay, resident
from fogline_edge.serving.residency.pressure import Ceiling
from fogline_edge.serving.residency.room import (
    Bounds,
    Need,
    Resident,
    Room,
    check_machine,
    make_room,
    no_room_now,
    order_of_leaving,
)
from fogline_edge.serving.residency.source import Source
from fogline_edge.serving.residency.worker import Task, Worker
from fogline_edge.serving.served import Entry
from fogline_edge.serving.versions import VersionState

_LOG = logging.getLogger(__name__)
TURNS = 8
"""How often a load asks busy versions to leave, others each time, until `make_room_s` is over."""


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
        self._arrivals: list[Arrival] = []
        self.ceiling: Ceiling | None = None
        self.loads = 0
        self.evictions = 0

    # ------------------------------------------------------------- coming

    def bring(self, arrival: Arrival) -> None:
        """Opens what is to come as soon as there is room for it, and says so once.

        `done` is told `Exhausted` of what never fits, `NoRoomNow` of what found no room within
        `make_room_s`, or what a source raised.
        """
        self._arrivals.append(arrival)
        self.settle()
        if arrival in self._arrivals:
            self._worker.post_later(self._config.make_room_s / TURNS, partial(self._turn, arrival))

    def put(self, holding: Holding) -> None:
        """Lets what was opened answer, in place of the same version if that is there."""
        served = holding.served
        holding.entry, former = self._models.put(served)
        self.leave(served.name, served.version, former)
        holding.stay = Stay.ANSWERING

    def settle(self) -> None:
        """Closes what has ended, and goes on with what waited for that."""
        for holding in self._holdings.departing():
            if not holding.in_flight:
                self._close(holding)
        busy: set[str] = set()
        for arrival in list(self._arrivals):
            if arrival.name not in busy and not self._advance(arrival):
                busy.add(arrival.name)
        wanted = {holding for arrival in self._arrivals for holding in arrival.wanted}
        for holding in self._holdings.departing():
            if holding.stay is Stay.MAKING_ROOM and holding not in wanted:
                self._let_in_again(holding)

    def close(self) -> None:
        """Tells all that waits that nothing comes any more."""
        for arrival in list(self._arrivals):
            self._end(arrival, Unavailable("the server is stopping"))

    def _advance(self, arrival: Arrival) -> bool:
        """Opens what there is room for; whether the arrival is over."""
        arrival.wanted = ()
        try:
            if arrival.sources is None:
                arrival.sources = deque(arrival.begin())
            while arrival.sources and not arrival.is_there():
                source = arrival.sources[0]
                if not self._has_room(source, arrival):
                    return False
                arrival.opened.append(self._open(source))
                arrival.sources.popleft()
                arrival.turns = 0
                arrival.passed.clear()
        except Exception as e:  # a task boundary: who waits must be told
            self._end(arrival, e)
        else:
            self._end(arrival, None)
        return True

    def _end(self, arrival: Arrival, error: Exception | None) -> None:
        self._arrivals.remove(arrival)
        opened, arrival.opened = arrival.opened, []
        arrival.wanted = ()  # timers may hold the arrival for some time, and this would hold models
        arrival.passed.clear()
        if error is not None and opened:
            self._abandon(opened)
            self._worker.post(self.settle)  # there is room again
        try:
            arrival.done(() if error is not None else opened, error)
        except Exception:  # a task boundary: other arrivals have nothing to do with it
            _LOG.exception("not put in", extra={"model": arrival.name})
            self._abandon(opened)

    def _abandon(self, opened: Iterable[Holding]) -> None:
        for holding in opened:
            if holding.stay is Stay.COMING:
                self._close(holding)

    def _open(self, source: Source) -> Holding:
        holding = self._holdings.open(source, is_pinned=self._is_pinned(source))
        self.loads += 1
        label = holding.served.label
        _LOG.info("loaded", extra={"model": label, "held_bytes": holding.held_bytes})
        return holding

    def _turn(self, arrival: Arrival) -> None:
        """An arrival has waited for some time: it is time to ask others to leave."""
        if arrival not in self._arrivals:
            return
        if arrival.sources is not None:
            arrival.turns += 1
            arrival.passed.update(arrival.wanted)
        self.settle()
        if arrival in self._arrivals:
            self._worker.post_later(self._config.make_room_s / TURNS, partial(self._turn, arrival))

    # --------------------------------------------------------------- room

    def _has_room(self, source: Source, arrival: Arrival) -> bool:
        """Makes room as far as that needs no waiting; whether there is enough.

        Raises:
            Exhausted: it never fits; `NoRoomNow`: it waited for long enough.
        """
        need, label = source.need or Need(), f"model {source.name}@{source.version}"
        if need.is_pipeline:
            return True
        while True:
            residents = self._residents()
            bounds = self._bounds(need, residents)
            room = self._room(need, label, residents, bounds, arrival)
            first = residents[room.leaving[0]] if room.leaving else None
            if first is not None and not first.in_flight:
                self._evict(first)
            elif room.is_there and (first is None or arrival.turns >= TURNS):
                break
            elif arrival.turns >= TURNS:
                used, waited_s = self._holdings.used_bytes(), self._config.make_room_s
                raise no_room_now(need, label, list(residents), used, bounds, waited_s)
            else:
                arrival.wanted = tuple(residents[r] for r in room.leaving)
                for holding in arrival.wanted:
                    self._ask_to_leave(holding)
                return False
        self._shed(need.peak_bytes)
        check_machine(need, label, self._machine.read(), self._config.pressure.critical_room)
        return True

    def _residents(self) -> dict[Resident, Holding]:
        uses = self._models.totals.uses
        return {resident(holding, uses): holding for holding in self._holdings.models()}

    def _bounds(self, need: Need, residents: Iterable[Resident]) -> Bounds:
        budget, reserve = self._config.model_memory_bytes, 0
        if budget:
            hungriest = max((need.run_bytes, *(r.run_bytes for r in residents)))
            running = self._config.runs_at_once * hungriest
            # Of what runs were seen to take, some may be held at this moment.
            held = self._holdings
            seen = held.total_bytes + held.runs_bytes() - held.used_bytes()
            reserve = max(int(budget * self._config.reserve), running, seen)
        return Bounds(
            budget_bytes=budget, reserve_bytes=reserve, max_loaded=self._config.max_loaded
        )

    def _room(
        self,
        need: Need,
        label: str,
        residents: Mapping[Resident, Holding],
        bounds: Bounds,
        arrival: Arrival,
    ) -> Room:
        """Looked at anew after each that left: the process's own memory counts too.

        Who was waited for in vain is asked again only where there is nobody else.
        """
        used = self._holdings.used_bytes() if bounds.budget_bytes else 0
        passed = {r for r, h in residents.items() if h in arrival.passed and h.in_flight}
        room = make_room(need, label, list(residents), used, bounds, passed)
        if passed and not room.leaving and not room.is_there:
            arrival.passed.clear()
            room = make_room(need, label, list(residents), used, bounds)
        return room

    def _shed(self, room_bytes: int) -> None:
        """Idle versions leave until there is this room below what models may hold now."""
        limit = self._limit()
        residents = self._residents()
        for one in order_of_leaving(residents):
            if limit is None or one.in_flight:
                return
            if self._holdings.used_bytes() + room_bytes <= limit:
                return
            self._evict(residents[one])

    def _limit(self) -> int | None:
        """What models may hold while memory is short, at most the budget; None: no bound."""
        ceiling = self.ceiling
        limits = [self._config.model_memory_bytes] if self._config.model_memory_bytes else []
        if ceiling is not None and self._clock.monotonic() < ceiling.until_s:
            limits.append(ceiling.bytes)
        return min(limits, default=None)

    def relieve(self) -> None:
        """Idle versions leave until what is left is within the budget and the ceiling."""
        trim()
        self._shed(0)

    # ------------------------------------------------------------ leaving

    def leave(self, name: str, version: int, entry: Entry | None, done: Task | None = None) -> None:
        """Has a version whose door is closed leave when its last request has ended.

        Args:
            name: The model.
            version: Its number.
            entry: What the table had of it; None where it was not in memory, or makes room already.
            done: Told when it is gone.
        """
        found = self._holdings
        holding = found.making_room(name, version) if entry is None else found.of(entry)
        if holding is not None:
            holding.stay = Stay.LEAVING
            if done is not None:
                holding.when_gone.append(done)
            self._settle_when_idle(holding)
        elif entry is not None:  # it came past this room, as a pipeline does
            entry.when_idle(partial(self._worker.post, partial(_end_of, entry, done)))
        elif done is not None:
            done()

    def _ask_to_leave(self, holding: Holding) -> None:
        """Closes a door, so that the version is idle when its running requests have ended."""
        if holding.stay is Stay.ANSWERING:
            self._shut(holding)
            self._settle_when_idle(holding)

    def _evict(self, holding: Holding) -> None:
        """Closes an idle version, but for one that was asked for just now."""
        if holding.stay is Stay.ANSWERING:
            self._shut(holding)
            if holding.in_flight:
                self._let_in_again(holding)
                return
        for arrival in self._arrivals:
            if holding in arrival.opened:
                arrival.opened.remove(holding)
        if holding.stay is Stay.COMING:
            holding.stay = Stay.MAKING_ROOM
        self._close(holding)

    def _shut(self, holding: Holding) -> None:
        holding.stay = Stay.MAKING_ROOM
        self._models.shut(holding.served.name, holding.served.version, VersionState.LEAVING)

    def _let_in_again(self, holding: Holding) -> None:
        holding.stay = Stay.ANSWERING
        if holding.entry is not None:
            self._models.reopen(holding.entry)

    def _settle_when_idle(self, holding: Holding) -> None:
        if holding.entry is not None:
            holding.entry.when_idle(partial(self._worker.post, self.settle))

    def _close(self, holding: Holding) -> None:
        self._holdings.close(holding)
        served = holding.served
        if holding.stay is Stay.MAKING_ROOM:
            if self._models.state_of(served.name, served.version) is VersionState.LEAVING:
                self._models.note(served.name, served.version, VersionState.ABSENT)
            self.evictions += 1
            _LOG.info("left memory to make room", extra={"model": served.label})
        for told in holding.when_gone:
            told()

    def _is_pinned(self, source: Source) -> bool:
        pinned = self._config.pinned
        return source.name in pinned or f"{source.name}@{source.version}" in pinned


def _end_of(entry: Entry, done: Task | None) -> None:
    try:
        entry.served.runner.close()
    finally:
        if done is not None:
            done()
