"""What the hub knows of devices and of tokens; never a secret."""

from dataclasses import dataclass
from datetime import datetime

from fogline.records import Record


class Token(Record, frozen=True, kw_only=True):
    """An enrolment token, without its secret."""

    id: str
    group: str
    uses: int
    uses_left: int
    created_at: datetime
    created_by: str
    expires_at: datetime


class Device(Record, frozen=True, kw_only=True):
    id: str
    name: str
    group: str
    shard: int
    enrolled_at: datetime
    token: str
    """Id of the token that it enrolled with."""
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A device's user on the broker; the name is its id."""

    device: str
    password_hash: str
