"""Brings versions into memory when they are asked for, within a budget, and lets them go again.

    demand -> flight -> prove (once, in a child) -> make room -> open -> answers
                                                       |
                                    least recently used leave, drained

One thread proves and one loads, so that no two loads' peaks meet. Room for a load's peak is made
before it begins; a version with running requests is closed only when they have ended; callers that
want a version which is being loaded wait for that load.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from fogline.backoff import Backoff
from fogline.clock import Clock, SystemClock
from fogline.errors import Conflict, FoglineError, NotFound, Unavailable, internal_error
from fogline_edge.serving.memory import Machine, ProcessMemory
from fogline_edge.serving.models import Models
from fogline_edge.serving.residency.arrival import Arrival, Done
from fogline_edge.serving.residency.config import ResidencyConfig
from fogline_edge.serving.residency.flights import Flights, Key
from fogline_edge.serving.residency.holdings import Holding, Holdings
from fogline_edge.serving.residency.keeper import Keeper
from fogline_edge.serving.residency.pressure import Strain, Verdict, next_ceiling
from fogline_edge.serving.residency.room import NoRoomNow
from fogline_edge.serving.residency.source import Source, Then
from fogline_edge.serving.residency.worker import Worker
from fogline_edge.serving.versions import VersionState

_LOG = logging.getLogger(__name__)
KEPT_BYTES = 8 * 2**20
"""What a process without requests may keep beside its models before it gives freed memory back."""
_CLOSE_S = 10.0
"""How long a load that goes on may take to end when the server stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidencyCounts:
    """Since the process began."""

    loads: int
    failed_loads: int
    evictions: int
    """Versions that left to make room, or because memory was short."""
    loaded: int
    """In memory now."""
    held_bytes: int
    """Anonymous memory of what is in memory now, as accounted."""
    budget_bytes: int


