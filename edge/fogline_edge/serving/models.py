"""The models in memory: which versions there are, which one answers, and how one leaves.

Invariants: a version that was leased stays usable until the lease ends; a version that left the
table gets no new lease; `swap` puts the new version in and takes the old one out in one step, so
that no request between finds neither.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from fogline.errors import Conflict, DeadlineExceeded, Exhausted, NotFound
from fogline.ids import check_name
from fogline.runtime import Session
from fogline.schema import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One version that can answer."""

    name: str
    version: int
    schema: Schema
    session: Session
    variant: str = ""
    digest: str = ""
    """SHA-256 of the version's manifest; empty for a bare model file."""
    generation: int = 0
    """Of the desired state that wanted it; 0 where there is none."""

    @property
    def label(self) -> str:
        return f"model {self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCounts:
    """One version in memory and what it has done."""

    served: ServedModel
    is_active: bool
    in_flight: int
    """Requests that wait or run."""
    requests: int
    """Answered ones, well or not."""
    failures: int


class Lease:
    """The right to run one version once; ended by `release`, which counts only the first time."""

    __slots__ = ("_release", "served")

    def __init__(self, served: ServedModel, release: Callable[[bool], None]) -> None:
        self.served = served
        self._release: Callable[[bool], None] | None = release

    def release(self, *, failed: bool) -> None:
        """Gives the version back, and counts the request."""
        release, self._release = self._release, None
        if release is not None:
            release(failed)


class _Entry:
    __slots__ = ("failures", "leases", "requests", "served")

    def __init__(self, served: ServedModel) -> None:
        self.served = served
        self.leases = 0
        self.requests = 0
        self.failures = 0


class Models:
    """All versions by name and number. Safe to use from any thread."""

    def __init__(self, *, max_models: int = 64) -> None:
        self._max_models = max_models
        self._changed = threading.Condition()
        self._entries: dict[str, dict[int, _Entry]] = {}
        self._active: dict[str, int] = {}

    def add(self, served: ServedModel, *, activate: bool = True) -> None:
        """Puts a version in; it answers to its number, and with `activate` to its name.

        Raises:
            InvalidInput: the name is not legal.
            Conflict: the version is there already.
            Exhausted: `max_models` are in memory.
        """
        check_name(served.name, "model name")
        with self._changed:
            if served.version in self._entries.get(served.name, {}):
                raise Conflict(f"{served.label} is in memory already")
            self._put(served)
            if activate:
                self._active[served.name] = served.version

    def swap(self, name: str, served: ServedModel, *, drain_s: float = 60.0) -> ServedModel | None:
        """Lets `served` answer to `name`, takes the version out that did, and waits for its calls.

        Returns the old version when its last call has ended, its session still open; None if no
        version was active.

        Raises:
            Conflict: the new version is in memory already, beside the active one; or not of `name`.
            Exhausted: `max_models` are in memory.
            DeadlineExceeded: the new version answers, but calls to the old one still go on.
        """
        if served.name != name:
            raise Conflict(f"{served.label} cannot answer to the name {name!r}")
        with self._changed:
            versions = self._entries.get(name, {})
            active = self._active.get(name)
            if served.version in versions and served.version != active:
                raise Conflict(f"{served.label} is in memory already")
            old = None if active is None else versions.pop(active)
            try:
                self._put(served)
            except Exhausted:
                if old is not None:
                    versions[old.served.version] = old
                raise
            self._active[name] = served.version
        return None if old is None else self._drained(old, drain_s)

    def remove(self, name: str, version: int, *, drain_s: float = 60.0) -> ServedModel:
        """Takes a version out and returns it when its last call has ended, its session still open.

        Raises:
            NotFound: it is not there.
            DeadlineExceeded: it is out, but calls to it still go on.
        """
        with self._changed:
            entry = self._entry(name, version)
            del self._entries[name][version]
            if self._active.get(name) == version:
                del self._active[name]
            if not self._entries[name]:
                del self._entries[name]
        return self._drained(entry, drain_s)

    def get(self, name: str, version: str = "") -> ServedModel:
        """The version with this number, or the active one. Raises `NotFound`."""
        with self._changed:
            return self._find(name, version).served

    def acquire(self, name: str, version: str = "") -> Lease:
        """As `get`, with the right to run it once."""
        with self._changed:
            entry = self._find(name, version)
            entry.leases += 1
            return Lease(entry.served, partial(self._release, entry))

    def versions(self, name: str) -> list[int]:
        """Numbers in memory of one model, ascending."""
        with self._changed:
            return sorted(self._entries.get(name, ()))

    def list(self) -> tuple[ModelCounts, ...]:
        """All versions by name and number."""
        with self._changed:
            return tuple(self._counts())

    def _counts(self) -> Iterator[ModelCounts]:
        for name, versions in sorted(self._entries.items()):
            for version, entry in sorted(versions.items()):
                yield ModelCounts(
                    served=entry.served,
                    is_active=self._active.get(name) == version,
                    in_flight=entry.leases,
                    requests=entry.requests,
                    failures=entry.failures,
                )

    def _put(self, served: ServedModel) -> None:
        if sum(map(len, self._entries.values())) >= self._max_models:
            raise Exhausted(
                f"{self._max_models} versions are in memory, {served.label} is too many"
            )
        self._entries.setdefault(served.name, {})[served.version] = _Entry(served)

    def _find(self, name: str, version: str) -> _Entry:
        if version == "":
            if name not in self._active:
                there = ", ".join(sorted(self._active)[:16]) or "none"
                raise NotFound(f"no model {name[:80]!r} is active; active are: {there}")
            return self._entries[name][self._active[name]]
        if not (version.isascii() and version.isdigit() and len(version) <= 9):
            raise NotFound(f"model {name[:80]!r} has no version {version[:80]!r}: they are numbers")
        return self._entry(name, int(version))

    def _entry(self, name: str, version: int) -> _Entry:
        entry = self._entries.get(name, {}).get(version)
        if entry is None:
            there = ", ".join(map(str, sorted(self._entries.get(name, ())))) or "none"
            raise NotFound(
                f"no version {version} of model {name[:80]!r} is in memory; there are: {there}"
            )
        return entry

    def _release(self, entry: _Entry, failed: bool) -> None:
        with self._changed:
            entry.leases -= 1
            entry.requests += 1
            entry.failures += failed
            if not entry.leases:
                self._changed.notify_all()

    def _drained(self, entry: _Entry, drain_s: float) -> ServedModel:
        with self._changed:
            if not self._changed.wait_for(lambda: entry.leases == 0, drain_s):
                raise DeadlineExceeded(
                    f"{entry.served.label} left, but {entry.leases} calls go on after {drain_s} s"
                )
        return entry.served
