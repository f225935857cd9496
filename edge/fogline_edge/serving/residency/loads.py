"""Loads of single versions, when they are asked for: proved once, opened in their turn."""

import logging
from collections.abc import Sequence
from functools import partial

from fogline.errors import FoglineError, NotFound, Unavailable, internal_error
from fogline_edge.serving.models import Models
from fogline_edge.serving.residency.arrival import Arrival
from fogline_edge.serving.residency.catalogue import Catalogue
from fogline_edge.serving.residency.flights import Flights
from fogline_edge.serving.residency.holdings import Holding
from fogline_edge.serving.residency.keeper import Keeper
from fogline_edge.serving.residency.room import NoRoomNow
from fogline_edge.serving.residency.source import Key, Source, Then
from fogline_edge.serving.residency.worker import Worker
from fogline_edge.serving.versions import VersionState

_LOG = logging.getLogger(__name__)


class Loads:
    """`demand` is for any thread; the rest happens on `prover` and on `loader`, the keeper's.

    Attributes:
        failed: How many failed.
    """

    def __init__(
        self,
        models: Models,
        catalogue: Catalogue,
        flights: Flights,
        keeper: Keeper,
        *,
        prover: Worker,
        loader: Worker,
    ) -> None:
        self._models = models
        self._catalogue = catalogue
        self._flights = flights
        self._keeper = keeper
        self._prover = prover
        self._loader = loader
        self.failed = 0

    def demand(self, key: Key, then: Then) -> None:
        """As `Residency.demand`."""
        if not self._flights.board(key, then):
            return
        source = self._catalogue.get(key)
        self._models.note(*key, VersionState.LOADING)
        # What is not there any more is told by the thread too: those that are told look again, and
        # would come back here before it is known that there is nothing.
        is_proved = source is None or source.need is not None
        worker = self._loader if is_proved else self._prover
        if not worker.post(partial(self._load if is_proved else self._prove, key)):
            self._flights.close()

    def _prove(self, key: Key) -> None:
        source = self._wanted(key)
        if source is None:
            return
        try:
            source.prove()
        except Exception as e:  # a task boundary: those that wait must be told
            self._loader.post(partial(self._not_proved, key, source, told(e, key)))
            return
        self._loader.post(partial(self._load, key))

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
            is_there=lambda: self._models.state_of(*key) is VersionState.READY,
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
            self._failed(key, told(error, key))

    def _failed(self, key: Key, error: FoglineError) -> None:
        self.failed += 1
        _LOG.warning("not loaded", extra={"model": f"{key[0]}@{key[1]}", "reason": str(error)})
        self._models.note(*key, VersionState.FAILED, str(error))
        self._flights.fail(key, error)

    def _wanted(self, key: Key) -> Source | None:
        """Where a version comes from; None, and those that wait are told, if it is not wanted.

        Those that waited for a version which was replaced meanwhile are to look again: by the
        model's name they find the new one.
        """
        source = self._catalogue.get(key)
        if source is None:
            self._flights.land(key, None)
            return None
        if self._models.state_of(*key) is VersionState.UNLOADED:
            self._flights.land(
                key, NotFound(f"model {key[0]}@{key[1]} was unloaded; load it first")
            )
            return None
        return source


def told(error: Exception, key: Key) -> FoglineError:
    """What callers are told of a failed load."""
    if isinstance(error, FoglineError):
        return error
    _LOG.error("load failed", extra={"model": f"{key[0]}@{key[1]}"}, exc_info=error)
    return internal_error(error, f"model {key[0]}@{key[1]}: ")
