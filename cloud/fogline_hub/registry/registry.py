"""Names, numbers, states and aliases of versions; every change is audited with it.

Methods take the caller's connection, so that several rooms' changes commit as one.
"""

from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import asdict

from fogline.clock import Clock
from fogline.errors import Conflict, InvalidInput, NotFound
from fogline.ids import ModelRef, check_name
from fogline_hub import audit
from fogline_hub.catalogue import sql
from fogline_hub.registry.records import Alias, Model, State, Version
from fogline_hub.registry.tables import ALIASES, MODELS, VERSIONS

MOVES: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.PUBLISHED}),
    State.PUBLISHED: frozenset(),
}
"""Where a version may go from each state."""


class Registry:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def add_version(
        self,
        connection: sql.Connection,
        name: str,
        manifest: str,
        *,
        actor: str,
        size_bytes: int,
        verified: bool,
    ) -> Version:
        """Gives the manifest the model's next number; the same digest again keeps its number.

        Args:
            connection: The caller's transaction.
            name: The model; its first version makes it.
            manifest: SHA-256 of the manifest.
            actor: Who pushed it, for the audit.
            size_bytes: Of all files of the version.
            verified: Whether the bundle carries a parity report.

        Raises:
            InvalidInput: `name` is no legal name.
        """
        check_name(name, "model name")
        known = self.by_manifest(connection, name, manifest)
        if known is not None:
            return known
        now = self._clock.now()
        version = Version(
            model=name,
            number=self._next_number(connection, name, now),
            manifest=manifest,
            size_bytes=size_bytes,
            state=State.PENDING,
            pushed_by=actor,
            created_at=now,
            verified=verified,
        )
        connection.execute(sql.insert(VERSIONS).values(**asdict(version)))
        details = {"manifest": manifest, "size_bytes": size_bytes, "verified": verified}
        audit.record(connection, actor, "version.pushed", str(version.ref), details, at=now)
        return version

    def publish(self, connection: sql.Connection, name: str, number: int, *, actor: str) -> Version:
        """Marks a version as signed; one that is published already stays as it is.

        Raises:
            NotFound: there is no such version.
            Conflict: its state does not allow it.
        """
        version = self.version(connection, name, number)
        if version.state is State.PUBLISHED:
            return version
        if State.PUBLISHED not in MOVES[version.state]:
            raise Conflict(f"{version.ref} is {version.state.value} and cannot be published")
        now = self._clock.now()
        connection.execute(
            sql.update(VERSIONS)
            .where(VERSIONS.c.model == name, VERSIONS.c.number == number)
            .values(state=State.PUBLISHED, published_at=now)
        )
        details = {"manifest": version.manifest}
        audit.record(connection, actor, "version.published", str(version.ref), details, at=now)
        return self.version(connection, name, number)

    def set_alias(
        self, connection: sql.Connection, name: str, alias: str, number: int, *, actor: str
    ) -> Alias:
        """Points an alias of a model at one of its versions.

        Raises:
            InvalidInput: the alias is no legal name, or could be read as a number.
            NotFound: there is no such version.
        """
        check_alias(alias)
        version = self.version(connection, name, number)
        here = (ALIASES.c.model == name) & (ALIASES.c.name == alias)
        before = connection.execute(sql.select(ALIASES.c.number).where(here)).scalar()
        now = self._clock.now()
        moved = Alias(model=name, name=alias, number=number, moved_at=now)
        if before == number:
            return moved
        if before is None:
            row = {"model": name, "name": alias, "number": number, "moved_at": now}
            connection.execute(sql.insert(ALIASES).values(**row))
        else:
            connection.execute(sql.update(ALIASES).where(here).values(number=number, moved_at=now))
        details = {"from": before, "to": version.number}
        audit.record(connection, actor, "alias.moved", f"{name}@{alias}", details, at=now)
        return moved

    def by_manifest(self, connection: sql.Connection, name: str, manifest: str) -> Version | None:
        """The model's version of that manifest digest."""
        row = connection.execute(
            sql.select(VERSIONS).where(VERSIONS.c.model == name, VERSIONS.c.manifest == manifest)
        ).first()
        return None if row is None else _version(row)

    def version(self, connection: sql.Connection, name: str, number: int) -> Version:
        """Raises `NotFound` where there is none."""
        row = connection.execute(
            sql.select(VERSIONS).where(VERSIONS.c.model == name, VERSIONS.c.number == number)
        ).first()
        if row is None:
            self.model(connection, name)
            raise NotFound(f"there is no version {name}@{number}; see: fogline models show {name}")
        return _version(row)

    def resolve(self, connection: sql.Connection, ref: ModelRef) -> Version:
        """The version that a reference names now.

        Raises:
            NotFound: no such model, version or alias.
        """
        if ref.version is not None:
            return self.version(connection, ref.name, ref.version)
        model = self.model(connection, ref.name)
        number = model.aliases.get(ref.alias or "")
        if number is None:
            known = ", ".join(sorted(model.aliases)) or "none"
            raise NotFound(f"model {ref.name} has no alias {ref.alias!r}; there are: {known}")
        return self.version(connection, ref.name, number)

    def model(self, connection: sql.Connection, name: str) -> Model:
        """Raises `NotFound` where there is none."""
        row = connection.execute(sql.select(MODELS).where(MODELS.c.name == name)).first()
        if row is None:
            raise NotFound(f"there is no model {name[:63]!r}; see: fogline models list")
        return _model(row, _aliases(connection).get(name, {}))

    def models(self, connection: sql.Connection) -> tuple[Model, ...]:
        """All models by name."""
        aliases = _aliases(connection)
        rows = connection.execute(sql.select(MODELS).order_by(MODELS.c.name))
        return tuple(_model(row, aliases.get(row.name, {})) for row in rows)

    def versions(self, connection: sql.Connection, name: str) -> tuple[Version, ...]:
        """A model's versions, newest first; `NotFound` where there is no such model."""
        self.model(connection, name)
        query = sql.select(VERSIONS).where(VERSIONS.c.model == name)
        rows = connection.execute(query.order_by(VERSIONS.c.number.desc()))
        return tuple(_version(row) for row in rows)

    def pending(self, connection: sql.Connection) -> tuple[Version, ...]:
        """Versions that are pushed but not published, oldest first."""
        query = sql.select(VERSIONS).where(VERSIONS.c.state == State.PENDING)
        rows = connection.execute(query.order_by(VERSIONS.c.created_at))
        return tuple(_version(row) for row in rows)

    def _next_number(self, connection: sql.Connection, name: str, now: datetime) -> int:
        grown = (
            sql.update(MODELS)
            .where(MODELS.c.name == name)
            .values(versions=MODELS.c.versions + 1)
            .returning(MODELS.c.versions)
        )
        number = connection.execute(grown).scalar()
        if number is None:
            connection.execute(sql.insert(MODELS).values(name=name, created_at=now, versions=1))
            return 1
        return int(number)


def check_alias(alias: str) -> str:
    """Returns `alias` if it can stand after the `@`; digits alone would read as a version.

    Raises:
        InvalidInput: it cannot.
    """
    check_name(alias, "alias")
    if alias.isdigit():
        raise InvalidInput(f"alias {alias!r} would be read as a version number; use a word")
    return alias


def _aliases(connection: sql.Connection) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(sql.select(ALIASES).order_by(ALIASES.c.name)):
        found.setdefault(row.model, {})[row.name] = row.number
    return found


def _model(row: sql.Row[tuple[object, ...]], aliases: dict[str, int]) -> Model:
    return Model(name=row.name, created_at=row.created_at, versions=row.versions, aliases=aliases)


def _version(row: sql.Row[tuple[object, ...]]) -> Version:
    fields = {column.name: getattr(row, column.name) for column in VERSIONS.columns}
    return Version(**{**fields, "state": State(row.state)})
