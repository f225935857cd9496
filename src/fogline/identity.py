"""What a device is given at enrolment, and the token that it trades for it.

A token is `fl1.<secret>.<SHA-256 of the hub's TUF root>`: whoever carries it to the device also
carries the root of trust, so a hub that answers in the real one's place is found out. Enrolment is
idempotent by `device_key`, which the device makes and stores before it asks: the same token and
key give the same identity, however often the answer was lost.

None of these records shows a secret in its `repr`, so none reaches a log or a traceback.
"""

import re
from typing import Annotated

from msgspec import Meta

from fogline.desired import Digest, Name
from fogline.errors import InvalidInput
from fogline.records import Record

ENROLL_URL = "/v1/enroll"
"""Path of the enrolment call on the hub's origin: POST `EnrollRequest`, answer `Identity`."""
MAX_IDENTITY_BYTES = 1024 * 1024
"""Longest answer to an enrolment, in bytes; it carries the TUF root."""

_TOKEN = re.compile(r"fl1\.([A-Za-z0-9_-]{16,128})\.([0-9a-f]{64})")

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
Key = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""A 256-bit secret as 64 lower-case hexadecimal digits."""


class Token(Record, frozen=True, kw_only=True):
    """An enrolment token, taken apart."""

    secret: str
    root_sha256: Digest

    def __str__(self) -> str:
        return f"fl1.{self.secret}.{self.root_sha256}"

    def __repr__(self) -> str:
        return f"Token(root_sha256={self.root_sha256!r})"


class EnrollRequest(Record, frozen=True, kw_only=True):
    """What a device sends to become one."""

    secret: Annotated[str, Meta(min_length=16, max_length=128)]
    """The token's middle part."""
    root_sha256: Digest
    """The TUF root that the token names; the answer must carry that very text."""
    device_key: Key
    """Made by the device, kept by it; makes the call idempotent."""
    name: Name

    def __repr__(self) -> str:
        return f"EnrollRequest(name={self.name!r})"


class Identity(Record, frozen=True, kw_only=True):
    """What a device needs to speak with its hub; the agent's `identity.json`."""

    device: Id
    """Random, made by the hub, never used again; `name` is a label."""
    name: Name
    group: Name
    hub_url: str
    """Origin of the hub's API as the device reached it, without a path."""
    api_secret: str
    """Bearer token of the device's HTTP calls."""
    mqtt_host: str
    mqtt_port: Annotated[int, Meta(ge=1, le=65535)]
    mqtt_client_id: str
    """Secret, so that another device cannot take this one's session."""
    mqtt_username: str
    mqtt_password: str
    up_key: Key
    """Authenticates what this device sends (`fogline.wire.auth`)."""
    down_key: Key
    """Authenticates what the hub sends to this device."""
    tuf_root: str
    """Text of the TUF root metadata that this device trusts first."""

    def __repr__(self) -> str:
        return f"Identity(device={self.device!r}, name={self.name!r}, group={self.group!r})"


def parse_token(text: str) -> Token:
    """Reads a token.

    Raises:
        InvalidInput: it is not of the form above; the text is not repeated, as it may be a secret.
    """
    found = _TOKEN.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(
            "the token is not of the form fl1.SECRET.SHA256; "
            "copy the whole line that `fogline devices token` printed"
        )
    return Token(secret=found[1], root_sha256=found[2])
