"""From signed metadata to published versions, through a crash at any point.

The signed repository leads: once it names a version's manifest, devices may install that version,
whatever the catalogue says. So the repository is written first, and the catalogue follows; what a
crash left behind is caught up with by the next publication or at the next start.
"""

from dataclasses import dataclass
from typing import Protocol

from fogline.desired import target_path
from fogline.errors import Conflict, Corrupt, InvalidInput, NotFound, Untrusted
from fogline.trust import parse_target_path
from fogline_hub.catalogue import Catalogue
from fogline_hub.registry.records import Version
from fogline_hub.registry.registry import Registry


class Target(Protocol):
    """One signed manifest, as far as the registry looks."""

    @property
    def path(self) -> str: ...
    @property
    def sha256(self) -> str: ...


class SignedRepository(Protocol):
    """The delivery room, as far as the registry needs it."""

    def current_targets(self) -> bytes: ...
    def check_targets(self, proposed: bytes) -> tuple[Target, ...]: ...
    def publish_targets(self, proposed: bytes) -> tuple[Target, ...]: ...
    def target(self, path: str) -> Target | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    catalogue: Catalogue
    registry: Registry
    repository: SignedRepository

    def publish(self, proposed: bytes, *, actor: str) -> tuple[Version, ...]:
        """Publishes metadata that an operator signed, and the versions that it names.

        Raises:
            NotFound: it names a version that was never pushed.
            Conflict: it names another manifest than the one pushed, or does not follow the current
                metadata; sign again.
            InvalidInput: it is no targets metadata.
            Untrusted: the signature is not an operator's.
        """
        for target in self._additions(proposed):
            self._check_pushed(target)
        self.repository.publish_targets(proposed)
        return self.settle(actor=actor)

    def settle(self, *, actor: str) -> tuple[Version, ...]:
        """Marks as published what signed metadata names; returns those versions."""
        with self.catalogue.reading() as connection:
            pending = self.registry.pending(connection)
        signed = [version for version in pending if self._is_signed(version)]
        if not signed:
            return ()
        with self.catalogue.transaction() as connection:
            return tuple(
                self.registry.publish(connection, v.model, v.number, actor=actor) for v in signed
            )

    def _additions(self, proposed: bytes) -> tuple[Target, ...]:
        self.repository.current_targets()  # damage to what is published is raised here, as Corrupt
        try:
            return self.repository.check_targets(proposed)
        except Untrusted:
            raise
        except Corrupt as e:
            raise InvalidInput(str(e)) from e

    def _check_pushed(self, target: Target) -> None:
        name, number = parse_target_path(target.path)
        with self.catalogue.reading() as connection:
            try:
                version = self.registry.version(connection, name, number)
            except NotFound as e:
                raise NotFound(f"{target.path} is signed, but was never pushed: {e}") from e
        if version.manifest != target.sha256:
            raise Conflict(
                f"{target.path}: the metadata names manifest {target.sha256}, but "
                f"{version.ref} is {version.manifest}; sign again"
            )

    def _is_signed(self, version: Version) -> bool:
        target = self.repository.target(target_path(version.model, version.number))
        return target is not None and target.sha256 == version.manifest
