"""Trades a token for this device's identity, once; the command behind `fogline agent enroll`.

Runs in a short-lived process of its own, so it may import httpx.
"""

import secrets
from hashlib import sha256
from pathlib import Path

from msgspec.structs import replace

from fogline.durable import make_private_folder, write_durably
from fogline.errors import Conflict, Corrupt, Untrusted
from fogline.identity import (
    ENROLL_URL,
    MAX_IDENTITY_BYTES,
    EnrollRequest,
    Identity,
    Token,
    parse_token,
)
from fogline.ids import check_name
from fogline.records import canonical_json, decode_json
from fogline_edge.install.fetch.origin import Origin, check_origin
from fogline_edge.install.identity_file import IDENTITY, load_identity

DEVICE_KEY = "device.key"


def enroll(hub_url: str, token: str, name: str, folder: Path) -> Identity:
    """Enrols this device and stores its identity; asking again after a lost answer is safe.

    A folder that is enrolled with that hub already gives the identity that it holds.

    Raises:
        InvalidInput, Unsupported: token, name or URL cannot be right.
        Conflict: the folder is enrolled with another hub.
        Forbidden: the hub refuses the token.
        Untrusted: the hub's root of trust is not the one that the token names.
        Unavailable: the hub does not answer.
    """
    parsed = parse_token(token)
    url = check_origin(hub_url)
    check_name(name, "device name")
    make_private_folder(folder)
    if (folder / IDENTITY).exists():
        return _enrolled(load_identity(folder), url, parsed, folder)
    request = EnrollRequest(
        secret=parsed.secret,
        root_sha256=parsed.root_sha256,
        device_key=_device_key(folder),
        name=name,
    )
    origin = Origin(url)
    try:
        answer = origin.post_json(ENROLL_URL, canonical_json(request), MAX_IDENTITY_BYTES)
    finally:
        origin.close()
    identity = decode_json(answer, Identity, f"{url}: the hub's answer")
    _check_root(identity, parsed, url)
    # Where this device reached the hub is known here, and not for the hub to say.
    identity = replace(identity, hub_url=url)
    write_durably(folder / IDENTITY, canonical_json(identity))
    return identity


def _enrolled(identity: Identity, url: str, token: Token, folder: Path) -> Identity:
    is_same_root = sha256(identity.tuf_root.encode()).hexdigest() == token.root_sha256
    if identity.hub_url != url or not is_same_root:
        raise Conflict(
            f"{folder} is enrolled with {identity.hub_url} as device {identity.device}; "
            "use another --data folder, or remove this one to give the device up"
        )
    return identity


def _check_root(identity: Identity, token: Token, url: str) -> None:
    found = sha256(identity.tuf_root.encode()).hexdigest()
    if found != token.root_sha256:
        raise Untrusted(
            f"{url}: its root of trust has SHA-256 {found}, the token names {token.root_sha256}; "
            "this is not the hub that made the token"
        )


def _device_key(folder: Path) -> str:
    """Made and on the disk before the hub hears of it, so that a lost answer costs nothing."""
    path = folder / DEVICE_KEY
    if not path.exists():
        write_durably(path, secrets.token_hex(32).encode())
    key = path.read_text(errors="replace")
    if len(key) != 64:
        raise Corrupt(f"{path} holds no device key; remove it to begin anew")
    return key