class Residency:
    """The versions behind `Models`. Safe to use from any thread.

    Args:
        models: The table that requests look at.
        config: The bounds.
        clock: Time.
        process: Readings of this process.
        machine: Readings of the machine.
    """

    def __init__(
        self,
        models: Models,
        config: ResidencyConfig | None = None,
        *,
        clock: Clock | None = None,
        process: ProcessMemory | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.config = settings = config or ResidencyConfig()
        self._models = models
        self._clock = clock or SystemClock()
        self._holdings = Holdings(process or ProcessMemory())
        self._flights = Flights(
            clock=self._clock,
            backoff=Backoff(base_s=settings.retry_base_s, cap_s=settings.retry_cap_s),
            max_waiting=settings.max_waiting,
            max_waiting_each=settings.max_waiting_each,
        )
        self._lock = threading.Lock()
        self._sources: dict[Key, Source] = {}
        self._is_relieving = False
        self._requests = -1
        self._is_tidy = False
        """What was left behind was given back since the last request."""
        self._failed_loads = 0
        self._prover = Worker("model-prover")
        self._loader = Worker("model-loader")
        self._keeper = Keeper(
            models,
            self._holdings,
            self._loader,
            settings,
            clock=self._clock,
            machine=machine or Machine(),
        )
        models.attach(self.demand)

    # ------------------------------------------------------------ declarations

    def offer(self, sources: Sequence[Source]) -> None:
        """Makes versions known that are loaded when they are asked for.

        Raises:
            InvalidInput: a name is not legal.
            Conflict: one is known already; `replace` it.
            Exhausted: too many versions are known.
        """
        for source in sources:
            key = _key(source)
            if self._models.state_of(*key) is not None:
                raise Conflict(f"model {source.name}@{source.version} is known already")
            self._models.know(source.name, source.version, VersionState.ABSENT)
            with self._lock:
                self._sources[key] = source
            self._flights.forgive(key)

    def replace(
        self,
        name: str,
        sources: Sequence[Source],
        then: Then,
        *,
        active: int | None = None,
    ) -> None:
        """Has a model consist of these versions from now on, without a gap in between.

        New ones are loaded first; when all are in memory they answer, and the versions that are no
        more wanted end their requests and leave. If a load fails nothing changes. What is there
        already, by its stamp, stays as it is.

        Args:
            name: The model.
            sources: All its versions; none to take the model away.
            then: Told when the new versions answer, or why they do not; of a model that is taken
                away, when its last request has ended.
            active: Which version answers to the name; the highest that serves if None.
        """
        self._begin(then, self._prover, partial(self._prove_all, name, sources, then, active))

    def unload(self, name: str, then: Then) -> None:
        """Takes a model's versions out of memory when their requests have ended, until `load`.

        Raises:
            NotFound: there is no such model.
        """
        self._keys_of(name)
        self._change(name, then, partial(self._do, self._unload, name, then))

    def load(self, name: str, then: Then) -> None:
        """Brings all versions of a model into memory, also such as were unloaded or failed.

        Raises:
            NotFound: there is no such model.
        """
        self._keys_of(name)
        self._change(name, then, partial(self._do, self._load_all, name, then))

    def demand(self, name: str, version: int, then: Then) -> None:
        """Brings one version into memory; those that ask meanwhile wait for the same load.

        Args:
            name: The model.
            version: Its number.
            then: Told to acquire it now, which a version that was replaced meanwhile refuses; or
                why not: `Exhausted` with the numbers where it does not fit or too many wait, or
                what the load failed with. On this thread where that is known at once.
        """
        key = name, version
        if not self._flights.board(key, then):
            return
        with self._lock:
            source = self._sources.get(key)
        self._models.note(*key, VersionState.LOADING)
        # What is not there any more is told by the thread too: those that are told look again, and
        # would come back here before it is known that there is nothing.
        is_proved = source is None or source.need is not None
        worker = self._loader if is_proved else self._prover
        if not worker.post(partial(self._load if is_proved else self._prove, key)):
            self._flights.close()

    # ----------------------------------------------------------- the machine

    def calibrate(self) -> None:
        """To be called when all but the models is in memory: the budget counts from there.

        Done between two loads, soon.
        """
        self._loader.post(self._holdings.calibrate)

    def relieve(self, verdict: Verdict) -> None:
        """Takes a verdict on the machine's memory, about every second.

        Idle versions leave if it is short, and what runs left behind is given back when none came
        since the last verdict.
        """
        used = self._holdings.roughly_used_bytes()
        requests = self._models.totals.requests
        with self._lock:
            is_idle, self._requests = requests == self._requests, requests
            is_kept = is_idle and used - self._holdings.total_bytes > KEPT_BYTES
            is_kept, self._is_tidy = is_kept and not self._is_tidy, is_idle
            self._keeper.ceiling = next_ceiling(
                verdict,
                self._holdings.total_bytes,
                self._clock.monotonic(),
                self._keeper.ceiling,
                self.config.pressure,
            )
            budget = self.config.model_memory_bytes
            is_over = bool(budget) and used > budget
            is_needed = is_over or is_kept or verdict.strain is not Strain.NONE
            if not is_needed or self._is_relieving:
                return
            self._is_relieving = True
        self._loader.post(self._relieve)

    def counts(self) -> ResidencyCounts:
        return ResidencyCounts(
            loads=self._keeper.loads,
            failed_loads=self._failed_loads,
            evictions=self._keeper.evictions,
            loaded=len(self._models.list()),
            held_bytes=self._holdings.total_bytes,
            budget_bytes=self.config.model_memory_bytes,
        )

    def close(self) -> None:
        """Ends both threads, and tells all that wait; what is in memory stays there."""
        self._prover.close(_CLOSE_S)
        self._loader.close(_CLOSE_S)
        self._keeper.close()
        self._flights.close()

    # -------------------------------------------------- on the proving thread

    def _prove(self, key: Key) -> None:
        source = self._wanted(key)
        if source is None:
            return
        try:
            source.prove()
        except Exception as e:  # a task boundary: those that wait must be told
            self._loader.post(partial(self._not_proved, key, source, _told(e, key)))
            return
        self._loader.post(partial(self._load, key))

    def _prove_all(
        self, name: str, sources: Sequence[Source], then: Then, active: int | None
    ) -> None:
        kept = [self._known(source) for source in sources]
        try:
            for source in kept:
                if source.need is None:
                    source.prove()
        except Exception as e:  # as above
            then(_told(e, (name, source.version)))
            return
        done = partial(self._replaced, name, kept, then, active)
        self._change(name, then, done, partial(self._missing, kept))

    # -------------------------------------------------- on the loading thread

    def _not_proved(self, key: Key, source: Source, error: FoglineError) -> None:
        """Says so of what was looked at, if that is still what is wanted."""
        wanted = self._wanted(key)
        if wanted is source:
            self._failed(key, error)
        elif wanted is not None:
            self._load(key)

    def _load(self, key: Key) -> None:
        arrival = Arrival(
            name=key[0],
            begin=partial(self._proved, key),
            done=partial(self._loaded, key),
            is_there=partial(self._is_ready, key),
        )
        self._keeper.bring(arrival)

    def _proved(self, key: Key) -> Sequence[Source]:
        """What a load is to open; nothing where another took its place that needs a proof.

        Those that wait are told to look again then, and have that one proved.
        """
        source = self._wanted(key)
        return () if source is None or source.need is None else (source,)

    def _loaded(self, key: Key, opened: Sequence[Holding], error: Exception | None) -> None:
        for holding in opened:
            self._keeper.put(holding)
        if error is None:
            self._flights.land(key, None)
        elif isinstance(error, NoRoomNow | Unavailable):  # whoever asks next may be luckier
            self._models.note(*key, VersionState.ABSENT, str(error))
            self._flights.land(key, error)
        else:
            self._failed(key, _told(error, key))

    def _failed(self, key: Key, error: FoglineError) -> None:
        self._failed_loads += 1
        _LOG.warning("not loaded", extra={"model": f"{key[0]}@{key[1]}", "reason": str(error)})
        self._models.note(*key, VersionState.FAILED, str(error))
        self._flights.fail(key, error)

    def _replaced(
        self,
        name: str,
        sources: Sequence[Source],
        then: Then,
        active: int | None,
        opened: Sequence[Holding],
        error: Exception | None,
    ) -> None:
        if error is not None:
            self._failed_loads += 1
            then(_told(error, (name, sources[0].version if sources else 0)))
            return
        with self._lock:
            gone = {k for k in self._sources if k[0] == name} - {_key(s) for s in sources}
            changed = {_key(s): s for s in sources if self._sources.get(_key(s)) is not s}
            self._sources.update(changed)
        for holding in opened:
            self._keeper.put(holding)
        there = {h.served.version for h in opened}
        for source in sources:
            self._flights.forgive(_key(source))
            if source.version not in there:
                self._note_absent(source, is_changed=_key(source) in changed)
        if active is not None:
            self._models.activate(name, active)
        landing = _All(len(gone), then) if gone and not sources else None
        for key in gone:
            left = None if landing is None else partial(landing.one, None)
            self._keeper.leave(*key, self._models.forget(*key), left)
        with self._lock:  # last: whoever finds a version in the table finds where it comes from
            for key in gone:
                del self._sources[key]
        if landing is None:
            then(None)

    def _note_absent(self, source: Source, *, is_changed: bool) -> None:
        """A version that is wanted and was not opened: it is there, or made room for the others."""
        key = _key(source)
        if self._models.state_of(*key) is None:
            self._models.know(*key, VersionState.ABSENT)
        elif is_changed or not self._is_ready(key):
            self._keeper.leave(*key, self._models.shut(*key, VersionState.ABSENT))

    def _unload(self, name: str, then: Then) -> None:
        keys = self._keys_of(name)
        landing = _All(len(keys), then)
        for key in keys:
            entry = self._models.shut(*key, VersionState.UNLOADED)
            self._keeper.leave(*key, entry, partial(landing.one, None))

    def _load_all(self, name: str, then: Then) -> None:
        keys = self._keys_of(name)
        landing = _All(len(keys), then)
        for key in keys:
            self._flights.forgive(key)
            self._models.revive(*key)
            self.demand(*key, landing.one)

    def _do(
        self,
        task: Callable[[str, Then], None],
        name: str,
        then: Then,
        _: Sequence[Holding],
        error: Exception | None,
    ) -> None:
        """A change of a model that opens nothing by itself."""
        try:
            if error is not None:
                raise error
            task(name, then)
        except Exception as e:  # as above
            then(_told(e, (name, 0)))

    def _relieve(self) -> None:
        """Idle versions leave until what is left is within the budget and the ceiling."""
        with self._lock:
            self._is_relieving = False
        self._keeper.relieve()

    # ---------------------------------------------------------------- look-ups

    def _wanted(self, key: Key) -> Source | None:
        """Where a version comes from; None, and those that wait are told, if it is not wanted.

        Those that waited for a version which was replaced meanwhile are to look again: by the
        model's name they find the new one.
        """
        with self._lock:
            source = self._sources.get(key)
        if source is None:
            self._flights.land(key, None)
            return None
        if self._models.state_of(*key) is VersionState.UNLOADED:
            self._flights.land(
                key, NotFound(f"model {key[0]}@{key[1]} was unloaded; load it first")
            )
            return None
        return source

    def _known(self, source: Source) -> Source:
        """What is known of the same content, with what its proof found; else this one."""
        with self._lock:
            there = self._sources.get(_key(source))
        return source if there is None or there.stamp != source.stamp else there

    def _missing(self, sources: Sequence[Source]) -> list[Source]:
        """Those that are not in memory as they are."""
        with self._lock:
            there = [s for s in sources if self._sources.get(_key(s)) is s]
        return [s for s in sources if s not in there or not self._is_ready(_key(s))]

    def _is_ready(self, key: Key) -> bool:
        return self._models.state_of(*key) is VersionState.READY

    def _keys_of(self, name: str) -> list[Key]:
        with self._lock:
            keys = [k for k in self._sources if k[0] == name]
        if not keys:
            raise NotFound(f"there is no model {name[:80]!r}")
        return keys

    def _change(
        self,
        name: str,
        then: Then,
        done: Done,
        begin: Callable[[], Sequence[Source]] = tuple,
    ) -> None:
        """Has a model changed after all that was asked of it before."""
        arrival = Arrival(name=name, begin=begin, done=done)
        self._begin(then, self._loader, partial(self._keeper.bring, arrival))

    def _begin(self, then: Then, worker: Worker, task: Callable[[], None]) -> None:
        stopping = partial(then, Unavailable("the server is stopping"))
        if not worker.post(task, stopping):
            stopping()


class _All:
    """Calls `then` once when so many have landed: with the first error, if there was one."""

    def __init__(self, count: int, then: Then) -> None:
        self._lock = threading.Lock()
        self._left = count
        self._error: FoglineError | None = None
        self._then = then

    def one(self, error: FoglineError | None) -> None:
        with self._lock:
            self._left -= 1
            self._error = self._error or error
            is_last = not self._left
        if is_last:
            self._then(self._error)


def _key(source: Source) -> Key:
    return source.name, source.version


def _told(error: Exception, key: Key) -> FoglineError:
    """What callers are told of a failed load."""
    if isinstance(error, FoglineError):
        return error
    _LOG.error("load failed", extra={"model": f"{key[0]}@{key[1]}"}, exc_info=error)
    return internal_error(error, f"model {key[0]}@{key[1]}: ")
