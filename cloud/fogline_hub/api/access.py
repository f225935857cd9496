"""Who asks, and whether they may: bearer tokens to callers."""

from dataclasses import dataclass
from enum import Enum

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fogline.errors import Forbidden
from fogline_hub.api.operators import OPERATOR_PREFIX
from fogline_hub.api.rooms import Rooms
from fogline_hub.devices.secrets import DEVICE_PREFIX


class Access(Enum):
    """Who may call an endpoint."""

    OPEN = "anyone"
    FLEET = "an enrolled device or an operator"
    OPERATOR = "an operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks; `operator` or `device` is set, or neither for a stranger."""

    operator: str = ""
    device: str = ""

    @property
    def actor(self) -> str:
        """As the audit log names it."""
        if self.operator:
            return f"operator:{self.operator}"
        return f"device:{self.device}" if self.device else "anyone"


def admit(rooms: Rooms, request: Request, access: Access) -> Caller:
    """The caller, if it may pass.

    Raises:
        HTTPException: 401, no token that is known here.
        Forbidden: a known token, but not of one who may call this.
    """
    if access is Access.OPEN:
        return Caller()
    caller = _identify(rooms, request.headers.get("authorization", ""))
    if access is Access.OPERATOR and not caller.operator:
        raise Forbidden(f"{request.url.path} is for operators, not for devices")
    return caller


def _identify(rooms: Rooms, header: str) -> Caller:
    scheme, _, token = header.partition(" ")
    try:
        if scheme.lower() != "bearer":
            raise Forbidden("send a token: Authorization: Bearer TOKEN")
        with rooms.catalogue.reading() as connection:
            if token.startswith(OPERATOR_PREFIX):
                return Caller(operator=rooms.operators.of_token(connection, token))
            if token.startswith(DEVICE_PREFIX):
                return Caller(device=rooms.devices.of_secret(connection, token).id)
        raise Forbidden("the token is neither an operator's nor a device's")
    except Forbidden as e:
        raise HTTPException(401, str(e), {"WWW-Authenticate": "Bearer"}) from e
