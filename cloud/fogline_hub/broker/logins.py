"""The hub's own logins at its broker: made once, kept in one 0600 file, read by role."""

import secrets
from pathlib import Path

from fogline.durable import make_private_folder, write_durably
from fogline.errors import NotFound
from fogline.mqtt import Login
from fogline.records import Record, canonical_json, decode_json
from fogline_hub.broker.config import ROLES, User, hub_user
from fogline_hub.broker.passwords import hash_password

_FILE = "logins.json"


class HubLogin(Record, frozen=True, kw_only=True):
    """One process's name and password, with the hash that the broker gets."""

    username: str
    password: str
    password_hash: str

    def __repr__(self) -> str:
        return f"HubLogin(username={self.username!r})"


def make_logins(folder: Path) -> dict[str, HubLogin]:
    """The hub's logins by role, made at the first call."""
    make_private_folder(folder)
    path = folder / _FILE
    if not path.exists():
        write_durably(path, canonical_json({role: new_login(role) for role in ROLES}))
    return read_logins(folder)


def read_logins(folder: Path) -> dict[str, HubLogin]:
    """The hub's logins by role.

    Raises:
        NotFound: none were made yet.
        Corrupt: the file is not what was written.
    """
    path = folder / _FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{path} is not there; the broker was never prepared") from None
    return decode_json(data, dict[str, HubLogin], str(path))


def new_login(role: str) -> HubLogin:
    password = secrets.token_hex(32)
    return HubLogin(
        username=f"hub-{role}", password=password, password_hash=hash_password(password)
    )


def hub_login(folder: Path, role: str) -> Login:
    """What the process of a role shows to the broker; its client id is new at each call.

    The client id is a secret too: whoever connects with another's takes its session over.

    Raises:
        NotFound: the broker was never prepared.
    """
    login = read_logins(folder)[role]
    return Login(
        client_id=f"{role}-{secrets.token_hex(16)}",
        username=login.username,
        password=login.password,
    )


def hub_users(logins: dict[str, HubLogin]) -> list[User]:
    """The users of all roles but the probe, whose password is new at each reload."""
    return [
        hub_user(role, login.username, login.password_hash)
        for role, login in logins.items()
        if role != "probe"
    ]
