"""The table of versions: which there are, which can answer now, and how one comes and goes.

Invariants: a version that was acquired stays usable until it is released; a version whose door is
closed is acquired by nobody; `swap` puts the new version in and takes the old one out in one step,
so that no request between finds neither. What it takes to bring a version into memory is
`residency`'s; this table says only whether it is there.
"""

from collections.abc import Callable, Iterator

from fogline.errors import Conflict, Exhausted, FoglineError, NotFound
from fogline.ids import check_name
from fogline_edge.serving.served import (
    Entry,
    ModelCounts,
    Runner,
    ServedModel,
    Shadow,
    Totals,
    drained,
)
from fogline_edge.serving.versions import (
    SERVES_BY_DEMAND,
    NotLoaded,
    VersionState,
    VersionStatus,
    active_version,
    index_reason,
    index_state,
    parse_version,
)

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

MAX_KNOWN = 4096
"""Versions that are known at most, in memory or not."""

Then = Callable[[FoglineError | None], None]
"""Told once that a version is in memory, or why not; on any thread, and must not block."""
Demand = Callable[[str, int, Then], None]
"""Brings a known version into memory."""


class _Known:
    """One version, in memory or not; guarded by the table's lock."""

    __slots__ = ("by_number", "entry", "reason", "state")

    def __init__(self, state: VersionState, *, by_number: bool) -> None:
        self.state = state
        self.reason = ""
        self.entry: Entry | None = None
        self.by_number = by_number


