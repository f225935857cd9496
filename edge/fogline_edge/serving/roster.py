"""What is known of versions: states, which one answers to a name, who sees what. No lock here."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from fogline.errors import Exhausted, NotFound
from fogline_edge.serving.served import Entry, ModelCounts, ServedModel, Shadow
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

MAX_KNOWN = 4096
"""Versions that are known at most, in memory or not."""
MAX_REASON_CHARS = 500

Table = dict[tuple[str, str], Entry]
"""By name and version as a request writes them; the empty version is the active one."""


class Known:
    """One version, in memory or not."""

    __slots__ = ("by_number", "entry", "reason", "state")

    def __init__(self, state: VersionState, *, by_number: bool = False) -> None:
        self.state = state
        self.reason = ""
        self.entry: Entry | None = None
        """Set while it is in memory and its door is open."""
        self.by_number = by_number
        """It answers to its number alone, unless it is chosen."""

    def become(self, state: VersionState, reason: str = "") -> None:
        self.state, self.reason = state, reason[:MAX_REASON_CHARS]


@dataclass(frozen=True, slots=True)
class Tables:
    """What requests look at: made anew at each change, never changed."""

    visible: Table = field(default_factory=dict)
    all: Table = field(default_factory=dict)
    """With models that clients do not see."""
    shadows: dict[ServedModel, Shadow] = field(default_factory=dict)


class Roster:
    """All versions by name and number.

    Attributes:
        chosen: Which version was said to answer to a name.
        hidden: Names that clients are not answered for.
        shadows: Which version is asked as well, by name.
    """

    def __init__(self) -> None:
        self._models: dict[str, dict[int, Known]] = {}
        self.chosen: dict[str, int] = {}
        self.hidden: set[str] = set()
        self.shadows: dict[str, Shadow] = {}

    def get(self, name: str, version: int) -> Known | None:
        return self._models.get(name, {}).get(version)

    def require(self, name: str, version: int) -> Known:
        """Raises `NotFound`."""
        known = self.get(name, version)
        if known is None:
            raise self.missing(name, version)
        return known

    def missing(self, name: str, version: int) -> NotFound:
        there = ", ".join(map(str, sorted(self._models.get(name, ())))) or "none"
        return NotFound(f"no version {version} of model {name[:80]!r} is known; there are: {there}")

    def put(self, name: str, version: int, known: Known) -> None:
        """Adds a version, or replaces what is known of it.

        Raises:
            Exhausted: `MAX_KNOWN` are known.
        """
        is_new = self.get(name, version) is None
        if is_new and sum(map(len, self._models.values())) >= MAX_KNOWN:
            raise Exhausted(f"{MAX_KNOWN} versions are known, {name}@{version} is too many")
        self._models.setdefault(name, {})[version] = known

    def drop(self, name: str, version: int) -> None:
        """Forgets a version that is known."""
        del self._models[name][version]
        if self.chosen.get(name) == version:
            del self.chosen[name]
        if not self._models[name]:
            del self._models[name]

    def all(self) -> Iterator[tuple[str, int, Known]]:
        """By name and number."""
        for name, versions in sorted(self._models.items()):
            for version, known in sorted(versions.items()):
                yield name, version, known

    def of(self, name: str) -> dict[int, Known]:
        """A model's versions; a copy."""
        return dict(self._models.get(name, {}))

    def active(self, name: str) -> int | None:
        """The version that answers to the name."""
        versions = self._models.get(name, {})
        return active_version(
            {n: k.state for n, k in versions.items()},
            self.chosen.get(name),
            frozenset(n for n, k in versions.items() if k.by_number),
        )

    def number(self, name: str, version: str) -> int:
        """Which version a request means. Raises `NotFound`."""
        if version == "":
            active = self.active(name)
            if active is None:
                names = sorted({n for n, _, k in self.all() if k.entry} - self.hidden)
                there = ", ".join(names[:16]) or "none"
                raise NotFound(f"no model {name[:80]!r} is active; active are: {there}")
            return active
        number = parse_version(version)
        if number is None:
            raise NotFound(f"model {name[:80]!r} has no version {version[:80]!r}: they are numbers")
        self.require(name, number)
        return number

    def find(self, name: str, version: str) -> Entry:
        """The entry that a request means, however it writes the number.

        Raises:
            NotFound: there is no such version, or it was unloaded.
            NotLoaded: it is known and not in memory.
        """
        number = self.number(name, version)
        known = self._models[name][number]
        if known.entry is not None:
            return known.entry
        if known.state in SERVES_BY_DEMAND or known.state is VersionState.FAILED:
            raise NotLoaded(f"model {name}@{number} is not in memory ({known.state.value})")
        raise NotFound(f"model {name}@{number} was unloaded; load it first")

    def counts(self) -> tuple[ModelCounts, ...]:
        """All versions in memory."""
        return tuple(
            ModelCounts(
                served=known.entry.served,
                is_active=self.active(name) == version,
                in_flight=known.entry.in_flight,
                requests=known.entry.requests,
                failures=known.entry.failures,
            )
            for name, version, known in self.all()
            if known.entry is not None
        )

    def index(self) -> tuple[VersionStatus, ...]:
        """All versions that clients see."""
        return tuple(
            VersionStatus(
                name=name,
                version=version,
                state=index_state(known.state),
                reason=index_reason(known.state, known.reason),
                is_active=self.active(name) == version,
            )
            for name, version, known in self.all()
            if name not in self.hidden
        )

    def tables(self) -> Tables:
        made = Tables()
        for name, versions in self._models.items():
            active = self.active(name)
            for number, known in versions.items():
                if known.entry is None:
                    continue
                keys = [(name, str(number))] + ([(name, "")] if number == active else [])
                for key in keys:
                    made.all[key] = known.entry
                    if name not in self.hidden:
                        made.visible[key] = known.entry
                shadow = self.shadows.get(name) if number == active else None
                if shadow is not None and shadow.version in versions.keys() - {number}:
                    made.shadows[known.entry.served] = shadow
        return made
