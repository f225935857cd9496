"""Enrolment: a token and a device's key in, an identity out; asking again gives the same.

The device's row commits with the token's use. What comes after it, the broker's users and the
answer, can fail or be lost at any point: the same key asks again and gets the same identity,
without another use of the token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fogline.clock import Clock
from fogline.errors import Exhausted, Forbidden, NotFound, Unavailable
from fogline.identity import EnrollRequest, Identity
from fogline.ids import IdSource, shard_of
from fogline_hub.catalogue import Catalogue
from fogline_hub.devices import secrets
from fogline_hub.devices.devices import Devices
from fogline_hub.devices.records import Device
from fogline_hub.devices.tokens import Tokens


class KeySource(Protocol):
    """The signer, as far as enrolment needs it."""

    def device_keys(self, device: str) -> tuple[bytes, bytes]:
        """The device's keys for messages up and down, 32 bytes each."""


class BrokerLogins(Protocol):
    """The broker, as far as enrolment needs it."""

    def apply(self) -> None:
        """Returns once every device of the catalogue, and no other, may connect."""


class Roots(Protocol):
    """The signed repository, as far as enrolment needs it."""

    def root(self, digest: str = "") -> bytes:
        """The TUF root of that SHA-256, or the newest; `NotFound` where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where devices find the hub."""

    url: str
    mqtt_host: str
    mqtt_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    catalogue: Catalogue
    devices: Devices
    tokens: Tokens
    keys: KeySource
    roots: Roots
    logins: BrokerLogins
    hash_password: Callable[[str], str]
    """What the broker holds of a password."""
    clock: Clock
    ids: IdSource

    def enrol(self, request: EnrollRequest, endpoints: Endpoints) -> Identity:
        """Enrols a device, or answers one that has enrolled before.

        Raises:
            Forbidden: the token is unknown, used up, expired or of another hub, or the device was
                revoked.
            Unavailable: signer or broker do not answer; asking again is safe.
        """
        root = self._root(request.root_sha256)
        device = self._known(request) or self._admit(request)
        up, down = self._keys(device.id)
        self.logins.apply()
        return Identity(
            device=device.id,
            name=device.name,
            group=device.group,
            hub_url=endpoints.url,
            api_secret=secrets.api_secret(request.device_key, device.id),
            mqtt_host=endpoints.mqtt_host,
            mqtt_port=endpoints.mqtt_port,
            mqtt_client_id=secrets.mqtt_client_id(request.device_key, device.id),
            mqtt_username=device.id,
            mqtt_password=secrets.mqtt_password(request.device_key, device.id),
            up_key=up.hex(),
            down_key=down.hex(),
            tuf_root=root.decode(),
        )

    def revoke(self, id_or_name: str, *, actor: str) -> Device:
        """Ends a device's rights, and its session on the broker; errors as `Devices.get`."""
        with self.catalogue.transaction() as connection:
            device = self.devices.revoke(connection, id_or_name, actor=actor)
        self.logins.apply()
        return device

    def _known(self, request: EnrollRequest) -> Device | None:
        with self.catalogue.reading() as connection:
            return _unrevoked(self.devices.of_key(connection, request.device_key))

    def _admit(self, request: EnrollRequest) -> Device:
        identifier = self.ids()
        password = secrets.mqtt_password(request.device_key, identifier)
        password_hash = self.hash_password(password)
        with self.catalogue.transaction() as connection:
            # Looked up again: the same device may have asked twice at once.
            known = _unrevoked(self.devices.of_key(connection, request.device_key))
            if known is not None:
                return known
            used = self.tokens.use(connection, request.secret)
            device = Device(
                id=identifier,
                name=request.name,
                group=used.group,
                shard=shard_of(identifier),
                enrolled_at=self.clock.now(),
                token=used.id,
            )
            self.devices.add(
                connection,
                device,
                device_key=request.device_key,
                api_secret=secrets.api_secret(request.device_key, identifier),
                password_hash=password_hash,
            )
        return device

    def _root(self, digest: str) -> bytes:
        try:
            return self.roots.root(digest)
        except NotFound as e:
            raise Forbidden(
                "the enrolment token is of another hub; check the URL, or ask for a new token"
            ) from e

    def _keys(self, device: str) -> tuple[bytes, bytes]:
        try:
            return self.keys.device_keys(device)
        except Exhausted as e:  # too many devices at once: asking again helps
            raise Unavailable(str(e)) from e


def _unrevoked(device: Device | None) -> Device | None:
    if device is not None and device.revoked_at is not None:
        raise Forbidden(
            f"device {device.id} was revoked; to enrol the machine again as a new device, "
            "remove its state folder and use a new token"
        )
    return device