class Models:
    """All versions by name and number. Safe to use from any thread.

    Args:
        max_models: Versions in memory at once.
    """

    def __init__(self, *, max_models: int = 64) -> None:
        self._max_models = max_models
        self.totals = Totals()
        self._lock = self.totals.lock
        self._known: dict[str, dict[int, _Known]] = {}
        self._chosen: dict[str, int] = {}
        self._shadow_by_name: dict[str, Shadow] = {}
        # What requests look at: rebuilt at each change, replaced as a whole.
        self._table: dict[tuple[str, str], Entry] = {}
        self._with_hidden: dict[tuple[str, str], Entry] = {}
        self._hidden: set[str] = set()
        self._shadows: dict[ServedModel, Shadow] = {}
        self._demand: Demand | None = None

    # ---------------------------------------------------------------- requests

    def acquire(self, name: str, version: str = "") -> Entry:
        """The version with this number, or the active one, held until `Entry.release`.

        Raises:
            NotFound: there is no such version, or it was unloaded.
            NotLoaded: it is known and not in memory.
        """
        with self._lock:
            entry = self._table.get((name, version))
            if entry is None:
                entry = self._find_visible(name, version)
            entry.in_flight += 1
            entry.used = self.totals.uses = self.totals.uses + 1
            return entry

    def acquire_component(self, name: str, version: str = "") -> Entry:
        """As `acquire`, for a pipeline: also a model that clients do not see."""
        with self._lock:
            entry = self._with_hidden.get((name, version))
            if entry is None:
                entry = self._find(name, version)
            entry.in_flight += 1
            entry.used = self.totals.uses = self.totals.uses + 1
            return entry

    def get_component(self, name: str, version: str = "") -> ServedModel:
        """As `acquire_component`, for a look."""
        with self._lock:
            return (self._with_hidden.get((name, version)) or self._find(name, version)).served

    def demand(self, name: str, version: str, then: Then) -> None:
        """Brings a version into memory that `acquire` found not loaded; see `Residency.demand`.

        Raises:
            NotFound: there is no such version.
        """
        with self._lock:
            number = self._number(name, version)
            is_there = self._known[name][number].entry is not None
        if is_there or self._demand is None:
            then(None if is_there else NotLoaded(f"model {name}@{number} is not in memory"))
        else:
            self._demand(name, number, then)

    def get(self, name: str, version: str = "") -> ServedModel:
        """As `acquire`, for a look."""
        with self._lock:
            return (self._table.get((name, version)) or self._find_visible(name, version)).served

    def is_ready(self, name: str, version: str = "") -> bool:
        """Whether a request would be answered, if need be after a load."""
        with self._lock:
            if name in self._hidden:
                return False
            try:
                number = self._number(name, version)
            except NotFound:
                return False
            return self._known[name][number].state not in (
                VersionState.FAILED,
                VersionState.UNLOADED,
            )

    def shadow_of(self, served: ServedModel) -> Shadow | None:
        """Who is to be asked beside `served`, if anyone: set for active versions alone."""
        return self._shadows.get(served) if self._shadows else None

    # ---------------------------------------------------------------- listings

    def versions(self, name: str) -> list[int]:
        """Numbers of one model that can be asked for, ascending."""
        with self._lock:
            known = self._known.get(name, {})
            return sorted(n for n, k in known.items() if k.state is not VersionState.UNLOADED)

    def list(self) -> tuple[ModelCounts, ...]:
        """All versions in memory by name and number."""
        with self._lock:
            return tuple(self._counts())

    def index(self) -> tuple[VersionStatus, ...]:
        """All versions that are known, by name and number."""
        with self._lock:
            return tuple(
                VersionStatus(
                    name=name,
                    version=number,
                    state=index_state(known.state),
                    reason=index_reason(known.state, known.reason),
                    is_active=number == self._active(name),
                )
                for name, versions in sorted(self._known.items())
                if name not in self._hidden
                for number, known in sorted(versions.items())
            )

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
            known = self._known.get(served.name, {}).get(served.version)
            if known is not None and known.entry is not None:
                raise Conflict(f"{served.label} is in memory already")
            entry = self._put(served, by_number=not activate)
            self._rebuild()
            return entry

    def activate(self, name: str, version: int | None) -> None:
        """Lets one known version answer to the name; None: the highest that serves."""
        with self._lock:
            if version is None:
                self._chosen.pop(name, None)
            else:
                self._require(name, version)
                self._chosen[name] = version
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
            versions = self._known.setdefault(name, {})
            active = self._active(name)
            there = versions.get(served.version)
            if there is not None and there.entry is not None and served.version != active:
                raise Conflict(f"{served.label} is in memory already")
            old = None if active is None else versions.pop(active)
            try:
                self._put(served, by_number=False)
            except Exhausted:
                if old is not None and active is not None:
                    versions[active] = old
                raise
            self._chosen[name] = served.version
            self._rebuild()
        return None if old is None else old.entry

    def remove(self, name: str, version: int, *, drain_s: float = 60.0) -> ServedModel:
        """Takes a version out and returns it when its last call has ended, its runner still open.

        Raises:
            NotFound: it is not in memory.
            DeadlineExceeded: it is out, but calls to it still go on.
        """
        with self._lock:
            entry = self._require(name, version).entry
            if entry is None:
                raise self._missing(name, version)
            self._drop(name, version)
        return drained(entry, drain_s)

    def set_visible(self, name: str, *, visible: bool) -> None:
        """Says whether clients are answered for a model by its name; pipelines are anyway."""
        with self._lock:
            if visible:
                self._hidden.discard(name)
            else:
                self._hidden.add(name)
            self._rebuild()

    def set_shadow(self, name: str, version: int | None, share: float = 1.0) -> None:
        """Has a share of the active version's requests asked of another one too; None: no more."""
        with self._lock:
            if version is None or share <= 0:
                self._shadow_by_name.pop(name, None)
            else:
                self._require(name, version)
                shadow = Shadow(name=name, version=version, share=min(share, 1.0))
                self._shadow_by_name[name] = shadow
            self._rebuild()

    # ------------------------------------------------- what residency does to it

    def attach(self, demand: Demand) -> None:
        """Says who brings versions into memory."""
        self._demand = demand

    def know(
        self,
        name: str,
        version: int,
        state: VersionState,
        reason: str = "",
        *,
        by_name: bool = True,
    ) -> None:
        """Notes a version that is not in memory, or what has become of it.

        Raises:
            InvalidInput: the name is not legal.
            Exhausted: `MAX_KNOWN` versions are known.
        """
        check_name(name, "model name")
        with self._lock:
            known = self._known.get(name, {}).get(version)
            if known is None:
                if sum(map(len, self._known.values())) >= MAX_KNOWN:
                    raise Exhausted(f"{MAX_KNOWN} versions are known, {name}@{version} is too many")
                known = _Known(state, by_number=not by_name)
                self._known.setdefault(name, {})[version] = known
            known.state, known.reason, known.by_number = state, reason[:500], not by_name
            self._rebuild()

    def forget(self, name: str, version: int) -> Entry | None:
        """Takes a version out for good; the entry, if it was in memory, is for `when_idle`."""
        with self._lock:
            known = self._known.get(name, {}).get(version)
            if known is not None:
                self._drop(name, version)
            return None if known is None else known.entry

    def shut(self, name: str, version: int, state: VersionState, reason: str = "") -> Entry | None:
        """Closes a version's door: nobody acquires it, and it stays known as `state`."""
        with self._lock:
            known = self._require(name, version)
            entry, known.entry = known.entry, None
            known.state, known.reason = state, reason[:500]
            self._rebuild()
            return entry

    def reopen(self, entry: Entry) -> None:
        """Opens the door again that `shut` closed."""
        with self._lock:
            known = self._known.get(entry.served.name, {}).get(entry.served.version)
            if known is not None and known.entry is None:
                known.entry, known.state, known.reason = entry, VersionState.READY, ""
                self._rebuild()

    def entries(self) -> tuple[Entry, ...]:
        """All versions in memory, in no order."""
        with self._lock:
            return tuple(
                k.entry for v in self._known.values() for k in v.values() if k.entry is not None
            )

    def put(self, served: ServedModel) -> tuple[Entry, Entry | None]:
        """Puts a version in, in place of the same version if it is there; both entries.

        A version that was not known may answer to the name.
        """
        check_name(served.name, "model name")
        with self._lock:
            former = self._known.get(served.name, {}).get(served.version)
            by_number = former is not None and former.by_number
            known = _Known(VersionState.READY, by_number=by_number)
            known.entry = Entry(served, self.totals)
            self._known.setdefault(served.name, {})[served.version] = known
            self._rebuild()
            return known.entry, None if former is None else former.entry

    def note(self, name: str, version: int, state: VersionState, reason: str = "") -> None:
        """Notes what became of a version that is not in memory; nothing if it is not known."""
        with self._lock:
            known = self._known.get(name, {}).get(version)
            if known is not None and known.entry is None:
                known.state, known.reason = state, reason[:500]
                self._rebuild()

    def state_of(self, name: str, version: int) -> VersionState | None:
        """None if the version is not known."""
        with self._lock:
            known = self._known.get(name, {}).get(version)
            return None if known is None else known.state

    # ------------------------------------------------------- under the lock

    def _counts(self) -> Iterator[ModelCounts]:
        for name, versions in sorted(self._known.items()):
            for version, known in sorted(versions.items()):
                if known.entry is not None:
                    yield ModelCounts(
                        served=known.entry.served,
                        is_active=self._active(name) == version,
                        in_flight=known.entry.in_flight,
                        requests=known.entry.requests,
                        failures=known.entry.failures,
                    )

    def _put(self, served: ServedModel, *, by_number: bool) -> Entry:
        there = sum(k.entry is not None for v in self._known.values() for k in v.values())
        if there >= self._max_models:
            raise Exhausted(
                f"{self._max_models} versions are in memory, {served.label} is too many"
            )
        known = _Known(VersionState.READY, by_number=by_number)
        known.entry = entry = Entry(served, self.totals)
        self._known.setdefault(served.name, {})[served.version] = known
        return entry

    def _drop(self, name: str, version: int) -> None:
        del self._known[name][version]
        if self._chosen.get(name) == version:
            del self._chosen[name]
        if not self._known[name]:
            del self._known[name]
        self._rebuild()

    def _rebuild(self) -> None:
        table: dict[tuple[str, str], Entry] = {}
        with_hidden: dict[tuple[str, str], Entry] = {}
        shadows: dict[ServedModel, Shadow] = {}
        for name, versions in self._known.items():
            active = self._active(name)
            tables = (with_hidden,) if name in self._hidden else (with_hidden, table)
            for number, known in versions.items():
                if known.entry is None:
                    continue
                for one in tables:
                    one[name, str(number)] = known.entry
                if number == active:
                    for one in tables:
                        one[name, ""] = known.entry
                    shadow = self._shadow_by_name.get(name)
                    if shadow is not None and shadow.version in versions.keys() - {number}:
                        shadows[known.entry.served] = shadow
        self._table, self._with_hidden, self._shadows = table, with_hidden, shadows

    def _active(self, name: str) -> int | None:
        versions = self._known.get(name, {})
        return active_version(
            {n: k.state for n, k in versions.items()},
            self._chosen.get(name),
            frozenset(n for n, k in versions.items() if k.by_number),
        )

    def _find_visible(self, name: str, version: str) -> Entry:
        if name in self._hidden:
            raise NotFound(f"model {name[:80]!r} is a component of pipelines; ask one of these")
        return self._find(name, version)

    def _find(self, name: str, version: str) -> Entry:
        number = self._number(name, version)
        known = self._known[name][number]
        if known.entry is not None:
            return known.entry
        if known.state in SERVES_BY_DEMAND or known.state is VersionState.FAILED:
            raise NotLoaded(f"model {name}@{number} is not in memory ({known.state.value})")
        raise NotFound(f"model {name}@{number} was unloaded; load it first")

    def _number(self, name: str, version: str) -> int:
        """Which version is meant; it is known. Raises `NotFound`."""
        if version == "":
            active = self._active(name)
            if active is None:
                there = ", ".join(sorted(n for n, v in self._table if not v)[:16]) or "none"
                raise NotFound(f"no model {name[:80]!r} is active; active are: {there}")
            return active
        number = parse_version(version)
        if number is None:
            raise NotFound(f"model {name[:80]!r} has no version {version[:80]!r}: they are numbers")
        self._require(name, number)
        return number

    def _require(self, name: str, version: int) -> _Known:
        known = self._known.get(name, {}).get(version)
        if known is None:
            raise self._missing(name, version)
        return known

    def _missing(self, name: str, version: int) -> NotFound:
        there = ", ".join(map(str, sorted(self._known.get(name, ())))) or "none"
        return NotFound(f"no version {version} of model {name[:80]!r} is known; there are: {there}")
