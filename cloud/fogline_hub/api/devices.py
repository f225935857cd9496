"""Devices, their groups, and the tokens that let them in."""

from datetime import timedelta
from hashlib import sha256
from typing import Annotated

from msgspec import Meta

from fogline.desired import Name
from fogline.errors import InvalidInput
from fogline.records import Record
from fogline_hub.api.endpoint import Call, endpoint
from fogline_hub.devices import Device, Token


class NewToken(Record, frozen=True, kw_only=True):
    group: Name
    uses: int = 1
    expires_s: Annotated[int, Meta(ge=1, le=400 * 86_400)] = 3600


class MadeToken(Record, frozen=True, kw_only=True):
    token: Token
    text: str
    """What the device is given; shown this once."""

    def __repr__(self) -> str:
        return f"MadeToken(token={self.token!r})"


def create_token(call: Call) -> MadeToken:
    asked: NewToken = call.body
    root = sha256(call.rooms.repository.root()).hexdigest()
    with call.rooms.catalogue.transaction() as connection:
        token, secret = call.rooms.tokens.create(
            connection,
            group=asked.group,
            uses=asked.uses,
            life=timedelta(seconds=asked.expires_s),
            tuf_root=root,
            actor=call.caller.actor,
        )
    return MadeToken(token=token, text=str(secret))


def list_tokens(call: Call) -> tuple[Token, ...]:
    with call.rooms.catalogue.reading() as connection:
        return call.rooms.tokens.list(connection)


def list_devices(call: Call) -> tuple[Device, ...]:
    group = call.query.get("group")
    if group == "":
        raise InvalidInput("group= names no group; leave it out for all devices")
    with call.rooms.catalogue.reading() as connection:
        return call.rooms.devices.list(connection, group)


def show_device(call: Call) -> Device:
    with call.rooms.catalogue.reading() as connection:
        return call.rooms.devices.get(connection, call.path["device"])


def revoke_device(call: Call) -> Device:
    return call.rooms.enrolment.revoke(call.path["device"], actor=call.caller.actor)


def list_groups(call: Call) -> dict[str, int]:
    with call.rooms.catalogue.reading() as connection:
        return call.rooms.devices.groups(connection)


routes = [
    endpoint("GET", "/v1/devices", list_devices, query=("group",)),
    endpoint("GET", "/v1/devices/{device}", show_device),
    endpoint("POST", "/v1/devices/{device}/revoke", revoke_device),
    endpoint("GET", "/v1/groups", list_groups),
    endpoint("GET", "/v1/tokens", list_tokens),
    endpoint("POST", "/v1/tokens", create_token, body=NewToken),
]
