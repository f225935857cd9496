"""Brings versions into memory when they are asked for, within a budget, and lets them go again.

    demand -> flight -> prove (once, in a child) -> make room -> open -> answers
                                                       |
                                    least recently used leave, drained

One thread proves and one loads, so that no two loads' peaks meet. Room for a load's peak is made
before it begins; a version with running requests is closed only when they have ended; callers that
want a version which is being loaded wait for that load. Neither thread waits for requests: a load
that finds no room waits beside the others (`keeper`).
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from fogline.backoff import Backoff
from fogline.clock import Clock, SystemClock
from fogline.errors import Conflict
from fogline_edge.serving.memory import Machine, ProcessMemory
from fogline_edge.serving.models import Models
from fogline_edge.serving.residency.catalogue import Catalogue
from fogline_edge.serving.residency.changes import Changes
from fogline_edge.serving.residency.config import ResidencyConfig
from fogline_edge.serving.residency.flights import Flights
from fogline_edge.serving.residency.holdings import Holdings
from fogline_edge.serving.residency.keeper import Keeper
from fogline_edge.serving.residency.loads import Loads
from fogline_edge.serving.residency.pressure import Strain, Verdict, next_ceiling
from fogline_edge.serving.residency.source import Source, Then, key_of
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
        self._holdings = Holdings(
            process or ProcessMemory(), has_budget=settings.model_memory_bytes > 0
        )
        self._flights = Flights(
            clock=self._clock,
            backoff=Backoff(base_s=settings.retry_base_s, cap_s=settings.retry_cap_s),
            max_waiting=settings.max_waiting,
            max_waiting_each=settings.max_waiting_each,
        )
        self._lock = threading.Lock()
        self._is_relieving = False
        self._requests = -1
        self._is_tidy = False
        """What was left behind was given back since the last request."""
        self._catalogue = Catalogue()
        self._prover = prover = Worker("model-prover")
        self._loader = loader = Worker("model-loader")
        self._keeper = Keeper(
            models,
            self._holdings,
            loader,
            settings,
            clock=self._clock,
            machine=machine or Machine(),
        )
        shared = (models, self._catalogue, self._flights, self._keeper)
        self._loads = Loads(*shared, prover=prover, loader=loader)
        self._changes = Changes(*shared, self._loads, prover=prover, loader=loader)
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
            key = key_of(source)
            if self._models.state_of(*key) is not None:
                raise Conflict(f"model {source.name}@{source.version} is known already")
            self._models.know(source.name, source.version, VersionState.ABSENT)
            self._catalogue.update({key: source})
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
        self._changes.replace(name, sources, then, active)

    def unload(self, name: str, then: Then) -> None:
        """Takes a model's versions out of memory when their requests have ended, until `load`.

        Raises:
            NotFound: there is no such model.
        """
        self._catalogue.keys_of(name)
        self._changes.unload(name, then)

    def load(self, name: str, then: Then) -> None:
        """Brings all versions of a model into memory, also such as were unloaded or failed.

        Raises:
            NotFound: there is no such model.
        """
        self._catalogue.keys_of(name)
        self._changes.load(name, then)

    def demand(self, name: str, version: int, then: Then) -> None:
        """Brings one version into memory; those that ask meanwhile wait for the same load.

        Args:
            name: The model.
            version: Its number.
            then: Told to acquire it now, which a version that was replaced meanwhile refuses; or
                why not: `Exhausted` with the numbers where it does not fit or too many wait, or
                what the load failed with. On this thread where that is known at once.
        """
        self._loads.demand((name, version), then)

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
            failed_loads=self._loads.failed + self._changes.failed,
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

    def _relieve(self) -> None:
        """Idle versions leave until what is left is within the budget and the ceiling."""
        with self._lock:
            self._is_relieving = False
        self._keeper.relieve()
