"""The devices of the fleet, and who a bearer token belongs to."""

from dataclasses import dataclass

from fogline.clock import Clock
from fogline.errors import Conflict, Forbidden, NotFound
from fogline_hub import audit
from fogline_hub.catalogue import sql
from fogline_hub.devices.records import Device, Login
from fogline_hub.devices.secrets import secret_hash
from fogline_hub.devices.tables import DEVICES

_PUBLIC = tuple(DEVICES.columns[name] for name in Device.__struct_fields__)


@dataclass(frozen=True, slots=True)
class Devices:
    clock: Clock

    def add(
        self,
        connection: sql.Connection,
        device: Device,
        *,
        device_key: str,
        api_secret: str,
        password_hash: str,
    ) -> None:
        columns = {name: getattr(device, name) for name in device.__struct_fields__}
        connection.execute(
            sql.insert(DEVICES).values(
                **columns,
                key_hash=secret_hash(device_key),
                api_hash=secret_hash(api_secret),
                password_hash=password_hash,
            )
        )
        details = {"name": device.name, "group": device.group, "token": device.token}
        actor = f"device:{device.id}"
        at = device.enrolled_at
        audit.record(connection, actor, "device.enrolled", device.id, details, at=at)

    def of_key(self, connection: sql.Connection, device_key: str) -> Device | None:
        """The device that enrolled with this key, revoked or not."""
        return _first(connection, DEVICES.c.key_hash == secret_hash(device_key))

    def of_secret(self, connection: sql.Connection, api_secret: str) -> Device:
        """The device that a bearer token belongs to.

        Looked up by the token's SHA-256, so timing tells nothing of the token.

        Raises:
            Forbidden: it is nobody's, or the device is revoked.
        """
        device = _first(connection, DEVICES.c.api_hash == secret_hash(api_secret))
        if device is None or device.revoked_at is not None:
            raise Forbidden("the device is unknown or revoked; enrol it again with a new token")
        return device

    def get(self, connection: sql.Connection, id_or_name: str) -> Device:
        """A device by its id, or by its name where only one has it.

        Raises:
            NotFound: none is called so.
            Conflict: several are; the text lists their ids.
        """
        named = (DEVICES.c.id == id_or_name) | (DEVICES.c.name == id_or_name)
        rows = connection.execute(sql.select(*_PUBLIC).where(named).limit(10)).all()
        exact = [row for row in rows if row.id == id_or_name]
        if not rows:
            raise NotFound(f"there is no device {id_or_name[:64]!r}; see: fogline devices list")
        if len(rows) > 1 and not exact:
            ids = ", ".join(row.id for row in rows)
            raise Conflict(f"several devices are named {id_or_name!r}; use an id: {ids}")
        return _device((exact or rows)[0])

    def list(self, connection: sql.Connection, group: str | None = None) -> tuple[Device, ...]:
        """All devices, or those of a group, by name and then id."""
        query = sql.select(*_PUBLIC).order_by(DEVICES.c.name, DEVICES.c.id)
        if group is not None:
            query = query.where(DEVICES.c.group == group)
        return tuple(_device(row) for row in connection.execute(query))

    def group_of(self, connection: sql.Connection, device: str) -> str:
        """The group of an enrolled, unrevoked device; "" for any other id."""
        query = sql.select(DEVICES.c.group).where(DEVICES.c.id == device)
        return connection.execute(query.where(DEVICES.c.revoked_at.is_(None))).scalar() or ""

    def groups(self, connection: sql.Connection) -> dict[str, int]:
        """Devices that are not revoked, by group."""
        query = (
            sql.select(DEVICES.c.group, sql.func.count())
            .where(DEVICES.c.revoked_at.is_(None))
            .group_by(DEVICES.c.group)
            .order_by(DEVICES.c.group)
        )
        return {row[0]: row[1] for row in connection.execute(query)}

    def revoke(self, connection: sql.Connection, id_or_name: str, *, actor: str) -> Device:
        """Ends a device's rights; for ever, as its id is never reused. Errors as `get`."""
        device = self.get(connection, id_or_name)
        if device.revoked_at is not None:
            return device
        now = self.clock.now()
        connection.execute(
            sql.update(DEVICES).where(DEVICES.c.id == device.id).values(revoked_at=now)
        )
        details = {"name": device.name, "group": device.group}
        audit.record(connection, actor, "device.revoked", device.id, details, at=now)
        return self.get(connection, device.id)

    def logins(self, connection: sql.Connection) -> tuple[Login, ...]:
        """The broker's users: every device that is not revoked, by id."""
        query = sql.select(DEVICES.c.id, DEVICES.c.password_hash)
        rows = connection.execute(
            query.where(DEVICES.c.revoked_at.is_(None)).order_by(DEVICES.c.id)
        )
        return tuple(Login(device=row.id, password_hash=row.password_hash) for row in rows)


def _first(connection: sql.Connection, where: sql.ColumnElement[bool]) -> Device | None:
    row = connection.execute(sql.select(*_PUBLIC).where(where)).first()
    return None if row is None else _device(row)


def _device(row: sql.Row[tuple[object, ...]]) -> Device:
    return Device(**{name: getattr(row, name) for name in Device.__struct_fields__})
