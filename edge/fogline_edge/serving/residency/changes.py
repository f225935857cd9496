"""Changes of a model as a whole: other versions, unloaded, loaded again; one after the other."""

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from fogline.errors import FoglineError, Unavailable
from fogline_edge.serving.models import Models
from fogline_edge.serving.residency.arrival import Arrival, Done
from fogline_edge.serving.residency.catalogue import Catalogue
from fogline_edge.serving.residency.flights import Flights
from fogline_edge.serving.residency.holdings import Holding
from fogline_edge.serving.residency.keeper import Keeper
from fogline_edge.serving.residency.loads import Loads, told
from fogline_edge.serving.residency.source import Key, Source, Then, key_of
from fogline_edge.serving.residency.worker import Worker
from fogline_edge.serving.versions import VersionState


class Changes:
    """The methods are for any thread; what they begin happens on `prover` and on `loader`.

    Attributes:
        failed: How many replacements failed.
    """

    def __init__(
        self,
        models: Models,
        catalogue: Catalogue,
        flights: Flights,
        keeper: Keeper,
        loads: Loads,
        *,
        prover: Worker,
        loader: Worker,
    ) -> None:
        self._models = models
        self._catalogue = catalogue
        self._flights = flights
        self._keeper = keeper
        self._loads = loads
        self._prover = prover
        self._loader = loader
        self.failed = 0

    def replace(self, name: str, sources: Sequence[Source], then: Then, active: int | None) -> None:
        """As `Residency.replace`."""
        _begin(self._prover, partial(self._prove_all, name, sources, then, active), then)

    def unload(self, name: str, then: Then) -> None:
        """As `Residency.unload`."""
        self._change(name, then, partial(self._do, self._unload, name, then))

    def load(self, name: str, then: Then) -> None:
        """As `Residency.load`."""
        self._change(name, then, partial(self._do, self._load, name, then))

    def _change(
        self,
        name: str,
        then: Then,
        done: Done,
        begin: Callable[[], Sequence[Source]] = tuple,
    ) -> None:
        """Has a model changed after all that was asked of it before."""
        arrival = Arrival(name=name, begin=begin, done=done)
        _begin(self._loader, partial(self._keeper.bring, arrival), then)

    # ---------------------------------------------------------------- replace

    def _prove_all(
        self, name: str, sources: Sequence[Source], then: Then, active: int | None
    ) -> None:
        kept = [self._catalogue.known(source) for source in sources]
        try:
            for source in kept:
                if source.need is None:
                    source.prove()
        except Exception as e:  # a task boundary: who waits must be told
            then(told(e, key_of(source)))
            return
        done = partial(self._replaced, name, kept, then, active)
        self._change(name, then, done, partial(self._missing, name, kept))

    def _missing(self, name: str, sources: Sequence[Source]) -> list[Source]:
        """Those that are not in memory as they are."""
        new, _ = self._catalogue.compare(name, sources)
        return [s for s in sources if key_of(s) in new or not self._is_ready(key_of(s))]

    def _replaced(
        self,
        name: str,
        sources: Sequence[Source],
        then: Then,
        active: int | None,
        opened: Sequence[Holding],
        error: Exception | None,
    ) -> None:
        try:
            if error is not None:
                raise error
            gone = self._put_all(name, sources, opened)
            if active is not None:
                self._models.activate(name, active)
        except Exception as e:  # as above
            self.failed += 1
            then(told(e, (name, sources[0].version if sources else 0)))
            return
        landing = None if sources else _All(len(gone), then)
        for key in gone:
            left = None if landing is None else partial(landing.one, None)
            self._keeper.leave(*key, self._models.forget(*key), left)
        # Last, so that whoever finds a version in the table finds where it comes from.
        self._catalogue.drop(gone)
        if sources or not gone:
            then(None)

    def _put_all(
        self, name: str, sources: Sequence[Source], opened: Sequence[Holding]
    ) -> Sequence[Key]:
        """Lets the new versions answer; returns which are to go. Raises `Exhausted`."""
        new, gone = self._catalogue.compare(name, sources)
        self._know_all(new)
        self._catalogue.update(new)
        for holding in opened:
            self._keeper.put(holding)
        there = {holding.served.version for holding in opened}
        for source in sources:
            key = key_of(source)
            self._flights.forgive(key)
            # Of versions that come together the later ones may have made the first leave again.
            if source.version not in there and (key in new or not self._is_ready(key)):
                self._keeper.leave(*key, self._models.shut(*key, VersionState.ABSENT))
        return gone

    def _know_all(self, keys: Iterable[Key]) -> None:
        """All or none: of what is known it must be known where it comes from."""
        unknown = [key for key in keys if self._models.state_of(*key) is None]
        try:
            for key in unknown:
                self._models.know(*key, VersionState.ABSENT)
        except FoglineError:
            for key in unknown:
                self._models.forget(*key)
            raise

    # ----------------------------------------------------------- load, unload

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
            then(told(e, (name, 0)))

    def _unload(self, name: str, then: Then) -> None:
        keys = self._catalogue.keys_of(name)
        landing = _All(len(keys), then)
        for key in keys:
            entry = self._models.shut(*key, VersionState.UNLOADED)
            self._keeper.leave(*key, entry, partial(landing.one, None))

    def _load(self, name: str, then: Then) -> None:
        keys = self._catalogue.keys_of(name)
        landing = _All(len(keys), then)
        for key in keys:
            self._flights.forgive(key)
            self._models.revive(*key)
            self._loads.demand(key, landing.one)

    def _is_ready(self, key: Key) -> bool:
        return self._models.state_of(*key) is VersionState.READY


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


def _begin(worker: Worker, task: Callable[[], None], then: Then) -> None:
    stopping = partial(then, Unavailable("the server is stopping"))
    if not worker.post(task, stopping):
        stopping()
