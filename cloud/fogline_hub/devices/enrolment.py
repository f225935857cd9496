"""Enrolment: a token and a device's key in, an identity out; asking again gives the same.

The device's row commits with the token's use. What comes after it, the broker's users and the
answer, can fail or be lost at any point: the same key asks again and gets the same identity,
without another use of the token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from fogline.clock import Clock
from fogline.errors import Forbidden
from fogline.identity import EnrollRequest, Identity
from fogline.ids import IdSource, shard_of
from fogline_hub.catalogue import Catalogue
from fogline_hub.devices import secrets
from fogline_hub.devices.devices import Devices
from fogline_hub.devices.records import Device, Login
from fogline_hub.devices.tokens import Tokens
from fogline_hub.devices.turns import Turns


class DeviceKeys(Protocol):
    """The signer, as far as enrolment needs it."""

    def device_keys(self, device: str) -> tuple[bytes, bytes]:
        """The device's keys for messages up and down, 32 bytes each."""


class Logins(Protocol):
    """The broker, as far as enrolment needs it."""

    def hash_password(self, password: str) -> str:
        """What the broker's configuration holds of a password."""

    def apply(self, logins: Sequence[Login]) -> None:
        """Makes these all the devices that may connect; returns when the broker has taken it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """What every identity says of the hub."""

    url: str
    mqtt_host: str
    mqtt_port: int
    tuf_root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    catalogue: Catalogue
    devices: Devices
    tokens: Tokens
    keys: DeviceKeys
    logins: Logins
    clock: Clock
    ids: IdSource
    _turns: Turns = field(default_factory=Turns, init=False)

    def enrol(self, request: EnrollRequest, hub: Hub) -> Identity:
        """Enrols a device, or answers one that has enrolled before.

        Raises:
            Forbidden: the token is unknown, used up, expired or of another hub, or the device was
                revoked.
            Unavailable: signer or broker do not answer; asking again is safe.
        """
        if request.root_sha256 != sha256(hub.tuf_root.encode()).hexdigest():
            raise Forbidden("the enrolment token is of another hub; check the URL, or ask for one")
        device = self._known(request) or self._admit(request)
        up, down = self.keys.device_keys(device.id)
        self.refresh_logins()
        return Identity(
            device=device.id,
            name=device.name,
            group=device.group,
            hub_url=hub.url,
            api_secret=secrets.api_secret(request.device_key, device.id),
            mqtt_host=hub.mqtt_host,
            mqtt_port=hub.mqtt_port,
            mqtt_client_id=secrets.mqtt_client_id(request.device_key, device.id),
            mqtt_username=device.id,
            mqtt_password=secrets.mqtt_password(request.device_key, device.id),
            up_key=up.hex(),
            down_key=down.hex(),
            tuf_root=hub.tuf_root,
        )

    def refresh_logins(self) -> None:
        """Makes the broker's users what the catalogue says they are now, or later."""

        def apply() -> None:
            with self.catalogue.reading() as connection:
                logins = self.devices.logins(connection)
            self.logins.apply(logins)

        self._turns.run(apply)

    def revoke(self, id_or_name: str, *, actor: str) -> Device:
        """Ends a device's rights, and its session on the broker; errors as `Devices.get`."""
        with self.catalogue.transaction() as connection:
            device = self.devices.revoke(connection, id_or_name, actor=actor)
        self.refresh_logins()
        return device

    def _known(self, request: EnrollRequest) -> Device | None:
        with self.catalogue.reading() as connection:
            return self._unrevoked(self.devices.of_key(connection, request.device_key))

    def _admit(self, request: EnrollRequest) -> Device:
        identifier = self.ids()
        password = secrets.mqtt_password(request.device_key, identifier)
        password_hash = self.logins.hash_password(password)
        with self.catalogue.transaction() as connection:
            # Looked up again: the same device may have asked twice at once.
            known = self._unrevoked(self.devices.of_key(connection, request.device_key))
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

    def _unrevoked(self, device: Device | None) -> Device | None:
        if device is not None and device.revoked_at is not None:
            raise Forbidden(
                f"device {device.id} was revoked; to enrol the machine again as a new device, "
                "remove its state folder and use a new token"
            )
        return device
