"""The table of versions: which there are, which can answer now, and how one comes and goes.

Invariants: a version that was acquired stays usable until it is released; a version whose door is
closed is acquired by nobody; `swap` puts the new version in and takes the old one out in one step,
so that no request between finds neither. What it takes to bring a version into memory is
`residency`'s; this table says only whether it is there.
"""

from collections.abc import Callable

from fogline.errors import Conflict, Exhausted, FoglineError, NotFound
from fogline.ids import check_name
from fogline_edge.serving.roster import Known, Roster, Table, Tables
from fogline_edge.serving.served import (
    Entry,
    ModelCounts,
    Runner,
    ServedModel,
    Shadow,
    Totals,
    drained,
)
from fogline_edge.serving.versions import NotLoaded, VersionState, VersionStatus

__all__ = [
    "Demand",
    "Entry",
    "ModelCounts",
    "Models",
    "NotLoaded",
    "Runner",
    "ServedModel",
    "Shadow",
    "Then",
]

Then = Callable[[FoglineError | None], None]
"""Told once that a version is in memory, or why not; on any thread, and must not block."""
Demand = Callable[[str, int, Then], None]
"""Brings a known version into memory."""


class Models:
    """All versions by name and number. Safe to use from any thread.

    Args:
        max_models: Versions in memory at once.
    """

    def __init__(self, *, max_models: int = 64) -> None:
        self._max_models = max_models
        self.totals = Totals()
        self._lock = self.totals.lock
        self._roster = Roster()
        self._visible: Table = {}
        self._tables = Tables()
        self._demand: Demand | None = None

    # ---------------------------------------------------------------- requests

    def acquire(self, name: str, version: str = "") -> Entry:
        """The version with this number, or the active one, held until `Entry.release`.

        Raises:
            NotFound: there is no such version, or it was unloaded.
            NotLoaded: it is known and not in memory.
        """
        with self._lock:
            entry = self._visible.get((name, version))
            if entry is None:
                entry = self._find_visible(name, version)
            entry.in_flight += 1
            entry.used = self.totals.uses = self.totals.uses + 1
            return entry

    def acquire_component(self, name: str, version: str = "") -> Entry:
        """As `acquire`, for a pipeline: also a model that clients do not see."""
        with self._lock:
            entry = self._tables.all.get((name, version))
            if entry is None:
                entry = self._roster.find(name, version)
            entry.in_flight += 1
            entry.used = self.totals.uses = self.totals.uses + 1
            return entry

    def get_component(self, name: str, version: str = "") -> ServedModel:
        """As `acquire_component`, for a look."""
        with self._lock:
            entry = self._tables.all.get((name, version))
            return (entry or self._roster.find(name, version)).served

    def demand(self, name: str, version: str, then: Then) -> None:
        """Brings a version into memory that `acquire` found not loaded; see `Residency.demand`.

        Raises:
            NotFound: there is no such version.
        """
        with self._lock:
            number = self._roster.number(name, version)
            is_there = self._roster.require(name, number).entry is not None
        if is_there or self._demand is None:
            then(None if is_there else NotLoaded(f"model {name}@{number} is not in memory"))
        else:
            self._demand(name, number, then)

    def get(self, name: str, version: str = "") -> ServedModel:
        """As `acquire`, for a look."""
        with self._lock:
            entry = self._visible.get((name, version))
            return (entry or self._find_visible(name, version)).served

    def is_ready(self, name: str, version: str = "") -> bool:
        """Whether a request would be answered, if need be after a load."""
        with self._lock:
            if name in self._roster.hidden:
                return False
            try:
                known = self._roster.require(name, self._roster.number(name, version))
            except NotFound:
                return False
            return known.state not in (VersionState.FAILED, VersionState.UNLOADED)

    def shadow_of(self, served: ServedModel) -> Shadow | None:
        """Who is to be asked beside `served`, if anyone: set for active versions alone."""
        shadows = self._tables.shadows
        return shadows.get(served) if shadows else None

    # ---------------------------------------------------------------- listings

    def versions(self, name: str) -> list[int]:
        """Numbers of one model that can be asked for, ascending."""
        with self._lock:
            known = self._roster.of(name)
            return sorted(n for n, k in known.items() if k.state is not VersionState.UNLOADED)

    def list(self) -> tuple[ModelCounts, ...]:
        """All versions in memory by name and number."""
        with self._lock:
            return self._roster.counts()

    def entries(self) -> tuple[Entry, ...]:
        """All versions in memory, in the order of `list`."""
        with self._lock:
            return tuple(known.entry for _, _, known in self._roster.all() if known.entry)

    def index(self) -> tuple[VersionStatus, ...]:
        """All versions that are known and that clients see, by name and number."""
        with self._lock:
            return self._roster.index()

    # ----------------------------------------------------------------- changes

    def add(self, served: ServedModel, *, activate: bool = True) -> Entry:
        """Puts a version in; it answers to its number, and with `activate` it may to its name.

        The highest of those answers to the name, or the one that `activate` chose.

        Raises:
            InvalidInput: the name is not legal.
            Conflict: the version is in memory already.
            Exhausted: `max_models` are in memory.
        """
        check_name(served.name, "model name")
        with self._lock:
            known = self._roster.get(served.name, served.version)
            if known is not None and known.entry is not None:
                raise Conflict(f"{served.label} is in memory already")
            self._check_count(served)
            return self._enter(served, by_number=not activate)

    def activate(self, name: str, version: int | None) -> None:
        """Lets one known version answer to the name; None: the highest that serves."""
        with self._lock:
            if version is None:
                self._roster.chosen.pop(name, None)
            else:
                self._roster.require(name, version)
                self._roster.chosen[name] = version
            self._rebuild()

    def swap(self, name: str, served: ServedModel, *, drain_s: float = 60.0) -> ServedModel | None:
        """Lets `served` answer to `name`, takes the version out that did, and waits for its calls.

        Returns the old version when its last call has ended, its runner still open; None if no
        version was active.

        Raises:
            Conflict: the new version is in memory already, beside the active one; or not of `name`.
            Exhausted: `max_models` are in memory.
            DeadlineExceeded: the new version answers, but calls to the old one still go on.
        """
        old = self.replace(name, served)
        return None if old is None else drained(old, drain_s)

    def replace(self, name: str, served: ServedModel) -> Entry | None:
        """As `swap`, without waiting: the old version, which nobody acquires any more."""
        if served.name != name:
            raise Conflict(f"{served.label} cannot answer to the name {name!r}")
        with self._lock:
            active = self._roster.active(name)
            there = self._roster.get(name, served.version)
            if there is not None and there.entry is not None and served.version != active:
                raise Conflict(f"{served.label} is in memory already")
            old = None if active is None else self._roster.require(name, active)
            if old is None or old.entry is None:
                self._check_count(served)
            if active is not None:
                self._roster.drop(name, active)
            self._roster.chosen[name] = served.version
            self._enter(served)
        return None if old is None else old.entry

    def remove(self, name: str, version: int, *, drain_s: float = 60.0) -> ServedModel:
        """Takes a version out and returns it when its last call has ended, its runner still open.

        Raises:
            NotFound: it is not in memory.
            DeadlineExceeded: it is out, but calls to it still go on.
        """
        with self._lock:
            entry = self._roster.require(name, version).entry
            if entry is None:
                raise self._roster.missing(name, version)
            self._roster.drop(name, version)
            self._rebuild()
        return drained(entry, drain_s)

    def set_visible(self, name: str, *, visible: bool) -> None:
        """Says whether clients are answered for a model by its name; pipelines are anyway."""
        with self._lock:
            if visible:
                self._roster.hidden.discard(name)
            else:
                self._roster.hidden.add(name)
            self._rebuild()

    def set_shadow(self, name: str, version: int | None, share: float = 1.0) -> None:
        """Has a share of the active version's requests asked of another one too; None: no more."""
        with self._lock:
            if version is None or share <= 0:
                self._roster.shadows.pop(name, None)
            else:
                self._roster.require(name, version)
                shadow = Shadow(name=name, version=version, share=min(share, 1.0))
                self._roster.shadows[name] = shadow
            self._rebuild()

    # ------------------------------------------------- what residency does to it

    def attach(self, demand: Demand) -> None:
        """Says who brings versions into memory."""
        self._demand = demand

    def know(self, name: str, version: int, state: VersionState, reason: str = "") -> None:
        """Notes a version that is not in memory, or what has become of it.

        Raises:
            InvalidInput: the name is not legal.
            Exhausted: too many versions are known.
        """
        check_name(name, "model name")
        with self._lock:
            known = self._roster.get(name, version)
            if known is None:
                known = Known(state)
                self._roster.put(name, version, known)
            known.become(state, reason)
            self._rebuild()

    def note(self, name: str, version: int, state: VersionState, reason: str = "") -> None:
        """As `know`, but nothing where the version is not known, is in memory, or was unloaded.

        What was unloaded stays so until it is revived, whatever comes of a load that went on.
        """
        with self._lock:
            known = self._roster.get(name, version)
            if known is None or known.entry is not None or known.state is VersionState.UNLOADED:
                return
            known.become(state, reason)
            self._rebuild()

    def revive(self, name: str, version: int) -> None:
        """Forgets that a version was unloaded, or failed: it is loaded when it is asked for."""
        with self._lock:
            known = self._roster.get(name, version)
            if known is not None and known.state in (VersionState.UNLOADED, VersionState.FAILED):
                known.become(VersionState.ABSENT)
                self._rebuild()

    def state_of(self, name: str, version: int) -> VersionState | None:
        """None if the version is not known."""
        with self._lock:
            known = self._roster.get(name, version)
            return None if known is None else known.state

    def put(self, served: ServedModel) -> tuple[Entry, Entry | None]:
        """Puts a version in, in place of the same version if it is there; both entries.

        A version that was not known may answer to the name.

        Raises:
            InvalidInput, Exhausted: as `know`.
        """
        check_name(served.name, "model name")
        with self._lock:
            former = self._roster.get(served.name, served.version)
            by_number = former is not None and former.by_number
            entry = self._enter(served, by_number=by_number)
            return entry, None if former is None else former.entry

    def forget(self, name: str, version: int) -> Entry | None:
        """Takes a version out for good; the entry, if it was in memory, is for `when_idle`."""
        with self._lock:
            known = self._roster.get(name, version)
            if known is None:
                return None
            self._roster.drop(name, version)
            self._rebuild()
            return known.entry

    def shut(self, name: str, version: int, state: VersionState) -> Entry | None:
        """Closes a version's door: nobody acquires it, and it stays known as `state`.

        Raises:
            NotFound: it is not known.
        """
        with self._lock:
            known = self._roster.require(name, version)
            entry, known.entry = known.entry, None
            known.become(state)
            self._rebuild()
            return entry

    def reopen(self, entry: Entry) -> None:
        """Opens the door again that `shut` closed."""
        with self._lock:
            known = self._roster.get(entry.served.name, entry.served.version)
            if known is not None and known.entry is None:
                known.entry = entry
                known.become(VersionState.READY)
                self._rebuild()

    # ------------------------------------------------------- under the lock

    def _enter(self, served: ServedModel, *, by_number: bool = False) -> Entry:
        known = Known(VersionState.READY, by_number=by_number)
        known.entry = entry = Entry(served, self.totals)
        self._roster.put(served.name, served.version, known)
        self._rebuild()
        return entry

    def _check_count(self, served: ServedModel) -> None:
        if sum(known.entry is not None for _, _, known in self._roster.all()) >= self._max_models:
            raise Exhausted(
                f"{self._max_models} versions are in memory, {served.label} is too many"
            )

    def _rebuild(self) -> None:
        self._tables = self._roster.tables()
        self._visible = self._tables.visible

    def _find_visible(self, name: str, version: str) -> Entry:
        if name in self._roster.hidden:
            raise NotFound(f"model {name[:80]!r} is a component of pipelines; ask one of these")
        return self._roster.find(name, version)
